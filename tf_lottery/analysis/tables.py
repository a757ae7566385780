"""The tables of a run's report."""

import collections
import statistics

from tf_lottery.analysis import against_density as curves_lib
from tf_lottery.analysis import page

_DASH = "–"
_PROTOCOL_LAST = ("weights", "optimizer", "versions", "summary")


def highlights(run, found):
    """Returns the numbers to see first, as pairs of number and caption."""
    metrics = found[curves_lib.TICKETS]
    curve = metrics.get("test_accuracy") or metrics.get("val_accuracy")
    items = []
    if curve is not None:
        name = "test" if "test_accuracy" in metrics else "validation"
        items.append((_percent(curve.means[0]), f"dense, {name} accuracy"))
        best = max(range(len(curve.means)), key=lambda i: curve.means[i])
        if best:
            items.append((
                _percent(curve.means[best]),
                f"best ticket, at {_percent(curve.densities[best])} density",
            ))
        level = [
            density for density, mean in zip(curve.densities, curve.means)
            if mean >= curve.means[0]
        ]
        items.append(
            (_percent(level[-1]), "density of the sparsest ticket that is "
             "not below dense") if len(level) > 1
            else ("none", "of the tickets is at the dense level")
        )
    steps = metrics.get("early_stop_step")
    if steps is not None and steps.rounds[0] == 0:
        least = min(range(len(steps.means)), key=lambda i: steps.means[i])
        if least and steps.means[least]:
            items.append((
                f"{steps.means[0] / steps.means[least]:.2f}×",
                "dense early-stop step over the earliest, at "
                f"{_percent(steps.densities[least])} density",
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
        (metric.replace("_", " "), metric, curve)
        for metric, curve in found[curves_lib.TICKETS].items()
        if metric.endswith(("accuracy", "_step", "effective_density"))
    ]
    return _by_round(run.rows, columns, caption, winners)


def controls(run, found):
    """Returns the table of the controls: means, and ranges over trainings."""
    metrics = ("test_accuracy", "early_stop_test_accuracy", "early_stop_step")
    columns = [
        (f"{curves_lib.name_of(series)}: {metric.replace('_', ' ')}", metric,
         found[series][metric])
        for metric in metrics
        for series in found
        if series != curves_lib.TICKETS and metric in found[series]
    ]
    caption = (
        "Means over the trainings of a control; in brackets the least and the "
        "greatest."
    )
    return _by_round(run.controls, columns, caption)


def layers(run):
    """Returns the table of the density of each layer in each round."""
    found = mean_layers(run)
    if not found:
        return page.text("Not recorded.", "soft")
    count = max(map(len, found.values()))
    rows = [
        [key] + [f"{100 * value:.2f}" for value in values]
        for key, values in found.items()
    ]
    heads = ["weights"] + [f"round {number}" for number in range(count)]
    return page.table(
        heads, rows, caption="Weights kept in %, means over trials."
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


def claims(compared):
    """Returns the table of the paper's numbers beside ours."""
    rows = [
        [
            claim.what,
            f"{100 * claim.density:.1f}",
            claim.paper + ("*" if claim.recollected else ""),
            claim.ours,
            page.link(claim.source, claim.source.rpartition("/")[2]),
        ]
        for claim in compared
    ]
    caption = (
        "Ours is the mean over trials of the round nearest to that density, "
        "if there is one within 5 %."
    )
    if any(claim.recollected for claim in compared):
        caption += " * known from quotations of the paper, not read in it."
    heads = ["what", "density %", "paper", "ours", "arXiv"]
    return page.table(heads, rows, (0, 4), caption)


def plain(rows):
    """Returns rows of values as they are in the files."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_plain(row.get(name)) for name in names] for row in rows]
    heads = [name.replace("_", " ") for name in names]
    return page.table(heads, cells, ())


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
    return page.table(["", ""], rows, (0, 1))


def _by_round(rows, columns, caption, marked=()):
    """A row for each round, a column for each `(head, metric, curve)`."""
    densities = collections.defaultdict(list)
    for row in rows:
        densities[row["round"]].append(row["density"])
    cells = [
        [str(number), f"{100 * statistics.fmean(found):.2f}"]
        + [_cell(metric, curve, number) for _, metric, curve in columns]
        for number, found in sorted(densities.items())
    ]
    heads = ["round", "density %"] + [head for head, _, _ in columns]
    places = [i for i, row in enumerate(cells) if int(row[0]) in marked]
    return page.table(heads, cells, (), caption, places)


def _cell(metric, curve, number):
    if number not in curve.rounds:
        return _DASH
    i = curve.rounds.index(number)
    scale = curves_lib.scale_of(metric)
    form = "{:,.0f}" if scale == 1 else "{:.2f}"
    mean, low, high = (
        form.format(scale * values[i])
        for values in (curve.means, curve.lows, curve.highs)
    )
    return mean if low == high else f"{mean} ({low}{_DASH}{high})"


def _percent(value):
    return f"{100 * value:.1f} %"


def _plain(value):
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _setting(value):
    if isinstance(value, dict):
        return ", ".join(f"{key}: {each}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or _DASH
    return _DASH if value in ("", None) else str(value)
