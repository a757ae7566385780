"""Comparing runs: one page with all of them next to one another."""

import pathlib
import re

from tf_lottery import checks
from tf_lottery import comparisons
from tf_lottery import files
from tf_lottery.analysis import bands
from tf_lottery.analysis import caveats
from tf_lottery.analysis import published
from tf_lottery.analysis import run_files
from tf_lottery.analysis import tables
from tf_lottery.analysis.curves import TICKETS
from tf_lottery.analysis.curves import draw
from tf_lottery.analysis.curves import label
from tf_lottery.analysis.curves import of_runs
from tf_lottery.analysis.curves import records
from tf_lottery.analysis.curves import scale_of
from tf_lottery.experiments import learning_curves
from tf_lottery.experiments import measurements
from tf_lottery.report import charts
from tf_lottery.report import drawing
from tf_lottery.report import pages
from tf_lottery.report.tables import Table
from tf_lottery.verdicts import words

_TOGETHER = (
    "test_accuracy", "early_stop_test_accuracy", "early_stop_step",
    "val_accuracy",
)
# As many points of learning curves keep the page small, and each curve legible.
_POINTS, _MOST, _LEAST = 30_000, 60, 12


def compare(*directories, out="compare.html", png=False):
    """Writes one self-contained HTML page with several runs, or one.

    Accuracy against density, on a logarithmic or a linear axis, of the
    tickets of all runs together and of each run with its controls, learning
    curves at a density that is chosen there, verdicts, and in what the runs
    differ. Every training is a thin line, bands are 90 % intervals over
    trials (of two their range), and names in a legend single out their
    lines. The page loads nothing from elsewhere. A run that is named twice,
    or was copied, counts once.

    Args:
        *directories: Paths of the directories of `tf-lottery run`, or of
            `IterativeMagnitudePruning(directory=...)`, finished or not.
        out: Path of the page. Defaults to `"compare.html"`.
        png: Boolean, whether to write the charts as PNG files next to the
            page as well. Defaults to `False`.

    Returns:
        `pathlib.Path` of the page.

    Raises:
        FileNotFoundError: If a directory holds no results.
        ValueError: If files are damaged, a run has no finished round yet, or
            no directory is given.
        ImportError: If the extra `plot` is not installed.

    Example:

    >>> import os, tempfile
    >>> import tf_lottery.run_directory, tf_lottery.results
    >>> with tempfile.TemporaryDirectory() as path:
    ...     directory = tf_lottery.run_directory.RunDirectory(path)
    ...     directory.open({"rounds": 1})
    ...     directory.save_results([tf_lottery.results.RoundResult(
    ...         0, 1.0, {"fc/kernel": 1.0}, {"accuracy": 0.75}, 8, None, 0.1)])
    ...     page = tfl.experiments.compare(
    ...         path, out=os.path.join(path, "page.html"))
    ...     directory.close()
    >>> page.name
    'page.html'
    """
    checks.path("out", out)
    checks.flag("png", png)
    runs = measurements.load(directories)
    for run in runs.values():
        run_files.check_begun(run)
    out, sections = pathlib.Path(out), _sections(runs)
    files.write_text(out, pages.render(
        "compare.html",
        title=f"{len(runs)} runs" if len(runs) > 1 else next(iter(runs)),
        runs=_runs(runs),
        sections=sections,
        differences=_differences(runs) if len(runs) > 1 else None,
        verdicts=[
            (name, words.text(run.judgement), _caveats(run))
            for name, run in runs.items()
        ],
    ))
    if png:
        drawing.save_beside(out, {
            re.sub(r"[^a-z0-9]+", "-", chart["title"].lower()).strip("-"): chart
            for found in sections.values() for chart in found
        })
    return out


def _sections(runs):
    """The charts of each section of the page, by its title."""
    points = _POINTS // len(runs)
    return {
        "Tickets of all runs": _together(runs) if len(runs) > 1 else [],
        "Tickets and controls": _beside(runs, _apart),
        "Learning curves": _learning_beside(runs, points),
    }


def _together(runs):
    """The charts of the tickets of all runs, a line for each run."""
    found = []
    for metric in _TOGETHER:
        lines = [
            {**record, "series": name}
            for name, run in runs.items()
            for record in records([run], metric)
            if record["series"] == TICKETS
        ]
        if lines:
            found.append(draw(metric, bands.with_intervals(lines)))
    return found


def _apart(run):
    """The chart of a run's series against density; `None` without accuracy."""
    metric = _metric(run.rows[0])
    if metric is None:
        return None
    metrics = of_runs([run])[TICKETS]
    return draw(
        metric, bands.with_intervals(records([run], metric)),
        ("dense", scale_of(metric) * metrics[metric].means[0]),
    )


def _learning(run, points):
    """The chart of a run's learning curves; `None` if it kept none."""
    logs = list(learning_curves.of_run(run))
    metric = logs and _metric(logs[0][1][0][1])
    if not metric:
        return None
    density = {
        number: f"{100 * rows[0]['density']:.3g} %"
        for number, rows in bands.by_round(run.rows).items()
    }
    every = _every(logs, points)
    lines = [
        {
            "series": _series(row),
            "trial": f"{row['trial']}.{row.get('number', 0)}",
            "x": step,
            "y": round(scale_of(metric) * entry[metric], 3),
            **({"choice": density[row["round"]]} if row["round"] else {}),
        }
        for row, entries in logs
        for step, entry in entries[::-1][::every][::-1]
    ]
    tested = [density[each.round] for each in run.judgement.tested]
    options = [density[number] for number in density if number]
    return charts.lines(
        "Learning curves", "training step",
        label(metric).replace(" at the end", ""), bands.with_intervals(lines),
        reference=(measurements.DENSE, None),
        choice=("density of the tickets ", options, [*options, *tested][-1])
        if options else None,
    )


def _metric(values):
    """The name of the accuracy to show: on test data if there is one."""
    names = [name for name in values if name.endswith("accuracy")]
    return min(
        names, default=None,
        key=lambda name: (_TOGETHER.index(name) if name in _TOGETHER else 9),
    )


def _beside(runs, make):
    """Charts of one kind, with the names of the runs, on the same y axis."""
    found = {name: make(run) for name, run in runs.items()}
    found = {name: chart for name, chart in found.items() if chart}
    values = [
        record[key] for chart in found.values()
        for record in chart["data"]["values"]
        for key in ("y", "low", "high") if key in record
    ]
    for name, chart in found.items():
        chart["title"] = f"{name}: {chart['title'].lower()}"
        _scale(chart, min(values), max(values))
    return list(found.values())


def _learning_beside(runs, points):
    """Learning curves of runs; the axis begins where they are half trained."""
    found = _beside(runs, lambda run: _learning(run, points))
    values = [
        record["y"] for chart in found
        for records in [chart["data"]["values"]]
        for record in records
        if record["x"] >= records[-1]["x"] / 2
    ]
    for chart in found:
        _scale(chart, min(values), max(values))
        for layer in chart["layer"]:
            layer["mark"]["clip"] = True
    return found


def _scale(chart, low, high):
    chart["encoding"]["y"]["scale"] = {"domain": [low, high], "nice": True}


def _every(logs, points):
    """Of how many evaluations one is shown."""
    longest = max(len(entries) for _, entries in logs)
    most = min(_MOST, max(_LEAST, points // len(logs)))
    return -(-longest // most)


def _series(row):
    if "control" in row:
        return comparisons.label(row["control"])
    return TICKETS if row["round"] else measurements.DENSE


def _runs(runs):
    return Table(
        ["run", "preset", "trials", "rounds", "verdict"],
        [
            [
                name, run.config.get("name", ""), str(len(run.trials)),
                str(max(run.ends.values())), words.sentence(run.judgement),
            ]
            for name, run in runs.items()
        ],
        (0, 1, 4),
    )


def _differences(runs):
    """The settings and versions in which not all runs are alike."""
    protocols = [dict(tables.protocol(run).rows) for run in runs.values()]
    names = dict.fromkeys(name for found in protocols for name in found)
    rows = [
        [name, *(found.get(name, tables.DASH) for found in protocols)]
        for name in names
        if len({found.get(name, tables.DASH) for found in protocols}) > 1
    ]
    return Table(["", *runs], rows, tuple(range(len(runs) + 1)))


def _caveats(run):
    return caveats.of_run(
        run, of_runs([run]), published.of(run.config)
    )
