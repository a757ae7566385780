"""Tables and highlights of a run's page."""

import statistics

from tf_lottery import comparisons
from tf_lottery.analysis import bands
from tf_lottery.analysis.curves import TICKETS
from tf_lottery.analysis.curves import by_control
from tf_lottery.analysis.curves import column
from tf_lottery.report.tables import Table

_DASH = "–"
_OF_CONTROLS = (
    "test_accuracy", "early_stop_test_accuracy", "early_stop_step",
)
_PROTOCOL_LAST = ("weights", "optimizer", "versions", "summary")


def highlights(found):
    """Returns the numbers to see first, as pairs of number and caption.

    They are of the dense network, and of the ticket that validation chooses:
    the sparsest that is not below the dense network there.

    Args:
        found: What `curves` returned for the run.
    """
    metrics = found[TICKETS]
    name = "test" if "test_accuracy" in metrics else "validation"
    shown = metrics.get("test_accuracy") or metrics.get("val_accuracy")
    if shown is None:
        return []
    items = [(_percent(shown.means[0]), f"dense, {name} accuracy")]
    by = metrics.get("val_accuracy", shown)
    level = [
        number for number, mean in zip(by.rounds, by.means)
        if mean >= by.means[0]
    ]
    if level[-1] == 0:
        return [*items, ("none", "of the tickets is at the dense level")]
    index = shown.rounds.index(level[-1])
    items += [
        (_percent(shown.densities[index]), "density of the sparsest ticket "
         "whose validation accuracy is not below dense"),
        (_percent(shown.means[index]), f"{name} accuracy of that ticket"),
    ]
    steps = metrics.get("early_stop_step")
    if steps is not None and {0, level[-1]} <= set(steps.rounds):
        dense, ticket = steps.means[0], steps.means[
            steps.rounds.index(level[-1])
        ]
        items.append((
            f"{ticket:,.0f}", "early-stop step of that ticket; dense "
            f"{dense:,.0f}",
        ))
    return items


def tickets(run, found):
    """Returns the table of the tickets: means, and ranges over trials."""
    winners = {row["round"] for row in run.rows if row.get("winning")}
    caption = (
        "Means over trials; in brackets the least and the greatest. "
        "Accuracies and densities in %."
    )
    if winners:
        caption += (
            " Marked: winning tickets, the sparsest round of a trial whose "
            "validation accuracy is not below that of the dense network."
        )
    columns = [
        column(metric, metric.replace("_", " "))
        for metric in found[TICKETS]
        if metric.endswith(("accuracy", "_step", "effective_density"))
    ]
    heads, cells = bands.table(run.rows, columns)
    marked = [i for i, row in enumerate(cells) if int(row[0]) in winners]
    return Table(heads, cells, (), caption, marked)


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
    return Table(*bands.table(by_control(run.controls), columns), (), caption)


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
    trials = [found for found in run.layers.values() if found]
    if not trials:
        return {}
    count = min(map(len, trials))
    return {
        key: [
            statistics.fmean(trial[number][key] for trial in trials)
            for number in range(count)
        ]
        for key in trials[0][0]
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
        return ", ".join(map(str, value)) or _DASH
    return _DASH if value in ("", None) else str(value)
