"""The figures of the past, beside which those of today stand.

One line of JSON for each run that was recorded, in `docs/speed_history.jsonl`,
and a page made of them. A ratio that is clearly worse than the one recorded
last, by the same command, is told of.
"""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform

import tests

FILE = pathlib.Path(tests.ROOT, "docs", "speed_history.jsonl")
_PAGE = FILE.with_name("speed_history.md")
# Ratios of CPU time differ by up to a tenth from run to run.
_WORSE = 1.3
_SHOWN = 6

_TOP = """# Speed, run by run

Ratios of interleaved measurements that `make bench` and `make bench-quick`
recorded (`python -m tests.benchmarks quick --record`), the newest on the left;
lower is better. `make bench-quick` fails where one is over {worse:g} times the
last one recorded. What they mean and what was to be reached:
[speed and size](figures.md).

"""


def ratios(found):
    """Returns the ratios of what benchmarks found, by name.

    Args:
        found: Dict from the name of a benchmark to its title and rows.
    """
    return {
        f"{name}: {row['what']}": round(row["reached"], 4)
        for name, content in found.items() for row in content["rows"]
        if row["unit"] == "x" and not isinstance(row["reached"], str)
    }


def worse(found, lines, quick):
    """Returns sentences about ratios that are clearly worse than recorded.

    Args:
        found: See `ratios`.
        lines: List of recorded runs, see `read`.
        quick: Boolean, whether repetitions were few.
    """
    known = {}
    for line in lines:
        if line["quick"] == quick:
            known |= line["ratios"]
    return [
        f"{name} is {value:.3g}, recorded: {known[name]:.3g}."
        for name, value in ratios(found).items()
        if name in known and value > _WORSE * known[name]
    ]


def record(found, quick):
    """Adds a run to the file, and makes the page again."""
    line = {
        "date": datetime.date.today().isoformat(),
        "quick": quick,
        "machine": f"{platform.machine()}, {os.cpu_count()} logical CPUs",
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{
            name: importlib.metadata.version(name)
            for name in ("tf_lottery", "tensorflow", "keras", "numpy")
        },
        "ratios": ratios(found),
    }
    with FILE.open("a") as file:
        file.write(json.dumps(line) + "\n")
    _PAGE.write_text(page(read()))


def read():
    """Returns the recorded runs, the oldest first."""
    if not FILE.exists():
        return []
    return [json.loads(line) for line in FILE.read_text().splitlines()]


def page(lines):
    """Returns the page of recorded runs."""
    shown = lines[::-1][:_SHOWN]
    names = sorted({name for line in shown for name in line["ratios"]})
    heads = [
        f"{line['date']}, {line['tf_lottery']}"
        f"{', quick' if line['quick'] else ''}" for line in shown
    ]
    table = [["ratio", *heads], ["---"] * (len(shown) + 1)]
    for name in names:
        values = [line["ratios"].get(name) for line in shown]
        table.append(
            [name, *("" if v is None else f"{v:.3g}" for v in values)]
        )
    table += [
        [what, *(str(line[key]) for line in shown)]
        for what, key in (
            ("machine", "machine"), ("load, running processes", "load"),
            ("Python", "python"), ("TensorFlow", "tensorflow"),
            ("Keras", "keras"), ("NumPy", "numpy"),
        )
    ]
    rows = [f"| {' | '.join(cells)} |" for cells in table]
    return _TOP.format(worse=_WORSE) + "\n".join(rows) + "\n"
