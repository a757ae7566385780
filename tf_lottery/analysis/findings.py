"""Findings: what an analysis of a run found, with its table and charts."""

import dataclasses
import json
import math
import pathlib

from tf_lottery import files
from tf_lottery.analysis import charts

KINDS = (
    "accuracy", "stability", "connectivity", "movement", "overlap", "density",
    "gap", "robustness", "capacity",
)
_CHARTS = {"chart": charts.Chart, "matrix": charts.Matrix}


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
        charts: Dict from name to `charts.Chart` or `charts.Matrix`; the name
            of the first is `""`.
        compared: List of dicts with `"what"`, `"density"`, `"paper"`,
            `"ours"` and `"source"`: the paper's numbers.
        notes: List of sentences, what to know before believing it.
        settings: Dict of plain values, what it was measured with.
    """

    kind: str
    title: str
    summary: str
    rows: list
    heads: list
    cells: list
    charts: dict
    compared: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)
    settings: dict = dataclasses.field(default_factory=dict)

    def to_dict(self):
        """Returns the finding as plain values; NaN becomes `None`."""
        values = dataclasses.asdict(self)
        values["charts"] = {
            name: {
                "drawn_as": "matrix" if isinstance(chart, charts.Matrix)
                else "chart",
                **dataclasses.asdict(chart),
            }
            for name, chart in self.charts.items()
        }
        return _plain(values)

    @classmethod
    def from_dict(cls, values):
        """Makes a finding of what `to_dict` returned."""
        drawn = {name: _chart(v) for name, v in values["charts"].items()}
        return cls(**{**values, "charts": drawn})


def read(directory):
    """Reads the findings that are in a directory.

    Args:
        directory: Path of the directory `analysis` of a run; there need not
            be one.

    Returns:
        List of `Finding`, in the order of `KINDS`.

    Raises:
        DamagedFileError: If a file is damaged.
    """
    paths = [pathlib.Path(directory) / f"{kind}.json" for kind in KINDS]
    return [_read(path) for path in paths if path.exists()]


def _read(path):
    try:
        return Finding.from_dict(json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise files.DamagedFileError(
            f"File '{path}' is damaged: {error!r}. Expected: what "
            "`tf-lottery analyze` wrote."
        ) from error


def _chart(values):
    values = dict(values)
    kind = _CHARTS[values.pop("drawn_as")]
    if kind is charts.Chart:
        values["series"] = [charts.Series(**s) for s in values["series"]]
    return kind(**values)


def _plain(value):
    """Returns plain values; what is no number is `None`, as JSON has it."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
