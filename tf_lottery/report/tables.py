"""Tables: heads and cells of text, as pages show them."""

import dataclasses
from typing import Any

import rich.table

from tf_lottery.utils import tables


@dataclasses.dataclass(frozen=True)
class Table:
    """One table, of strings or of `Link`, with some rows marked.

    Columns that are not of `words` hold numbers and are aligned to the right.
    """

    heads: list[str]
    rows: list[list[Any]]
    words: tuple[int, ...] = (0,)
    caption: str = ""
    marked: tuple[int, ...] = ()

    def printed(self, **style: Any) -> rich.table.Table:
        """Returns the table for a terminal, in a style of `utils.tables`."""
        found = tables.Table(**style)
        for column, head in enumerate(self.heads):
            found.add_column(
                head, justify="left" if column in self.words else "right"
            )
        for number, row in enumerate(self.rows):
            marked = number in self.marked
            found.add_row(*map(str, row), style="bold" if marked else None)
        return found


@dataclasses.dataclass(frozen=True)
class Link:
    """A cell that leads somewhere."""

    label: str
    address: str

    def __str__(self):
        return self.label


def of_records(records, words=(), names=None):
    """Returns values as they are, a row for each record.

    >>> of_records([{"early_stop": 7, "loss": 0.123456}]).rows
    [['7', '0.1235']]
    """
    if names is None:
        names = dict.fromkeys(name for each in records for name in each)
    return Table(
        [name.replace("_", " ") for name in names],
        [[_cell(each.get(name)) for name in names] for each in records],
        words,
    )


def claims(compared):
    """Returns a paper's numbers next to ours, see `analysis.claims.compare`."""
    compared = list(compared)
    recollected = any(each.get("recollected") for each in compared)
    return Table(
        ["what", "density %", "paper", "ours", "arXiv"],
        [
            [
                each["what"],
                f"{100 * each['density']:.1f}",
                each["paper"] + "*" * bool(each.get("recollected")),
                each["ours"],
                Link(each["source"].rpartition("/")[2], each["source"]),
            ]
            for each in compared
        ],
        (0, 4),
        "* Known from quotations of the paper, not read in it."
        if recollected else "",
    )


def _cell(value):
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
