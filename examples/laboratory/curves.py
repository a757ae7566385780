"""Curves of a run against density, as tables."""

from laboratory import pages

from tf_lottery.verdicts import comparisons
from tf_lottery.analysis.curves import scale_of


def table(curves, metric, title):
    """Returns a table with a row for every round, a column for every series.

    Args:
        curves: What `tf_lottery.analysis.curves` returned.
        metric: String, such as `"test_accuracy"`.
        title: String.
    """
    rows = {}
    for series, metrics in curves.items():
        if metric not in metrics:
            continue
        curve = metrics[metric]
        for i, number in enumerate(curve.rounds):
            row = rows.setdefault(
                number,
                {"round": number, "density, %": 100 * curve.densities[i]},
            )
            row[comparisons.label(series)] = pages.Spread(*(
                scale_of(metric) * float(values[i])
                for values in (curve.means, curve.lows, curve.highs)
            ), curve.counts[i])
    rows = [rows[number] for number in sorted(rows)]
    return pages.Table(metric, title, rows)
