"""Findings: what an analysis of a run found, with its table and charts."""

import dataclasses
import math
import pathlib
from typing import Any

from tf_lottery import files
from tf_lottery.report import tables as tables_lib

KINDS = (
    "accuracy", "stability", "connectivity", "movement", "overlap", "density",
    "gap", "robustness", "capacity",
)


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one analysis of a run found.

    Attributes:
        kind: String, one of `KINDS`.
        title: String.
        summary: String, what was measured and how.
        rows: List of flat dicts, every measurement.
        heads: List of strings, the heads of the table.
        cells: List of lists of strings, its rows: means over trials.
        charts: Dict from name to a Vega-Lite specification; the name of the
            first is `""`.
        compared: List of dicts with `"what"`, `"density"`, `"paper"`,
            `"ours"` and `"source"`: the paper's numbers.
        notes: List of sentences, what to know before believing it.
        settings: Dict of plain values, what it was measured with.
    """

    kind: str
    title: str
    summary: str
    rows: list[dict[str, Any]]
    heads: list[str]
    cells: list[list[str]]
    charts: dict[str, dict[str, Any]]
    compared: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def tables(self) -> list[tables_lib.Table]:
        """Returns the means, and the paper's numbers, as `Table`s."""
        found = [tables_lib.Table(self.heads, self.cells, ())]
        if self.compared:
            found.append(tables_lib.claims(self.compared))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Returns the finding as plain values; NaN becomes `None`."""
        return _plain(dataclasses.asdict(self))


def read(directory):
    """Reads the findings in a directory, a list in the order of `KINDS`."""
    paths = [pathlib.Path(directory) / f"{kind}.json" for kind in KINDS]
    return [_read(path) for path in paths if path.exists()]


def _read(path):
    with files.intact(path):
        return Finding(**files.read_json(path))


def _plain(value):
    """Returns plain values; what is no number is `None`, as JSON has it."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
