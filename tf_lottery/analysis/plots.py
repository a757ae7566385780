"""Charts as files, drawn by matplotlib (`pip install tf_lottery[plot]`)."""

from tf_lottery.analysis import axes
from tf_lottery.analysis import charts
from tf_lottery.analysis import svg


def save(chart, path, dpi=150):
    """Draws a chart to a file.

    Args:
        chart: `charts.Chart` or `charts.Matrix`, or a result that has one:
            of `linear_connectivity`, `mask_overlap`, `robustness`,
            `weight_movement`.
        path: Path of the file; its ending says the format, such as `.png`.
        dpi: Integer, resolution. Defaults to 150.

    Raises:
        ImportError: If matplotlib is not installed.
        TypeError: If there is no chart of `chart`.
    """
    if not isinstance(chart, (charts.Chart, charts.Matrix)):
        if not hasattr(chart, "chart"):
            raise TypeError(
                "Argument `chart` must be a chart, or a result with a method "
                f"`chart()`. Received: {type(chart)}"
            )
        chart = chart.chart()
    check_available()
    # Not pyplot, which keeps figures and chooses a screen to show them on.
    from matplotlib import figure

    drawing = figure.Figure(figsize=(6.4, 4.2), layout="constrained")
    plot = drawing.add_subplot()
    if isinstance(chart, charts.Matrix):
        _matrix(drawing, plot, chart)
    else:
        _lines(plot, chart)
    plot.set_title(chart.title, loc="left", fontweight="bold")
    drawing.savefig(path, dpi=dpi)


def check_available():
    """Raises an `ImportError` unless matplotlib is installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Charts as files need matplotlib: "
            "`pip install tf_lottery[plot]`, or `pip install matplotlib`."
        ) from error


def _lines(plot, chart):
    for color, series in zip(_colors(chart.series), chart.series):
        plot.plot(
            series.x, series.y, "o-", color=color, label=series.name,
            markersize=4,
        )
        if series.low and series.high:
            plot.fill_between(
                series.x, series.low, series.high, color=color, alpha=0.15,
                linewidth=0,
            )
    if chart.reference is not None:
        plot.axhline(
            chart.reference, color="gray", linestyle="--", linewidth=1,
            label=chart.reference_name or None,
        )
    plot.set_xlabel(chart.x_label)
    plot.set_ylabel(chart.y_label)
    plot.grid(axis="y", alpha=0.3)
    plot.spines[["top", "right"]].set_visible(False)
    _x_axis(plot, chart)
    if chart.series:
        plot.legend(frameon=False)


def _x_axis(plot, chart):
    low, high = chart.extent("x")
    if chart.log_x and 0 < low < high:
        plot.set_xscale("log")
        values = {value for series in chart.series for value in series.x}
        ticks = axes.spaced(
            sorted(values, reverse=True), axes.Axis(low, high, 0, 1, True), 0.08
        )
        plot.set_xticks(ticks, [axes.number(value) for value in ticks])
        plot.set_xticks([], minor=True)
    if chart.falling_x and low < high:
        plot.invert_xaxis()


def _matrix(drawing, plot, table):
    shown = plot.imshow(table.values, vmin=0, vmax=1, cmap="Blues")
    ticks = range(len(table.names))
    plot.set_xticks(ticks, table.names)
    plot.set_yticks(ticks, table.names)
    for i, row in enumerate(table.values):
        for j, value in enumerate(row):
            plot.text(
                j, i, f"{value:.2f}", ha="center", va="center",
                color="white" if value > 0.6 else "black",
            )
    drawing.colorbar(shown)


def _colors(series):
    return [svg.COLORS[i % len(svg.COLORS)] for i in range(len(series))]
