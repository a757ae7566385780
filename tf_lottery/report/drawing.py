"""Drawings of charts: PNG and SVG files, and the script of a page.

Drawn by `vl-convert-python`, which has Vega inside: nothing is fetched from
anywhere, neither here nor when a page is looked at.
"""

import functools
import importlib
import pathlib
import warnings
from typing import Any

from tf_lottery import files
from tf_lottery.utils import checks
from tf_lottery.utils import types

# Text and lines have the colour of the page, light or dark.
CONFIG = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "title": {"anchor": "start", "color": "currentColor", "fontSize": 14},
    "axis": {
        "labelColor": "currentColor", "titleColor": "currentColor",
        "domainColor": "currentColor", "tickColor": "currentColor",
        "gridColor": "currentColor", "gridOpacity": 0.14,
        "titleFontWeight": "normal", "labelFontSize": 11,
        "titleFontSize": 11,
    },
    "axisX": {"grid": False},
    "axisY": {"domain": False, "ticks": False},
    "legend": {
        "orient": "top", "labelColor": "currentColor", "labelFontSize": 11,
        "labelLimit": 150, "symbolOpacity": 1, "symbolSize": 80,
        "symbolStrokeWidth": 1.4,
        "columns": 3,
    },
    "text": {"color": "currentColor"},
}
_SIZE = {"width": 540, "height": 280}
_PACKAGES = ("jinja2", "vl_convert")


def save(chart: Any, path: types.Path, dpi: int = 150) -> None:
    """Draws a chart to a file.

    Args:
        chart: Dict, a Vega-Lite specification, or a result that has one: of
            `linear_connectivity`, `mask_overlap`, `robustness`,
            `weight_movement`.
        path: Path of the file; its ending says the format: `.png` or `.svg`.
        dpi: Integer, resolution of a PNG file. Defaults to 150.

    Raises:
        ImportError: If `vl-convert-python` is not installed.
        TypeError: If there is no chart of `chart`.
        ValueError: If the format is another one.

    Example:

    >>> import pathlib, tempfile
    >>> from tf_lottery.report import charts
    >>> chart = charts.lines("Loss", "step", "loss", [
    ...     {"series": "dense", "trial": "0", "x": 1, "y": 0.5}])
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory) / "loss.svg"
    ...     save(chart, path)
    ...     path.read_text()[:4]
    '<svg'
    """
    checks.path("path", path)
    checks.number("dpi", dpi, "in (0, 2400]", lambda v: 0 < v <= 2400)
    path = pathlib.Path(path)
    if path.suffix not in (".png", ".svg"):
        raise ValueError(
            "A chart is drawn to a file that ends in '.png' or '.svg'. "
            f"Received: path={str(path)!r}"
        )
    chart = _specification(chart)
    check_available()
    if path.suffix == ".svg":
        files.write_text(path, svg(chart))
    else:
        files.write_atomic(path, [png(chart, dpi)])


def png(chart, dpi=150):
    """Returns a chart as the bytes of a PNG file on white."""
    import vl_convert

    return vl_convert.vegalite_to_png(
        {**_SIZE, **chart}, ppi=dpi, config=_on_white(), allowed_base_urls=[]
    )


def svg(chart):
    """Returns a chart as the text of an SVG file on white."""
    import vl_convert

    return vl_convert.vegalite_to_svg(
        {**_SIZE, **chart}, config=_on_white(), allowed_base_urls=[]
    )


@functools.cache
def script():
    """Returns the JavaScript that draws the charts of a page: Vega-Embed."""
    import vl_convert

    return vl_convert.javascript_bundle()


def check_available():
    """Raises an `ImportError` unless charts and pages can be made."""
    for name in _PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(
                "Charts and pages need vl-convert-python and jinja2: "
                "`pip install tf_lottery[plot]`."
            ) from error


def available(what):
    """Returns whether charts and pages can be made; warns what is left out."""
    try:
        check_available()
    except ImportError as error:
        warnings.warn(f"{what} left out. {error}", stacklevel=3)
        return False
    return True


def _specification(chart):
    if hasattr(chart, "chart"):
        chart = chart.chart()
    if not isinstance(chart, dict) or not {"mark", "layer"} & chart.keys():
        raise TypeError(
            "Argument `chart` must be a Vega-Lite specification, or a result "
            f"with a method `chart()`. Received: {type(chart)}"
        )
    return chart


def _on_white():
    return {**CONFIG, "background": "white"}
