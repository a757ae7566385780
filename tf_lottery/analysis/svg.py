"""Charts as inline SVG, for a page that needs nothing from elsewhere."""

import html

from tf_lottery.analysis import axes

# Okabe and Ito's colours, which do not depend on seeing red and green.
COLORS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
    "#7f7f7f",
)
_WIDTH, _HEIGHT = 560, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 46, 46
_LETTER = 6.6
_ROW = 18


def lines(chart):
    """Returns a `charts.Chart` as the text of an SVG element."""
    x, y = _axes(chart)
    legend, extra = _legend(chart)
    parts = [_grid(chart, x, y), _reference(chart, y)]
    for color, series in zip(_colors(chart.series), chart.series):
        parts.append(_series(chart, series, color, x, y))
    if extra:
        parts = [f'<g transform="translate(0 {extra})">', *parts, "</g>"]
    return _svg(
        _WIDTH, _HEIGHT + extra, chart.title,
        [_title(chart.title), legend, *parts],
    )


def matrix(table):
    """Returns a `charts.Matrix` as the text of an SVG element."""
    cell, count = 46, len(table.names)
    left = 16 + _LETTER * max(map(len, table.names))
    parts = [_title(table.title)]
    for i, name in enumerate(table.names):
        middle = _TOP + cell * (i + 0.5) + 4
        parts.append(_text(left - 8, middle, name, anchor="end"))
        x = left + cell * (i + 0.5)
        parts.append(_text(x, _TOP + cell * count + 18, name))
        for j, value in enumerate(table.values[i]):
            x = left + cell * j
            parts.append(
                f'<rect x="{x:.1f}" y="{_TOP + cell * i}" width="{cell - 2}" '
                f'height="{cell - 2}" rx="3" fill="{COLORS[0]}" '
                f'fill-opacity="{0.08 + 0.72 * value:.3f}"/>'
                + _text(x + cell / 2 - 1, middle, f"{value:.2f}")
            )
    return _svg(
        left + cell * count + _RIGHT, _TOP + cell * count + 28, table.title,
        parts,
    )


def _svg(width, height, title, parts):
    return (
        f'<svg class="chart" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'role="img" aria-label="{html.escape(title)}">{"".join(parts)}</svg>'
    )


def _axes(chart):
    low, high = chart.extent("x")
    if low == high:
        low, high = (low / 2, high * 2) if chart.log_x and low > 0 else (
            axes.padded(low, high)
        )
    ends = (_LEFT + 8, _WIDTH - _RIGHT - 8)
    if chart.falling_x:
        ends = ends[::-1]
    x = axes.Axis(low, high, *ends, chart.log_x)
    y = axes.Axis(
        *axes.padded(*chart.extent("y")), _HEIGHT - _BOTTOM, _TOP + 6
    )
    return x, y


def _colors(series):
    return [COLORS[i % len(COLORS)] for i in range(len(series))]


def _title(title):
    return f'<text class="title" x="0" y="14">{html.escape(title)}</text>'


def _legend(chart):
    """Returns the names of the lines, and the height of rows but the first."""
    entries = [
        (series.name, f'stroke="{color}" stroke-width="2.5"')
        for color, series in zip(_colors(chart.series), chart.series)
    ]
    if chart.reference is not None and chart.reference_name:
        entries.append((chart.reference_name, 'class="reference"'))
    x, y, parts = 0.0, 31, []
    for name, style in entries:
        width = 23 + _LETTER * len(name)
        if x and x + width > _WIDTH:
            x, y = 0.0, y + _ROW
        parts.append(
            f'<line {style} x1="{x:.1f}" x2="{x + 18:.1f}" y1="{y}" '
            f'y2="{y}"/>' + _text(x + 23, y + 4, name, anchor="start")
        )
        x += width + 16
    return "".join(parts), y - 31


def _grid(chart, x, y):
    parts = []
    ticks = axes.round_ticks(y.low, y.high)
    for value, label in zip(ticks, axes.tick_labels(ticks)):
        at = y(value)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" '
            f'y1="{at:.1f}" y2="{at:.1f}"/>'
            + _text(_LEFT - 8, at + 4, label, anchor="end")
        )
    for value in _x_ticks(chart, x):
        at, base = x(value), _HEIGHT - _BOTTOM
        parts.append(
            f'<line class="tick" x1="{at:.1f}" x2="{at:.1f}" y1="{base}" '
            f'y2="{base + 5}"/>' + _text(at, base + 19, axes.number(value))
        )
    base = _HEIGHT - _BOTTOM
    parts.append(
        f'<line class="tick" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" '
        f'y1="{base}" y2="{base}"/>'
        + _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, chart.x_label)
    )
    return "".join(parts)


def _x_ticks(chart, x):
    """The densities of rounds, as in the papers, or round numbers."""
    if not chart.log_x:
        return axes.round_ticks(x.low, x.high)
    values = {value for series in chart.series for value in series.x}
    return axes.spaced(sorted(values, reverse=chart.falling_x), x, 38)


def _reference(chart, y):
    if chart.reference is None:
        return ""
    at = y(chart.reference)
    return (
        f'<line class="reference" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" '
        f'y1="{at:.1f}" y2="{at:.1f}"/>'
    )


def _series(chart, series, color, x, y):
    points = [(x(a), y(b)) for a, b in zip(series.x, series.y)]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    marks = "".join(
        f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.2" fill="{color}">'
        f"<title>{html.escape(_tip(chart, series, i))}</title></circle>"
        for i, (a, b) in enumerate(points)
    )
    return (
        _band(series, color, x, y)
        + f'<polyline points="{path}" fill="none" stroke="{color}" '
        f'stroke-width="2" stroke-linejoin="round"/>{marks}'
    )


def _band(series, color, x, y):
    if not series.low or not series.high:
        return ""
    edge = [(a, b) for a, b in zip(series.x, series.high)]
    edge += [(a, b) for a, b in zip(series.x, series.low)][::-1]
    points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in edge)
    if len(series.x) == 1:
        # A band has no width here, a bar has.
        at = x(series.x[0])
        return (
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(series.low[0]):.1f}" '
            f'y2="{y(series.high[0]):.1f}" stroke="{color}"/>'
        )
    return f'<polygon points="{points}" fill="{color}" fill-opacity="0.14"/>'


def _tip(chart, series, i):
    def text(value):
        return f"{value:,.2f}".removesuffix(".00")

    found = (
        f"{series.name}: {text(series.y[i])} at {chart.x_label} "
        f"{text(series.x[i])}"
    )
    if series.low and series.low[i] != series.high[i]:
        found += f" ({text(series.low[i])} to {text(series.high[i])})"
    return found


def _text(x, y, text, anchor="middle"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{html.escape(text)}</text>"
    )
