"""Tables and charts of a script: on the screen, and as files of results."""

import dataclasses
import datetime
import importlib.metadata
import os
import pathlib
import platform
import shlex
import statistics
import sys

from rich import console
from rich import table

import tf_lottery as tfl
from tf_lottery.experiments import outputs
from tf_lottery.report import charts as charts_lib
from tf_lottery.verdicts import significance

_VERSIONS = ("tensorflow", "keras", "numpy")
_NONE = "–"


@dataclasses.dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: String, of its CSV file.
        title: String.
        rows: List of dicts: numbers, strings, `Spread`s or `None`.
    """

    name: str
    title: str
    rows: list


@dataclasses.dataclass(frozen=True)
class Spread:
    """The mean over trials, and how far its 90 % t-interval reaches."""

    mean: float
    reach: float | None
    least: float
    greatest: float
    trials: int

    @classmethod
    def of(cls, rows, name):
        """Returns the spread of a quantity, `None` where no row has it.

        Several values of a trial count as one, their mean: trials are what
        is independent.

        Args:
            rows: List of dicts with `"trial"`.
            name: String, the quantity.
        """
        known = [row for row in rows if row.get(name) is not None]
        values = [
            statistics.fmean(row[name] for row in same)
            for same in grouped(known, "trial").values()
        ]
        if not values:
            return None
        found = significance.test(values, margin=None)
        reach = None if found.low is None else found.mean - found.low
        return cls(found.mean, reach, min(values), max(values), len(values))

    def __str__(self):
        if self.reach is None:
            return cell(self.mean)
        return f"{cell(self.mean)} ± {cell(self.reach)}"


def show(*tables):
    """Prints tables."""
    for each in tables:
        shown = table.Table(title=each.title)
        for head in _heads(each):
            shown.add_column(head, justify="right")
        for row in each.rows:
            shown.add_row(*(cell(row.get(head)) for head in _heads(each)))
        console.Console(width=100).print(shown)


def write(directory, title, text, tables, charts, protocol, raw=None):
    """Writes tables as CSV, charts as PNG, and a page that shows both.

    Args:
        directory: `pathlib.Path`, made if it does not exist; `None` for
            nothing.
        title: String.
        text: String, a paragraph of Markdown.
        tables: List of `Table`.
        charts: Dict from file name to a Vega-Lite specification.
        protocol: Dict, what was run, seeds included.
        raw: Dict from file name to rows, for files that the page does not
            show. Defaults to `None`.
    """
    if directory is None:
        return
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in (raw or {}).items():
        outputs.write_csv(directory / f"{name}.csv", rows)
    parts = [f"# {title}", text]
    for each in tables:
        outputs.write_csv(directory / f"{each.name}.csv", _plain(each.rows))
        parts += [f"{each.title} (`{each.name}.csv`):", markdown(each)]
    for name, chart in charts.items():
        tfl.analysis.save_plot(chart, directory / f"{name}.png", dpi=100)
        parts.append(f"![{chart['title']}]({name}.png)")
    parts += ["How it was made:", _facts(protocol)]
    page = directory / "README.md"
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def against_density(rows, name, by="network"):
    """Returns a quantity of trainings against density, as a chart.

    Args:
        rows: List of dicts, with `"density"` in %.
        name: String, the quantity.
        by: String, the column that tells the lines apart.
    """
    records = [
        {
            "series": row[by], "trial": str(row["trial"]),
            "x": row["density"], "y": row[name],
        }
        for row in rows
    ]
    return charts_lib.lines(
        name, "density (%)", f"{name} (%)", records, "density"
    )


def grouped(rows, *names):
    """Returns rows in groups, a sorted dict by the values of some columns.

    Args:
        rows: List of dicts.
        *names: Strings, the columns.
    """
    found = {}
    for row in rows:
        key = tuple(row[name] for name in names)
        found.setdefault(key, []).append(row)
    return dict(sorted(found.items()))


def markdown(table):
    """Returns a `Table` as Markdown."""
    heads = _heads(table)
    lines = [heads, ["---"] * len(heads)]
    lines += [[cell(row.get(head)) for head in heads] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bullets(lines):
    """Returns lines of text as the items of a list in Markdown."""
    return [f"- {line}" for line in lines]


def cell(value):
    """Returns how a value is shown."""
    if value is None:
        return _NONE
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _plain(rows):
    """Spells every `Spread` out as columns."""
    found = []
    for row in rows:
        plain = {}
        for name, value in row.items():
            if isinstance(value, Spread):
                plain |= {
                    name: value.mean, f"{name}, ±": value.reach,
                    f"{name}, least": value.least,
                    f"{name}, greatest": value.greatest,
                    f"{name}, trials": value.trials,
                }
            else:
                plain[name] = value
        found.append(plain)
    return found


def _heads(table):
    return list(dict.fromkeys(name for row in table.rows for name in row))


def _facts(protocol):
    command = shlex.join(
        ["python", f"examples/{pathlib.Path(sys.argv[0]).name}", *sys.argv[1:]]
    )
    versions = {"Python": platform.python_version(),
                "tf_lottery": tfl.__version__}
    for name in _VERSIONS:
        versions[name] = importlib.metadata.version(name)
    facts = {
        "command": f"`{command}`",
        **protocol,
        "intervals": "± is half of the 90 % t-interval of the mean over "
        "trials; it does not contain the sampling error of the test images",
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()),
        "date": datetime.date.today().isoformat(),
        "hardware": f"{os.cpu_count()} CPU cores",
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())
