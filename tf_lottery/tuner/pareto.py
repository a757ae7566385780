"""The best compromises of a search, and a page of them."""

from tf_lottery.report import charts
from tf_lottery.report import pages
from tf_lottery.report import tables


def front(points, cost, monitor):
    """Returns the points, dicts, than which none is cheaper and no worse.

    The cheapest comes first, each is better than those before.
    """
    sign = 1 if monitor.smaller else -1
    found = []
    for point in sorted(
        points, key=lambda p: (p[cost], sign * p[monitor.name])
    ):
        value = point[monitor.name]
        if not found or monitor.worse_by(value, found[-1][monitor.name]) < 0:
            found.append(point)
    return found


def page(report):
    """Returns a page that needs nothing from elsewhere."""
    cost = report.search["objective"].partition("@")[0]
    fronts = [
        ("density", report.pareto()), (cost, report.pareto_of_files()),
    ]
    shown = {"Best compromises": report.pareto(), "Trials": report.rows()}
    done, failed = (
        sum(trial.status == status for trial in report.trials)
        for status in ("done", "failed")
    )
    return pages.render(
        "search.html",
        search=report.search,
        done=done,
        failed=failed,
        charts=[
            _chart(points, measure, report.monitor.name)
            for measure, points in fronts if points
        ],
        tables={
            name: tables.of_records(rows, (0,))
            for name, rows in shown.items() if rows
        },
    )


def _chart(points, cost, metric):
    density = cost == "density"
    return charts.lines(
        f"{metric} against {cost}",
        "density (%)" if density else cost,
        metric,
        [
            {
                "series": "best compromises",
                "x": (100 if density else 1) * point[cost],
                "y": point[metric],
            }
            for point in points
        ],
        "density" if density else "log",
    )
