"""Mask overlap: how much trials, rounds and layers keep in common."""

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_lottery import masks as masks_lib
from tf_lottery.analysis import sources
from tf_lottery.report import charts


@dataclasses.dataclass(frozen=True, eq=False)
class Overlap:
    """Jaccard indices of masks, each with each.

    Attributes:
        names: List of strings, one for each row and column.
        matrix: Array of shape `(n, n)`, over all weights.
        expected: Array of shape `(n, n)`, what independent random masks of
            the same layerwise densities have in the mean.
        layers: Dict from weight key to its matrix.
        expected_layers: Dict from weight key to its expected matrix.
    """

    names: list[str]
    matrix: np.ndarray
    expected: np.ndarray
    layers: dict[str, np.ndarray]
    expected_layers: dict[str, np.ndarray]

    def chart(self) -> dict[str, Any]:
        return charts.matrix(
            "Mask overlap (Jaccard index)", self.names, self.matrix.tolist()
        )


def mask_overlap(
    tickets: Sequence[sources.Masks] | Mapping[str, sources.Masks]
) -> Overlap:
    """Measures how much of what tickets keep they have in common.

    The Jaccard index of two masks is the number of weights that both keep,
    divided by the number that at least one keeps. Masks that have nothing to
    do with each other overlap too: that is `expected`. For masks with fixed
    counts it follows from the hypergeometric distribution of the number kept
    by both, up to the second order of its spread. On the diagonal it is that
    of two independent masks as well.

    Reference: Jaccard 1912, "The distribution of the flora in the alpine
    zone"; for the masks of tickets, Frankle and Carbin 2019,
    https://arxiv.org/abs/1803.03635, whose initialisations this compares.

    Args:
        tickets: List of tickets, or dict from name to ticket, where each may
            be a dict of masks, or a model that holds masks.

    Raises:
        ValueError: If there are none, or keys or shapes differ.
        TypeError: If an argument is of another type.

    Example:

    >>> import numpy as np
    >>> outer = {"fc/kernel": np.array([True, True, True, False])}
    >>> inner = {"fc/kernel": np.array([True, False, False, False])}
    >>> mask_overlap([outer, inner]).matrix.round(3).tolist()
    [[1.0, 0.333], [0.333, 1.0]]
    """
    found = sources.named(tickets)
    names, masks = list(found), list(found.values())
    for other in masks[1:]:
        sources.check_alike(masks[0], other, ("tickets[0]", "tickets[n]"))
    measures = masks_lib.overlap, expected_overlap
    layers, expected_layers = (
        {
            key: _matrix([{key: mask[key]} for mask in masks], measure)
            for key in masks[0]
        }
        for measure in measures
    )
    matrix, expected = (_matrix(masks, measure) for measure in measures)
    return Overlap(names, matrix, expected, layers, expected_layers)


def expected_overlap(
    a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]
) -> float:
    """Returns the mean Jaccard index of random masks with these counts.

    Args:
        a: Dict from weight key to boolean array: how many weights of each
            key the first mask keeps.
        b: The same for the second mask.

    Returns:
        Float in [0, 1]; 1.0 if neither keeps anything.

    Example:

    >>> import numpy as np
    >>> half = {"w": np.arange(10_000) < 5_000}
    >>> round(expected_overlap(half, half), 3)
    0.333
    """
    sources.check_alike(
        sources.masks(a, "a"), sources.masks(b, "b"), ("a", "b")
    )
    either = masks_lib.count(a) + masks_lib.count(b)
    if not either:
        return 1.0
    mean = variance = 0.0
    for key, mask in a.items():
        size, kept = mask.size, int(np.count_nonzero(mask))
        other = int(np.count_nonzero(b[key]))
        mean += kept * other / size if size else 0.0
        if size > 1:
            variance += (
                kept * other * (size - kept) * (size - other)
                / (size**2 * (size - 1))
            )
    # Of both / (either - both), whose second derivative is positive.
    curvature = 2 * either / (either - mean) ** 3
    return mean / (either - mean) + curvature * variance / 2


def _matrix(masks, measure):
    return np.array([[measure(a, b) for b in masks] for a in masks])
