"""Latencies of files, measured in turns, in a process of their own."""

import dataclasses
import pathlib
import statistics
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import rich.table

from tf_lottery.export import children
from tf_lottery.export import flatbuffer
from tf_lottery.utils import checks
from tf_lottery.utils import tables
from tf_lottery.utils import types

# With many models in one process, what each leaves in the cache decides.
_IN_ONE_PROCESS = 4


@dataclasses.dataclass(frozen=True)
class Timing:
    """Latency of one file.

    Attributes:
        median: Float, seconds of one call.
        low: Float, the lower quartile.
        high: Float, the upper quartile.
        number: Integer, how often it was timed.
    """

    median: float
    low: float
    high: float
    number: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Timing":
        """Returns the `Timing` of a list of seconds."""
        low, middle, high = statistics.quantiles(
            seconds, n=4, method="inclusive"
        )
        return cls(middle, low, high, len(seconds))


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Latencies of files, next to that of the first one.

    Attributes:
        timings: Dict from name to `Timing`.
        speedups: Dict from name to float: the median, over turns, of the
            first file's time by this one's in the same turn.
        runtime: String, the runtime's name.
        threads: Integer.
    """

    timings: dict[str, Timing]
    speedups: dict[str, float]
    runtime: str
    threads: int

    def table(self) -> rich.table.Table:
        """Returns a `rich.table.Table`."""
        table = tables.Table(
            "file", numbers=("latency (ms)", "quartiles", "speedup")
        )
        for name, timing in self.timings.items():
            table.add_row(
                name,
                f"{1e3 * timing.median:.3f}",
                f"{1e3 * timing.low:.3f} - {1e3 * timing.high:.3f}",
                f"{self.speedups[name]:.2f}x",
            )
        return table

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as JSON-serialisable dicts."""
        return dataclasses.asdict(self)


def benchmark(
    files: Mapping[str, types.Path | bytes],
    inputs: Sequence[np.ndarray] | None = None,
    seconds: float = 1.0,
    threads: int = 1,
    runtime: str | None = None,
    cold: bool = False,
) -> Benchmark:
    """Measures the latency of TFLite files against each other.

    The files take turns in a child process, four in one process at most; the
    first one is in each. With one thread its CPU time is taken, so that
    other work on the machine counts little, else the wall time.

    Args:
        files: Dict from name to the path of a file, or its content as bytes.
            Speedups are over the first one.
        inputs: List of arrays, one for each input: one call's. Defaults to
            random ones.
        seconds: Number, how long each group of files is measured, about.
            Defaults to 1.
        threads: Integer. Defaults to 1.
        runtime: String, `"ai_edge_litert"`, `"tensorflow"` or
            `"tflite_micro"`. Defaults to the first of these installed.
        cold: Boolean, whether the caches are emptied before each call, as
            where a program does other work between two of them. Weights
            that fit in the cache hide what a sparse file saves. Defaults to
            `False`.

    Returns:
        `Benchmark`.

    Raises:
        ValueError: If `files` is empty or one of them is damaged.
        RuntimeFailure: If a file does not run.
    """
    if not isinstance(files, dict) or not files:
        raise ValueError(
            "Argument `files` must be a dict from name to path, not empty. "
            f"Received: files={files!r}"
        )
    checks.mapping("files", files, "name to path")
    for file in files.values():
        if not isinstance(file, (bytes, bytearray)):
            checks.path("files", file)
    checks.optional(
        checks.kind, "inputs", inputs, (list, tuple), "a list of arrays"
    )
    checks.data("inputs", inputs)
    checks.positive("seconds", seconds)
    checks.whole("threads", threads)
    checks.optional(checks.choice, "runtime", runtime, children.installed())
    checks.flag("cold", cold)
    contents = {name: read_bytes(file) for name, file in files.items()}
    first = next(iter(contents.values()))
    if inputs is None:
        inputs = random_inputs(flatbuffer.read(first))
    for content in contents.values():
        flatbuffer.read(content)
    with children.Runtime(runtime or children.installed()[0]) as child:
        return measure(child, contents, inputs, seconds, threads, cold)


def measure(child, contents, inputs, seconds, threads, cold=False):
    """Returns the `Benchmark` of contents in a `children.Runtime`."""
    names = list(contents)
    timings, speedups = {}, {}
    others = names[1:] or names[:0]
    step = _IN_ONE_PROCESS - 1
    for start in range(0, max(1, len(others)), step):
        group = [names[0], *others[start:start + step]]
        child.restart()
        found = child.measure(
            [contents[name] for name in group], inputs, seconds, threads,
            cold,
        )
        for name, times in zip(group, found):
            timings.setdefault(name, Timing.of(times))
            ratios = [a / max(b, 1e-12) for a, b in zip(found[0], times)]
            speedups.setdefault(name, statistics.median(ratios))
    return Benchmark(timings, speedups, child.name, threads)


def read_bytes(file):
    """Returns a file's content, given as such or by its path."""
    if isinstance(file, (bytes, bytearray)):
        return bytes(file)
    return pathlib.Path(file).read_bytes()


def random_inputs(model, seed=0):
    """Returns random inputs of one call for a `ModelT`.

    Floats are normal; integers are 0 or 1, which are tokens everywhere.
    """
    rng = np.random.default_rng(seed)
    graph, found = model.subgraphs[0], []
    for index in graph.inputs:
        tensor = graph.tensors[index]
        shape = tuple(int(n) for n in tensor.shape)
        name = flatbuffer.type_name(tensor.type).lower()
        found.append(random_array(rng, shape, name))
    return found


def random_array(rng, shape, dtype):
    """Returns a normal array, or one of 0 and 1 where it holds integers."""
    if dtype.startswith("float"):
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)
