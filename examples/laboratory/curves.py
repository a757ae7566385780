"""What a run came to at each density, as tables."""

from laboratory import pages

from tf_lottery.analysis.curves import TICKETS
from tf_lottery.analysis.curves import measured
from tf_lottery.analysis.curves import scale_of
from tf_lottery.verdicts import comparisons


def table(run, metric, title):
    """Returns a table with a row for every round, a column for every series.

    Args:
        run: `tf_lottery.analysis.run_files.Run`.
        metric: String, such as `"test_accuracy"`.
        title: String.
    """
    scale = scale_of(metric)
    rows = [
        {
            "trial": row["trial"], "round": row["round"],
            "density": 100 * row["density"],
            "series": row.get("control", TICKETS),
            metric: None if row.get(metric) is None else scale * row[metric],
        }
        for row in measured([*run.rows, *run.controls])
    ]
    series = dict.fromkeys(row["series"] for row in rows)
    shown = []
    for (number,), same in pages.grouped(rows, "round").items():
        found = pages.grouped(same, "series")
        shown.append({
            "round": number,
            "density, %": pages.Spread.of(same, "density").mean,
            **{
                comparisons.label(name): pages.Spread.of(
                    found.get((name,), ()), metric
                )
                for name in series
            },
        })
    return pages.Table(metric, title, shown)
