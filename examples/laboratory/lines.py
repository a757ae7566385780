"""The straight line between two trained networks."""

from tf_lottery import analysis
from tf_lottery.report import charts

_AT = "test error at "


def between(bench, ends, arguments):
    """Returns what is between two networks, as columns of a row.

    Args:
        bench: `Bench`.
        ends: Pair of dicts from weight key to array.
        arguments: Namespace with `points`, and with `examples`, how many of
            each set are looked at.
    """
    data, first = bench.data, slice(arguments.examples)
    found = analysis.linear_connectivity(
        bench.model,
        *ends,
        {
            "train": (data.x_train[first], data.y_train[first]),
            "test": (data.x_test[first], data.y_test[first]),
        },
        points=arguments.points,
    )
    return {
        "barrier, train": 100 * found.barriers["train"],
        "barrier, test": 100 * found.barriers["test"],
        "loss barrier, test": found.loss_barriers["test"],
        "stable": found.stable,
    } | {
        f"{_AT}{fraction:.2f}": 100 * error
        for fraction, error in zip(found.fractions, found.errors["test"])
    }


def add_arguments(parser):
    """Adds the flags that `between` reads."""
    parser.add_argument("--points", type=int, default=11)
    parser.add_argument(
        "--examples", type=int, default=10_000, help="of each set"
    )


def stable(rows):
    """Returns in how many of some rows both networks are stable, as text."""
    return f"{sum(row['stable'] for row in rows)} of {len(rows)}"


def chart(title, rows, by):
    """Returns the errors on the way as a chart.

    Args:
        title: String.
        rows: List of dicts with the columns of `between`.
        by: String, the column that tells the lines apart.
    """
    return charts.lines(
        title, "fraction of the way", "test error (%)",
        [
            {
                "series": str(row[by]), "trial": str(row["trial"]),
                "x": float(name.removeprefix(_AT)), "y": value,
            }
            for row in rows for name, value in row.items()
            if name.startswith(_AT) and value is not None
        ],
    )
