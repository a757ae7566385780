"""Values of rounds against density, with bands over trials."""

import collections
import dataclasses
import statistics

from tf_lottery.analysis import charts

_DASH = "–"


@dataclasses.dataclass(frozen=True)
class Column:
    """One value of each row, as people read it.

    Attributes:
        name: String, the head of a table's column or a line's name.
        key: String, where rows have the value.
        scale: Float, by what it is multiplied. Defaults to 1.
        form: String, how a number is written. Defaults to two digits.
    """

    name: str
    key: str
    scale: float = 1.0
    form: str = "{:.2f}"

    def values(self, rows):
        """Returns the scaled values of the rows that have one."""
        found = (row.get(self.key) for row in rows)
        return [
            self.scale * value for value in found
            if value is not None and value == value
        ]

    def cell(self, rows):
        """Returns the mean over rows as text, with its least and greatest."""
        values = self.values(rows)
        if not values:
            return _DASH
        mean, low, high = map(
            self.form.format,
            (statistics.fmean(values), min(values), max(values)),
        )
        return mean if low == high else f"{mean} ({low}{_DASH}{high})"


def by_round(rows):
    """Returns rows by their round, as a dict in the order of the rounds."""
    found = collections.defaultdict(list)
    for row in rows:
        found[row["round"]].append(row)
    return dict(sorted(found.items()))


def series(rows, column):
    """Returns the `charts.Series` of a column: means, least and greatest.

    Args:
        rows: List of dicts with `"round"`, `"density"` and more.
        column: `Column`.
    """
    points = [
        (100 * statistics.fmean(row["density"] for row in found),
         column.values(found))
        for found in by_round(rows).values() if column.values(found)
    ]
    return charts.Series(
        column.name,
        [density for density, _ in points],
        [statistics.fmean(values) for _, values in points],
        [min(values) for _, values in points],
        [max(values) for _, values in points],
    )


def chart(title, label, rows, columns, reference=None, reference_name=""):
    """Returns columns against density as a chart.

    Args:
        title: String.
        label: String, of the y axis.
        rows: List of dicts with `"round"`, `"density"` and more.
        columns: List of `Column`, a line each.
        reference: Float, a horizontal line, or `None`.
        reference_name: String.

    Returns:
        `charts.Chart`.

    Example:

    >>> rows = [{"round": 1, "density": 0.5, "l2": 3.0},
    ...         {"round": 1, "density": 0.5, "l2": 5.0}]
    >>> line = chart("L2", "L2", rows, [Column("tickets", "l2")]).series[0]
    >>> line.x, line.y, line.low, line.high
    ([50.0], [4.0], [3.0], [5.0])
    """
    return charts.Chart(
        title,
        "density (%)",
        label,
        [series(rows, column) for column in columns],
        log_x=True,
        falling_x=True,
        reference=reference,
        reference_name=reference_name,
    )


def table(rows, columns):
    """Returns a table with a row for each round.

    Args:
        rows: List of dicts with `"round"`, `"density"` and more.
        columns: List of `Column`.

    Returns:
        Pair of the list of heads and the list of rows of strings.
    """
    density = Column("density %", "density", 100)
    cells = [
        [str(number), density.form.format(
            statistics.fmean(density.values(found))
        )]
        + [column.cell(found) for column in columns]
        for number, found in by_round(rows).items()
    ]
    heads = ["round", density.name, *(column.name for column in columns)]
    return heads, cells
