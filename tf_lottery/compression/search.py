"""Search: the last number of which something holds, in few trials."""

from collections.abc import Callable


def last_holding(
    holds: Callable[[int], bool], first: int, step: int, last: int, most: int
) -> int:
    """Returns the last number from 0 of which something holds.

    It is taken to hold of all numbers up to one and of none after it, and of
    0 in any case. Steps double until it lies between two, which are halved.

    Args:
        first: Integer, where to begin.
        most: Integer, how many numbers are tried.

    Example:

    >>> from tf_lottery.compression import search
    >>> search.last_holding(lambda n: n <= 37, 10, 4, 60, 10)
    37
    """
    low, high, number = 0, last + 1, first
    bracketed = [False, False]
    for _ in range(most):
        if holds(number):
            low, bracketed[0] = number, True
        else:
            high, bracketed[1] = number, True
        if high - low < 2:
            break
        if all(bracketed):
            number = (low + high) // 2
        elif bracketed[0]:
            number, step = min(low + step, last), 2 * step
        else:
            number, step = max(high - step, 1), 2 * step
        if not low < number < high:
            number = (low + high) // 2
    return low
