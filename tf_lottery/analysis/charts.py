"""What a chart shows, apart from how it is drawn."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: String, for the legend.
        x: List of floats.
        y: List of floats.
        low: List of floats, the lower edge of a band, or `None`.
        high: List of floats, the upper edge of a band, or `None`.
    """

    name: str
    x: list
    y: list
    low: list | None = None
    high: list | None = None


@dataclasses.dataclass(frozen=True)
class Chart:
    """Lines over one axis.

    Attributes:
        title: String.
        x_label: String.
        y_label: String.
        series: List of `Series`.
        log_x: Boolean, whether the x axis is logarithmic. Defaults to
            `False`.
        falling_x: Boolean, whether x falls from left to right, as densities
            do in the papers. Defaults to `False`.
        reference: Float, a horizontal line to compare with, or `None`.
        reference_name: String, its name. Defaults to `""`.
    """

    title: str
    x_label: str
    y_label: str
    series: list
    log_x: bool = False
    falling_x: bool = False
    reference: float | None = None
    reference_name: str = ""

    def extent(self, axis):
        """Returns the least and the greatest value shown on an axis.

        Args:
            axis: `"x"` or `"y"`.
        """
        if axis == "x":
            values = [x for series in self.series for x in series.x]
        else:
            values = [
                value for series in self.series
                for edge in (series.y, series.low, series.high)
                for value in edge or ()
            ]
            values += [] if self.reference is None else [self.reference]
        values = [value for value in values if value == value]
        return (min(values), max(values)) if values else (0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A table of numbers between 0 and 1, shown as shades.

    Attributes:
        title: String.
        names: List of strings, of rows and columns.
        values: List of lists of floats.
    """

    title: str
    names: list
    values: list
