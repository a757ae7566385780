"""Page of an export: its candidates as bars and as a table."""

from tf_lottery.export import npu
from tf_lottery.report import charts
from tf_lottery.report import pages
from tf_lottery.report import tables

WORDS = ("file", "", "on the NPU", "operator", "kind", "why")
LAYER_HEADS = ("weights", "operator", "zeros", "stored", "why")


def render(report, heads, cells):
    """Returns the page of a `report.Report`.

    Raises:
        ImportError: If the extra `plot` is not installed.
    """
    words = [i for i, head in enumerate(heads) if head in WORDS]
    marked = [i for i, row in enumerate(report.rows) if row.shipped]
    layers = layer_cells(report.layers)
    return pages.render(
        "export.html",
        report=report,
        charts=list(_charts(report.rows)),
        candidates=tables.Table(heads, cells, words, marked=marked),
        layers=tables.Table(LAYER_HEADS, layers, range(len(LAYER_HEADS))),
        npu=[
            tables.Table(
                heads, rows, [i for i, h in enumerate(heads) if h in WORDS]
            )
            for heads, rows in npu_tables(report)
        ],
    )


def npu_tables(report):
    """Returns heads and cells of the tables of what Vela says, if it did."""
    if report.npu is None:
        return []
    return [
        (npu.HEADS, report.npu.cells()),
        (npu.OPERATOR_HEADS, report.npu.operator_cells()),
    ]


def layer_cells(layers):
    """Returns a row of strings for each `storage.Layer`."""
    return [
        [
            layer.name, layer.kind, f"{layer.zeros:,} of {layer.size:,}",
            layer.form, layer.reason,
        ]
        for layer in layers
    ]


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
