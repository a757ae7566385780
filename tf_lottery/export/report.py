"""Report of an export: as an object, a table, JSON or a page."""

import dataclasses
import json
import math
from typing import Any

import rich.console
import rich.table

from tf_lottery import files
from tf_lottery.export import check
from tf_lottery.export import children
from tf_lottery.export import latency
from tf_lottery.export import npu as npu_lib
from tf_lottery.export import page
from tf_lottery.export import storage
from tf_lottery.utils import tables
from tf_lottery.utils import types


@dataclasses.dataclass(eq=False)
class Row:
    """One candidate file and all that was measured of it.

    Attributes:
        name: String, such as `"float32 sparse"`.
        quantize: String, one of `convert.QUANTIZATIONS`.
        nbytes: Integer, bytes of the file.
        compressed: Integer, its bytes after `gzip -9`.
        bound: Integer, the entropy bound of its data type in bytes.
        layers: List of `storage.Layer`.
        checks: List of `check.Outcome`.
        metric: Float, the value of the report's metric, or `None`.
        timing: `latency.Timing`, or `None` if it was not measured.
        speedup: Float, over the dense float32 file, or `None`.
        arena: Integer, bytes of RAM in TensorFlow Lite Micro, or `None`.
        shipped: Boolean, whether this is the file written.
        note: String, why it is no candidate though it passed, or empty.
        others: List of `check.Outcome` in runtimes that need not run it.
    """

    name: str
    quantize: str
    nbytes: int
    compressed: int
    bound: int
    layers: list[storage.Layer]
    checks: list[check.Outcome]
    metric: float | None = None
    timing: latency.Timing | None = None
    speedup: float | None = None
    arena: int | None = None
    shipped: bool = False
    note: str = ""
    others: list[check.Outcome] = dataclasses.field(default_factory=list)

    @property
    def runs_in(self) -> list[str]:
        """List of strings, the runtimes in which it was seen to be right."""
        return [
            children.LABELS[outcome.runtime]
            for outcome in (*self.checks, *self.others) if outcome.passed
        ]

    @property
    def passed(self) -> bool:
        """Boolean, whether it passed every check."""
        return all(outcome.passed for outcome in self.checks)

    @property
    def error(self) -> float:
        """Float, the largest error over the runtimes."""
        return max((o.error for o in self.checks), default=math.nan)

    @property
    def verdict(self) -> str:
        """String, what became of it."""
        if self.shipped:
            return "shipped"
        failed = [str(o) for o in self.checks if not o.passed]
        return "; ".join(failed) or self.note or "passed"


@dataclasses.dataclass(eq=False)
class Report:
    """What `tflite` wrote, and what it chose from.

    Attributes:
        path: String, the file written.
        target: String.
        rows: List of `Row`; the first is the dense float32 file.
        metric: Float, the value of the Keras model, or `None`.
        macs: Integer, multiplications of one call, zeros included.
        effective_macs: Integer, those by weights that are not zero.
        runtimes: List of strings, the runtimes that checked every file.
        threads: Integer, of the latencies.
        notes: List of strings.
        sources: List of strings, further files written.
        npu: `npu.Comparison`, what Vela says of the file written, or `None`.
        metric_name: String.
    """

    path: str
    target: str
    rows: list[Row]
    metric: float | None
    macs: int
    effective_macs: int
    runtimes: list[str]
    threads: int
    notes: list[str] = dataclasses.field(default_factory=list)
    sources: list[str] = dataclasses.field(default_factory=list)
    npu: npu_lib.Comparison | None = None
    metric_name: str = "accuracy"

    @property
    def shipped(self) -> Row:
        """The `Row` of the file written."""
        return next(row for row in self.rows if row.shipped)

    @property
    def nbytes(self) -> int:
        """Integer, bytes of the model written, before any compression."""
        return self.shipped.nbytes

    @property
    def compressed(self) -> int:
        """Integer, its bytes after `gzip -9`."""
        return self.shipped.compressed

    @property
    def layers(self) -> list[storage.Layer]:
        """List of `storage.Layer` of the file written."""
        return self.shipped.layers

    def table(self) -> rich.table.Table:
        """Returns a `rich.table.Table` of all candidates."""
        return page.candidates(self).printed()

    def layer_table(self) -> rich.table.Table:
        """Returns a `rich.table.Table` of the layers of the file written."""
        return page.layers(self).printed()

    def npu_tables(self) -> list[rich.table.Table]:
        """Returns two `rich.table.Table`s of what Vela says, or none."""
        return [found.printed() for found in page.npu_tables(self)]

    def render(self) -> rich.console.Group:
        """Returns a `rich` group: candidates, layers, notes."""
        lines = [
            f"{self.macs:,} MACs, {self.effective_macs:,} by nonzero "
            f"weights; checked in {', '.join(self.runtimes)}",
            f"Runs in: {', '.join(self.shipped.runs_in)}.",
        ]
        lines += [
            f"Not in {outcome}" for outcome in self.shipped.others
            if not outcome.passed
        ]
        lines += [str(self.npu)] if self.npu else []
        lines += self.notes
        return rich.console.Group(
            self.table(), self.layer_table(), *self.npu_tables(), *lines
        )

    def __str__(self):
        return tables.text(self.render(), width=150)

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as JSON-serialisable dicts."""
        found = dataclasses.asdict(self)
        for row, entry in zip(self.rows, found["rows"]):
            entry |= {
                "passed": row.passed, "verdict": row.verdict,
                "runs_in": row.runs_in,
            }
        return _finite(found)

    def to_json(self) -> str:
        """Returns `to_dict()` as a JSON string."""
        return json.dumps(self.to_dict(), indent=2)

    def to_html(self) -> str:
        """Returns a self-contained HTML page with bar charts.

        Raises:
            ImportError: If the extra `plot` is not installed.
        """
        return page.render(self)

    def save(self, path: types.Path) -> None:
        """Writes the report, by the file's suffix: `.html` or `.json`.

        Raises:
            ValueError: If the suffix is another one.
            ImportError: If the extra `plot`, which pages need, is missing.
            OSError: If it cannot be written.
        """
        writers = {".html": self.to_html, ".json": self.to_json}
        suffix = "." + str(path).rpartition(".")[2]
        if suffix not in writers:
            raise ValueError(
                f"A report is written as one of {sorted(writers)}. "
                f"Received: path={str(path)!r}"
            )
        files.write_text(path, writers[suffix]())


def _finite(value):
    """JSON knows neither NaN nor infinity: they become null."""
    if isinstance(value, dict):
        return {key: _finite(found) for key, found in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(found) for found in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
