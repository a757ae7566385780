"""Figure of a search: a page with its best compromises."""

from tf_lottery.report import charts
from tf_lottery.report import pages
from tf_lottery.report import tables


def page(report):
    """Returns a page that needs nothing from elsewhere.

    Args:
        report: `tf_lottery.tuner.Report`.

    Raises:
        ImportError: If the extra `plot` is not installed.
    """
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
