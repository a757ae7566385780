"""What the benchmarks share: interleaved timing, peak memory, a report."""

import argparse
import contextlib
import ctypes
import dataclasses
import gc
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import threading
import time

import tests

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a report.

    Attributes:
        what: String, what was measured.
        reached: Float, or a string that says why there is no figure.
        target: Float that `reached` must not exceed, or `None`.
        unit: String. Defaults to none.
        note: String, such as the spread of the repetitions.
    """

    what: str
    reached: float | str
    target: float | None = None
    unit: str = ""
    note: str = ""

    @property
    def verdict(self):
        """String, whether the target was reached."""
        if isinstance(self.reached, str) or self.target is None:
            return ""
        return "yes" if self.reached <= self.target else "NO"


def parser(doc):
    """Returns an argument parser with what every benchmark takes."""
    result = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument(
        "--quick", action="store_true", help="fewer repetitions"
    )
    result.add_argument(
        "--json", metavar="PATH", help="write the figures there as well"
    )
    return result


def report(title, rows, path=None):
    """Prints rows as a table; writes them to `path` as JSON."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.ASCII2)
    for name in ("what", "target", "reached", "", "note"):
        right = name in ("target", "reached")
        table.add_column(name, justify="right" if right else "left")
    for row in rows:
        target = "" if row.target is None else f"<= {row.target:g} {row.unit}"
        table.add_row(
            row.what, target, _shown(row), row.verdict, row.note
        )
    wide = None if sys.stdout.isatty() else 140
    Console(width=wide).print(table, markup=False)
    if path:
        found = [dataclasses.asdict(row) for row in rows]
        content = {"title": title, "rows": found}
        pathlib.Path(path).write_text(json.dumps(content, indent=2) + "\n")


def _shown(row):
    if isinstance(row.reached, str):
        return row.reached
    return f"{row.reached:.4g} {row.unit}"


def interleaved(make, blocks, repetitions, clock=time.process_time):
    """Times functions in turn, in an order that rotates.

    Whatever else the machine does then hits all of them alike, and none
    always runs after the same neighbour. Where its arrays happen to lie in
    memory makes a model a few per cent faster or slower for its whole life:
    so the functions are made anew for each block.

    Args:
        make: Dict from name to a function that makes the function to time.
        blocks: Integer, how often the functions are made.
        repetitions: Integer, how often each one is timed in a block, after
            a first call that is not.
        clock: Function that returns seconds. Defaults to the CPU time of all
            threads of this process.

    Returns:
        Dict from name to list of seconds, one for each repetition.
    """
    names = list(make)
    times = {name: [] for name in names}
    for block in range(blocks):
        variants = {name: make[name]() for name in _turned(names, block)}
        for function in variants.values():
            function()
        for i in range(repetitions):
            for name in _turned(names, block + i):
                start = clock()
                variants[name]()
                times[name].append(clock() - start)
    return times


def _turned(names, by):
    by %= len(names)
    return names[by:] + names[:by]


def ratio(times, name, base):
    """Returns the median of the paired ratios, and their quartiles as text."""
    found = [a / b for a, b in zip(times[name], times[base])]
    low, middle, high = quartiles(found)
    return middle, f"quartiles {low:.3f} to {high:.3f}, n={len(found)}"


def ratio_row(times, name, base, target=None, what=None):
    """Returns a `Row` of the ratio of one variant to another."""
    reached, note = ratio(times, name, base)
    return Row(what or f"{name} / {base}", reached, target, "x", note)


def quartiles(values):
    """Returns the three quartiles of a list of numbers."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    return tuple(statistics.quantiles(values, n=4, method="inclusive"))


def child_cpu(command, **kwargs):
    """Runs a process to its end; returns its CPU seconds and its output.

    The whole life of the process counts: start, imports, all threads.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, cwd=tests.ROOT, capture_output=True, text=True, **kwargs
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{command} failed:\n{done.stderr[-4000:]}")
    seconds = (after.ru_utime - before.ru_utime) + (
        after.ru_stime - before.ru_stime
    )
    return seconds, done.stdout


@dataclasses.dataclass
class Usage:
    """What a block of code took; filled in at its end."""

    wall: float = 0.0
    cpu: float = 0.0
    peak: int = 0
    how: str = ""


@contextlib.contextmanager
def usage():
    """Measures seconds and the peak of memory over that at the start.

    Freed memory is given back to the system before, so that what the block
    takes from it is seen.
    """
    measured = Usage()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    peak = _kernel_peak() or _sampled_peak()
    start, wall, cpu = _resident(), time.perf_counter(), time.process_time()
    try:
        yield measured
    finally:
        measured.wall = time.perf_counter() - wall
        measured.cpu = time.process_time() - cpu
        highest, measured.how = peak()
        measured.peak = max(0, highest - start)


def _kernel_peak():
    """Resets the high-water mark of this process (Linux)."""
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        if _status("VmHWM") > _status("VmRSS") + (16 << 20):
            return None
    except (OSError, KeyError):
        return None
    return lambda: (_status("VmHWM"), "kernel's high-water mark")


def _sampled_peak():
    """Samples the resident memory in a thread."""
    found, over = [_resident()], threading.Event()

    def sample():
        while not over.wait(0.001):
            found[0] = max(found[0], _resident())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()

    def finish():
        over.set()
        thread.join()
        return max(found[0], _resident()), "sampled every ms"

    return finish


def _resident():
    try:
        return _status("VmRSS")
    except (OSError, KeyError):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(name):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)
