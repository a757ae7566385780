"""Panels: the charts of several runs, next to one another."""

from tf_lottery.analysis import bands
from tf_lottery.analysis.curves import TICKETS
from tf_lottery.analysis.curves import draw
from tf_lottery.analysis.curves import label
from tf_lottery.analysis.curves import records
from tf_lottery.analysis.curves import scale_of
from tf_lottery.experiments import histories
from tf_lottery.experiments import measurements
from tf_lottery.report import charts
from tf_lottery.verdicts import comparisons

_TOGETHER = (
    "test_accuracy", "early_stop_test_accuracy", "early_stop_step",
    "val_accuracy",
)
# As many points of learning curves keep a page small, and a curve legible.
_POINTS, _MOST, _LEAST = 30_000, 60, 12


def sections(runs):
    """Returns the charts of runs, by the title of their section of a page."""
    points = _POINTS // len(runs)
    return {
        "Tickets of all runs": _together(runs) if len(runs) > 1 else [],
        "Tickets and controls": _beside(runs, _against_density),
        "Learning curves": _cut(
            _beside(runs, lambda run: _learning(run, points))
        ),
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


def _against_density(run):
    """The chart of a run's tickets and controls, `None` without accuracy."""
    metric = _metric(run.rows[0])
    lines = metric and records([run], metric)
    if not lines:
        return None
    dense = bands.Column("", metric, scale_of(metric)).values(
        bands.by_round(run.rows).get(0, ())
    )
    reference = ("dense", sum(dense) / len(dense)) if dense else None
    return draw(metric, bands.with_intervals(lines), reference)


def _learning(run, points):
    """The chart of a run's learning curves, `None` if it kept none."""
    logs = list(histories.of_run(run))
    metric = logs and _metric(logs[0][1][0][1])
    if not metric:
        return None
    density = {
        number: f"{100 * rows[0]['density']:.3g} %"
        for number, rows in bands.by_round(run.rows).items()
    }
    lines = [
        {
            "series": _series(row),
            "trial": f"{row['trial']}.{row.get('number', 0)}",
            "x": step,
            "y": round(scale_of(metric) * entry[metric], 3),
            **({"choice": density[row["round"]]} if row["round"] else {}),
        }
        for row, step, entry in _thinned(logs, points)
        # NaN is nowhere.
        if entry.get(metric, float("nan")) >= 0
    ]
    tested = [density[each.round] for each in run.judgement.tested]
    options = [density[number] for number in density if number]
    return lines and charts.lines(
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


def _thinned(logs, points):
    """Yields evaluations, every n-th up to the last, so that they are few."""
    longest = max(len(entries) for _, entries in logs)
    most = min(_MOST, max(_LEAST, points // len(logs)))
    every = -(-longest // most)
    for row, entries in logs:
        for step, entry in entries[::-1][::every][::-1]:
            yield row, step, entry


def _series(row):
    if "control" in row:
        return comparisons.label(row["control"])
    return TICKETS if row["round"] else measurements.DENSE


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
        _scale(chart, values)
    return list(found.values())


def _cut(found):
    """Cuts off what is reached in the first half of training alone."""
    values = [
        record["y"] for chart in found
        for record in chart["data"]["values"]
        if record["x"] >= chart["data"]["values"][-1]["x"] / 2
    ]
    for chart in found:
        _scale(chart, values)
        for layer in chart["layer"]:
            layer["mark"]["clip"] = True
    return found


def _scale(chart, values):
    chart["encoding"]["y"]["scale"] = {
        "domain": [min(values), max(values)], "nice": True
    }
