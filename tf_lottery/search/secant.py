"""Secants: the last number whose value is within a limit, in few trials."""

import math
from collections.abc import Callable

# Values below this part of the limit are noise, and say nothing of a slope.
_NOISE = 0.25
# Estimates that err to one side so often give way to the middle.
_PATIENCE = 3


def last_within(
    value: Callable[[int], float], limit: float, first: int, last: int,
    most: int,
) -> int:
    """Returns the last number from 0 whose value is within a limit.

    Values are taken to rise with the numbers, about geometrically: the next
    number tried is where the line through the logarithms of two values meets
    the limit.

    Args:
        value: Function of a number; that of 0 is taken to be known, and to be
            within in any case.
        limit: Float.
        first: Integer, where to begin.
        last: Integer, the last number there is.
        most: Integer, how many numbers are tried.

    Example:

    >>> from tf_lottery.search import secant
    >>> secant.last_within(lambda n: 1.1**n, 1.1**37.5, 10, 60, 10)
    37
    """
    low, high, number, sides = 0, last + 1, first, []
    values = {0: value(0)}
    for _ in range(most):
        values[number] = value(number)
        sides.append(values[number] <= limit)
        if sides[-1]:
            low = number
        else:
            high = number
        if high - low < 2:
            break
        middle = (low + high) // 2
        recent = sides[-_PATIENCE:]
        if len(recent) == _PATIENCE and len(set(recent)) == 1:
            guess = middle
        elif high in values:
            guess = min(_meeting(values, low, high, limit, middle), high - 1)
        else:
            # The farther side is looked for: twice as far as is likely.
            guess = min(2 * _meeting(values, 0, low, limit, last) - low, middle)
        number = max(guess, low + 1)
    return low


def _meeting(values, start, stop, limit, otherwise):
    """Returns where a geometric line through two values meets a limit."""
    low, high = max(values[start], _NOISE * limit), values[stop]
    if not 0 < low <= limit or low >= high:
        return otherwise
    share = math.log(limit / low) / math.log(high / low)
    return round(start + share * (stop - start))
