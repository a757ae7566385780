"""Building blocks of an HTML page that needs nothing from elsewhere."""

import html

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5d6675;
  --line: #dfe3e8; --paper: #ffffff; --card: #f6f8fa; --accent: #0072b2;
  --warn: #fff6e0; --warn-line: #e0a92e; --good: #e9f5ee; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee;
  --soft: #9aa5b4; --line: #323a45; --paper: #14181e; --card: #1c222a;
  --accent: #56b4e9; --warn: #2e2715; --warn-line: #b98a22;
  --good: #17301f; } }
* { box-sizing: border-box; }
body { font: 15px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif;
  color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 76em; padding: 2.2em 1.4em 4em; }
h1 { font-size: 1.75em; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1.2em; margin: 2.4em 0 .7em; padding-bottom: .3em;
  border-bottom: 1px solid var(--line); }
p { max-width: 50em; margin: .5em 0; }
.soft, caption, figcaption { color: var(--soft); }
.tiles { display: grid; gap: .9em; margin: 1.6em 0;
  grid-template-columns: repeat(auto-fit, minmax(13em, 1fr)); }
.tile { background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; padding: .8em 1.1em; }
.tile b { display: block; font-size: 1.6em; font-weight: 600;
  font-variant-numeric: tabular-nums; line-height: 1.3; }
.tile span { color: var(--soft); font-size: .9em; }
.caveats { background: var(--warn); border-left: 4px solid var(--warn-line);
  border-radius: 4px; padding: .7em 1.2em; margin: 1.4em 0; }
.caveats ul { margin: .3em 0; padding-left: 1.2em; }
.charts { display: grid; gap: 2em 2.4em;
  grid-template-columns: repeat(auto-fit, minmax(min(30em, 100%), 1fr)); }
svg.chart { width: 100%; max-width: 44em; height: auto; display: block; }
svg.chart text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg.chart text.title { font-weight: 600; font-size: 14px; }
svg.chart .grid { stroke: var(--line); }
svg.chart .tick { stroke: var(--soft); }
svg.chart .reference { stroke: var(--soft); stroke-dasharray: 5 4;
  stroke-width: 1.4; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .4em 0 1em; }
caption { text-align: left; caption-side: bottom; padding-top: .5em;
  font-size: .9em; max-width: 60em; }
th { font-weight: 600; font-size: .88em; vertical-align: bottom;
  color: var(--soft); }
th, td { padding: .32em .9em .32em 0; text-align: left;
  border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; padding: .32em 0 .32em 1.1em;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.n + :not(.n) { padding-left: 1.6em; }
th.n { white-space: normal; max-width: 9em; }
tr.marked td { background: var(--good); font-weight: 600; }
details { margin: .6em 0; }
summary { cursor: pointer; color: var(--accent); }
code { font-size: .92em; }
a { color: var(--accent); }
@media print { details > * { display: block; } }
"""


def document(title, parts):
    """Returns a whole page.

    Args:
        title: String.
        parts: List of strings of HTML.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n"
        "</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def title(name, summary, about):
    """Returns the head of a page."""
    return (
        f"<h1>{html.escape(name)}</h1>\n"
        f'<p class="soft">{html.escape(summary)}<br>{html.escape(about)}</p>'
    )


def section(title, *parts):
    """Returns a heading and what is below it."""
    return f"<h2>{html.escape(title)}</h2>\n" + "\n".join(parts)


def text(value, style=""):
    """Returns a paragraph."""
    return f"<p{_class(style)}>{html.escape(value)}</p>"


def tiles(items):
    """Returns a row of numbers with captions.

    Args:
        items: List of pairs of strings, number and caption.
    """
    found = "".join(
        f'<div class="tile"><b>{html.escape(value)}</b>'
        f"<span>{html.escape(caption)}</span></div>"
        for value, caption in items
    )
    return f'<div class="tiles">{found}</div>'


def caveats(sentences):
    """Returns a box with a list of caveats."""
    if not sentences:
        return ""
    items = "".join(f"<li>{html.escape(each)}</li>" for each in sentences)
    return (
        f'<div class="caveats"><b>Before you believe it</b><ul>{items}</ul>'
        "</div>"
    )


def figures(drawings):
    """Returns charts side by side where there is room.

    Args:
        drawings: List of strings, the text of SVG elements.
    """
    found = "".join(f"<figure style='margin:0'>{d}</figure>" for d in drawings)
    return f'<div class="charts">{found}</div>'


def details(summary, content):
    """Returns what is shown on demand."""
    return (
        f"<details><summary>{html.escape(summary)}</summary>{content}"
        "</details>"
    )


def table(heads, rows, words=(0,), caption="", marked=()):
    """Returns a table.

    Args:
        heads: List of strings.
        rows: List of lists of strings, or of `Html` for what is HTML already.
        words: Numbers of the columns that hold words; others hold numbers
            and are aligned to the right. Defaults to the first.
        caption: String. Defaults to none.
        marked: Numbers of the rows that stand out. Defaults to none.
    """
    def cells(values, tag):
        return "".join(
            f"<{tag}{_class('' if i in words else 'n')}>{_escape(v)}</{tag}>"
            for i, v in enumerate(values)
        )

    found = "\n".join(
        f"<tr{_class('marked' if i in marked else '')}>{cells(row, 'td')}</tr>"
        for i, row in enumerate(rows)
    )
    below = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide"><table>{below}<thead><tr>{cells(heads, "th")}'
        f"</tr></thead><tbody>\n{found}\n</tbody></table></div>"
    )


class Html(str):
    """Text that is HTML already."""


def link(address, label):
    """Returns a link, for a cell of a table."""
    return Html(
        f'<a href="{html.escape(address)}">{html.escape(label)}</a>'
    )


def _escape(value):
    return value if isinstance(value, Html) else html.escape(value)


def _class(style):
    return f' class="{style}"' if style else ""
