"""K-means of numbers: exact on some intervals, then Lloyd's steps on all."""

import numpy as np

# Intervals that the exact search puts together, of equal numbers of values
# and of equal width.
_INTERVALS = 128
_STEPS = 100


def centroids(values: np.ndarray, number: int) -> np.ndarray:
    """Returns the numbers that stand for values with least squared error.

    They are sorted. On a line clusters are intervals, so that dynamic
    programming finds the best ones (Wang and Song 2011, The R Journal 3/2). It
    puts intervals of values together; Lloyd's steps then move the borders
    between all of them.
    """
    values = np.sort(np.asarray(values, "float64"), axis=None)
    found = np.unique(values)
    if len(found) <= number:
        return found
    sums = np.concatenate([[0.0], np.cumsum(values)])
    edges = _divided(values, number)
    for _ in range(_STEPS):
        found = np.diff(sums[edges]) / np.diff(edges)
        middles = np.searchsorted(values, (found[1:] + found[:-1]) / 2)
        moved = np.unique([0, *middles, len(values)])
        if np.array_equal(moved, edges):
            break
        edges = moved
    return found


def _divided(values, number):
    """Returns where sorted values are cut, with the least squared error."""
    places = np.linspace(values[0], values[-1], _INTERVALS + 1)[1:-1]
    ranks = np.linspace(0, len(values), _INTERVALS + 1).astype(int)
    cuts = np.unique([*ranks, *np.searchsorted(values, places)])
    sums, squares = (
        np.concatenate([[0.0], np.cumsum(values**power)])[cuts]
        for power in (1, 2)
    )
    # The cost of one cluster from cut i to cut j.
    sizes = np.maximum(cuts - cuts[:, None], 1)
    cost = squares - squares[:, None] - (sums - sums[:, None]) ** 2 / sizes
    cost[np.tril_indices(len(cuts), -1)] = np.inf
    best, backs = cost[0], []
    for _ in range(number - 1):
        total = best[:, None] + cost
        backs.append(total.argmin(0))
        best = total.min(0)
    ends = [len(cuts) - 1]
    for back in reversed(backs):
        ends.append(back[ends[-1]])
    return np.unique([0, *cuts[ends]])


def nearest(values: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Returns the index of the nearest of sorted numbers for each value."""
    return np.searchsorted((found[1:] + found[:-1]) / 2, values)
