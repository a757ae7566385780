"""The report as one HTML page that needs nothing from elsewhere."""

import html

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto;
  max-width: 70em; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0 2em; }
th, td { padding: .25em .8em; border-bottom: 1px solid #ddd;
  text-align: left; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
tr.shipped { font-weight: 600; background: #eef6ee; }
svg text { font: 13px system-ui, sans-serif; fill: #222; }
"""
_BAR, _LABEL, _WIDE = 20, 190, 380


def render(report, heads, cells):
    """Returns the page of a `report.Report`.

    Args:
        report: `report.Report`.
        heads: List of strings, the heads of the table of its rows.
        cells: List of lists of strings, the table.
    """
    numbers = [bool(head) and head != "file" for head in heads]
    rows = [
        _row(found, "shipped" if row.shipped else "", numbers)
        for row, found in zip(report.rows, cells)
    ]
    layers = [
        _row(
            (
                layer.name, layer.kind, f"{layer.zeros:,} of {layer.size:,}",
                layer.form, layer.reason,
            )
        )
        for layer in report.layers
    ]
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in report.notes)
    title = html.escape(f"{report.path} for {report.target}")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>{title}</h1>\n{_chart(report.rows)}\n"
        f"{_table(heads, rows)}\n"
        f"<p>{report.macs:,} MACs, {report.effective_macs:,} by nonzero "
        f"weights. Checked in {html.escape(', '.join(report.runtimes))}. "
        f"Latency: {report.threads} thread(s).</p>{notes}\n"
        "<h2>Layers of the file written</h2>\n"
        f"{_table(('weights', 'operator', 'zeros', 'stored', 'why'), layers)}"
        "\n</body></html>\n"
    )


def _table(heads, rows):
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    return f"<table><tr>{head}</tr>\n{chr(10).join(rows)}</table>"


def _row(cells, style="", numbers=()):
    numbers = numbers or [False] * len(cells)
    found = "".join(
        f"<td{' class=n' * number}>{html.escape(cell)}</td>"
        for cell, number in zip(cells, numbers)
    )
    return f'<tr class="{style}">{found}</tr>'


def _chart(rows):
    """Two bars for each file: its size, and its latency if measured."""
    sizes = [row.nbytes for row in rows]
    times = [row.timing.median if row.timing else None for row in rows]
    left = _bars(rows, sizes, _LABEL, [f"{n / 1e3:,.0f} kB" for n in sizes])
    texts = ["" if t is None else f"{1e3 * t:.3f} ms" for t in times]
    right = _bars(rows, times, _LABEL + _WIDE + 90, texts)
    labels = "".join(
        f'<text x="0" y="{_top(i) + 15}">{html.escape(row.name)}</text>'
        for i, row in enumerate(rows)
    )
    heads = "".join(
        f'<text x="{x}" y="14" font-weight="600">{head}</text>'
        for x, head in ((_LABEL, "size"), (_LABEL + _WIDE + 90, "latency"))
    )
    width, height = _LABEL + 2 * (_WIDE + 90), _top(len(rows))
    return (
        f'<svg viewBox="0 0 {width} {height}" width="100%" role="img" '
        f'aria-label="size and latency">{heads}{labels}{left}{right}</svg>'
    )


def _bars(rows, values, x, texts):
    highest = max((v for v in values if v is not None), default=0) or 1
    found = []
    for i, (row, value, text) in enumerate(zip(rows, values, texts)):
        if value is None:
            continue
        color = "#2a7d46" if row.shipped else "#8aa4c8"
        wide = max(1.0, _WIDE * value / highest)
        found.append(
            f'<rect x="{x}" y="{_top(i)}" width="{wide:.1f}" '
            f'height="{_BAR}" fill="{color}"/>'
            f'<text x="{x + wide + 6:.1f}" y="{_top(i) + 15}">{text}</text>'
        )
    return "".join(found)


def _top(number):
    return 24 + number * (_BAR + 6)
