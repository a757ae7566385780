"""Charts as SVG files that stand alone, light and dark pages aside."""

from tf_lottery.analysis import charts
from tf_lottery.analysis import svg

_STYLE = (
    "svg{background:#fff}text{font:12px system-ui,sans-serif;fill:#1d2430}"
    "text.title{font-weight:600;font-size:14px}.grid{stroke:#dfe3e8}"
    ".tick{stroke:#5d6675}.reference{stroke:#5d6675;stroke-dasharray:5 4;"
    "stroke-width:1.4}"
)
_MARGIN = 12


def element(chart):
    """Returns a `charts.Chart` or `charts.Matrix` as the text of an element."""
    draw = svg.matrix if isinstance(chart, charts.Matrix) else svg.lines
    return draw(chart)


def document(chart):
    """Returns the text of an SVG file of a chart.

    Args:
        chart: `charts.Chart` or `charts.Matrix`.
    """
    head, _, body = element(chart).partition(">")
    width, height = map(int, head.partition('viewBox="0 0 ')[2].partition(
        '"'
    )[0].split())
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="{-_MARGIN} {-_MARGIN} {width + 2 * _MARGIN} '
        f'{height + 2 * _MARGIN}" width="{1.5 * width:.0f}" role="img">'
        f"<style>{_STYLE}</style>{body}\n"
    )
