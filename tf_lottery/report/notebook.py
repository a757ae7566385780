"""Results in notebooks: small HTML tables in the style of the notebook."""

import html

# Longer tables are cut.
_MOST = 40


def show(title, table, text=""):
    """Returns a table under a title as HTML, and a text below it.

    >>> from tf_lottery.report import tables
    >>> show("a < b", tables.Table(["n"], []))
    '<b>a &lt; b</b><table><tr><th>n</th></tr></table><p></p>'
    """
    rows = "".join(
        _row("td", row, index in table.marked)
        for index, row in enumerate(table.rows[:_MOST])
    )
    more = len(table.rows) - _MOST
    lines = [*([f"... and {more} rows more"] if more > 0 else ()), *(
        text.splitlines()
    )]
    return (
        f"<b>{html.escape(title)}</b>"
        f"<table>{_row('th', table.heads)}{rows}</table>"
        f"<p>{'<br>'.join(map(html.escape, lines))}</p>"
    )


def _row(tag, cells, marked=False):
    cells = (html.escape(" ".join(cell.split())) for cell in cells)
    if marked:
        cells = (f"<b>{cell}</b>" for cell in cells)
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"
