"""Where on a drawing the values of a chart are, and which are named."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Axis:
    """Maps values to positions.

    Args:
        low: Float, the least value.
        high: Float, the greatest value, above `low`.
        start: Float, the position of `low`.
        end: Float, the position of `high`.
        log: Boolean, whether positions go by the logarithm.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value):
        """Returns the position of a value."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = map(math.log, (low, high, value))
        return self.start + (value - low) / (high - low) * (
            self.end - self.start
        )


def padded(low, high, share=0.06):
    """Returns a range a little wider than the given one, never empty."""
    margin = share * (high - low) or abs(high) * share or 1.0
    return low - margin, high + margin


def round_ticks(low, high, count=5):
    """Returns about `count` round numbers in a range.

    Example:

    >>> round_ticks(0.0, 10.0)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    rough = (high - low) / count
    power = 10 ** math.floor(math.log10(rough))
    step = next(
        power * factor for factor in (1, 2, 2.5, 5, 10)
        if power * factor >= rough * 0.999
    )
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(round(n * step, 12)) for n in range(first, last + 1)]


def spaced(values, axis, gap):
    """Returns those of the values that are at least `gap` apart, first first.

    Args:
        values: List of floats.
        axis: `Axis`.
        gap: Float, the least distance between two positions.
    """
    found = []
    for value in values:
        if all(abs(axis(value) - axis(other)) >= gap for other in found):
            found.append(value)
    return found


def number(value):
    """Returns a value of an axis as text.

    Example:

    >>> [number(v) for v in (1200.0, 51.28, 3.58, 98.25, 0.25, 0.0)]
    ['1,200', '51.3', '3.6', '98.2', '0.25', '0']
    """
    if value and abs(value) < 1:
        return f"{value:.3g}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}".removesuffix(".0")


def tick_labels(ticks):
    """Returns evenly spaced ticks as text, with as many digits as they need.

    Example:

    >>> tick_labels([98.0, 98.25, 98.5])
    ['98.00', '98.25', '98.50']
    """
    digits = next(
        (n for n in range(8) if all(
            abs(tick - round(tick, n)) <= 1e-9 * max(1.0, abs(tick))
            for tick in ticks
        )),
        8,
    )
    return [f"{tick:,.{digits}f}" for tick in ticks]
