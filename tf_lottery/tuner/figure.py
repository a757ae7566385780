"""A page with the best compromises of a search."""

from tf_lottery.analysis import charts
from tf_lottery.analysis import page as page_lib
from tf_lottery.analysis import svg


def page(report):
    """Returns a page that needs nothing from elsewhere.

    Args:
        report: `tf_lottery.tuner.Report`.
    """
    search = report.search
    done, failed = (
        sum(trial.status == status for trial in report.trials)
        for status in ("done", "failed")
    )
    cost = search["objective"].partition("@")[0]
    fronts = [
        (report.pareto(), "density"), (report.pareto_of_files(), cost),
    ]
    drawings = [
        svg.lines(_chart(points, cost, report.monitor.name))
        for points, cost in fronts if points
    ]
    tables = {"Best compromises": report.pareto(), "Trials": report.rows()}
    return page_lib.document(
        "Search",
        [
            page_lib.title(
                f"Search: {search['objective']}",
                f"{search['tuner']}, {done} trials done, {failed} failed.",
                "Chosen by validation; test metrics only stand beside.",
            ),
            page_lib.figures(drawings),
            *(
                page_lib.section(name, _table(rows))
                for name, rows in tables.items() if rows
            ),
        ],
    )


def _chart(points, cost, metric):
    in_percent = cost == "density"
    scale = 100 if in_percent else 1
    return charts.Chart(
        f"{metric} against {cost}",
        f"{cost} (%)" if in_percent else cost,
        metric,
        [
            charts.Series(
                "best compromises",
                [scale * point[cost] for point in points],
                [point[metric] for point in points],
            )
        ],
        log_x=True,
        falling_x=in_percent,
    )


def _table(rows):
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    return page_lib.table(names, cells)


def _cell(value):
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
