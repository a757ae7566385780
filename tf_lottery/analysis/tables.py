"""Tables and highlights of a run's page."""

import statistics

from tf_lottery.analysis import bands
from tf_lottery.analysis.curves import TICKETS
from tf_lottery.analysis.curves import by_control
from tf_lottery.analysis.curves import column
from tf_lottery.analysis.curves import measured
from tf_lottery.report.tables import Table
from tf_lottery.verdicts import comparisons
from tf_lottery.verdicts import words

DASH = "–"
_OF_CONTROLS = (
    "test_accuracy", "early_stop_test_accuracy", "early_stop_step",
)
_PROTOCOL_LAST = ("weights", "optimizer", "versions", "summary")


def highlights(run, found):
    """Returns the numbers to see first, as pairs of number and caption.

    Densities were chosen before the run, so that what came out chooses none.
    """
    judgement = run.judgement
    if judgement.dense is None:
        metrics = found[TICKETS].get("val_accuracy")
        return [] if metrics is None else [
            (_percent(metrics.means[0]), "dense, validation accuracy")
        ]
    return [
        (_percent(judgement.dense), "dense, test accuracy"),
        *(
            (f"{100 * each.final.accuracy.mean:+.1f} points",
             f"test accuracy at {_percent(each.density)} density over dense: "
             f"{words.status(each, judgement.rules)}")
            for each in judgement.tested
        ),
    ]


def verdicts(run):
    """Returns the table of the verdicts, a row for every round."""
    judgement = run.judgement
    heads, cells = words.table(judgement)
    caption = (
        "Differences to the dense network in points, with 90 % intervals "
        "over trials, and the number of trials that meet each definition "
        "without a margin, and with it. Marked: the densities that were "
        "chosen before the run; of the others nothing is tested."
    )
    marked = [i for i, each in enumerate(judgement.rounds) if each.tested]
    return Table(heads, cells, (len(heads) - 1,), caption, marked)


def tickets(run, found):
    """Returns the table of the tickets: means, and ranges over trials."""
    caption = (
        "Means over trials; in brackets the least and the greatest. "
        "Accuracies and densities in %."
    )
    columns = [
        column(metric, metric.replace("_", " "))
        for metric in found[TICKETS]
        if metric.endswith(("accuracy", "_step", "effective_density"))
    ]
    return Table(*bands.table(measured(run.rows), columns), (), caption)


def controls(run, found):
    """Returns the table of the controls: means, and ranges over trainings."""
    columns = [
        column(
            metric,
            f"{comparisons.label(series)}: {metric.replace('_', ' ')}",
            series,
        )
        for metric in _OF_CONTROLS
        for series in found
        if series != TICKETS and metric in found[series]
    ]
    caption = (
        "Means over the trainings of a control; in brackets the least and the "
        "greatest."
    )
    rows = by_control(measured(run.controls))
    return Table(*bands.table(rows, columns), (), caption)


def layers(run):
    """Returns the table of the density of each layer in each round."""
    found = mean_layers(run)
    count = max(map(len, found.values()), default=0)
    return Table(
        ["weights"] + [f"round {number}" for number in range(count)],
        [
            [key] + [f"{100 * value:.2f}" for value in values]
            for key, values in found.items()
        ],
        caption="Weights kept in %, means over trials."
        if found else "Not recorded.",
    )


def mean_layers(run):
    """Returns a dict from weight key to its mean density in each round."""
    rounds = list(zip(*run.results.values()))
    return {
        key: [
            statistics.fmean(result.densities[key] for result in same)
            for same in rounds
        ]
        for key in (rounds[0][0].densities if rounds else ())
    }


def protocol(run):
    """Returns the table of what was run and with which versions."""
    rows = [
        [name.replace("_", " "), _setting(value)]
        for name, value in run.config.items() if name not in _PROTOCOL_LAST
    ]
    rows += [
        [f"version of {name}", str(value)]
        for name, value in run.versions.items()
    ]
    return Table(["", ""], rows, (0, 1))


def _percent(value):
    return f"{100 * value:.1f} %"


def _setting(value):
    if isinstance(value, dict):
        return ", ".join(f"{key}: {each}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or DASH
    return DASH if value in ("", None) else str(value)
