"""Tables and page of an export: its candidates as bars and as a table."""

import math

from tf_lottery.export import metrics
from tf_lottery.export import npu
from tf_lottery.report import charts
from tf_lottery.report import pages
from tf_lottery.report import tables

# Of what a table says about a failure; JSON has the whole of it.
_WIDTH = 100
_HEADS = (
    "file", "bytes", "gzip", "/ bound", "latency", "speedup", "arena",
    "error",
)
# Heads of columns of words; others are of numbers.
_WORDS = (
    "file", "", "on the NPU", "operator", "kind", "why", "weights", "zeros",
    "stored",
)


def render(report):
    """Returns the page of a `report.Report`.

    Raises:
        ImportError: If the extra `plot` is not installed.
    """
    return pages.render(
        "export.html",
        report=report,
        charts=list(_charts(report.rows)),
        candidates=candidates(report),
        layers=layers(report),
        npu=npu_tables(report),
    )


def candidates(report):
    """Returns the table of all files, without columns that are empty."""
    heads = [*_HEADS, report.metric_name, ""]
    found = [_cells(row, report.metric_name) for row in report.rows]
    shown = [i for i in range(len(heads)) if any(row[i] for row in found)]
    return _table(
        [heads[i] for i in shown],
        [[row[i] for i in shown] for row in found],
        [i for i, row in enumerate(report.rows) if row.shipped],
    )


def layers(report):
    """Returns the table of the layers of the file written."""
    return _table(("weights", "operator", "zeros", "stored", "why"), [
        [
            layer.name, layer.kind, f"{layer.zeros:,} of {layer.size:,}",
            layer.form, layer.reason,
        ]
        for layer in report.layers
    ])


def npu_tables(report):
    """Returns the tables of what Vela says, if it did."""
    if report.npu is None:
        return []
    return [
        _table(npu.HEADS, report.npu.cells()),
        _table(npu.OPERATOR_HEADS, report.npu.operator_cells()),
    ]


def _table(heads, rows, marked=()):
    words = [i for i, head in enumerate(heads) if head in _WORDS]
    return tables.Table(heads, rows, words, marked=marked)


def _cells(row, metric):
    def shown(value, text):
        return "" if value is None else text.format(value)

    timing, verdict = row.timing, row.verdict
    spread = "" if timing is None else (
        f"{1e3 * timing.median:.3f} ms "
        f"±{500 * (timing.high - timing.low) / timing.median * 1e-1:.0f} %"
    )
    return (
        row.name,
        f"{row.nbytes:,}",
        f"{row.compressed:,}",
        f"{row.compressed / row.bound:.2f}",
        spread,
        shown(row.speedup, "{:.2f}x"),
        shown(row.arena, "{:,}"),
        f"{row.error:.1e}" if math.isfinite(row.error) else "",
        metrics.text(metric, row.metric),
        verdict if len(verdict) <= _WIDTH else f"{verdict[:_WIDTH - 3]}...",
    )


def _charts(rows):
    """The size of each file, and its latency where it was measured."""
    yield charts.bars("Size", [
        _bar(row, row.nbytes, f"{row.nbytes / 1e3:,.0f} kB") for row in rows
    ])
    timed = [row for row in rows if row.timing is not None]
    if timed:
        yield charts.bars("Latency", [
            _bar(row, row.timing.median, f"{1e3 * row.timing.median:.3f} ms")
            for row in timed
        ])


def _bar(row, value, text):
    return {
        "name": row.name, "value": value, "text": text, "marked": row.shipped,
    }
