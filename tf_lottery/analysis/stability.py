"""Stability: how far apart two trainings of a network end."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tf_lottery import weights as weights_lib
from tf_lottery.analysis import sources
from tf_lottery.weights import snapshots


@dataclasses.dataclass(frozen=True)
class Stability:
    """The distance between two trainings.

    Attributes:
        distance: Float, the L2 distance over the unpruned weights.
        angle: Float, the angle between the two in degrees; NaN if one of
            them is zero.
        number: Integer, how many weights are compared.
        layers: Dict from weight key to its L2 distance.
        baseline: `Stability` of random subnetworks, or `None`.
    """

    distance: float
    angle: float
    number: int
    layers: dict[str, float]
    baseline: "Stability | None" = None

    @property
    def distance_per_weight(self) -> float:
        """Float, `distance / sqrt(number)`: the root of the mean square.

        Unlike the distance it does not shrink with the density.
        """
        return self.distance / math.sqrt(self.number) if self.number else 0.0

    @property
    def ratio(self) -> float | None:
        """Float, how many times farther apart random subnetworks end.

        `None` without a baseline.
        """
        if self.baseline is None:
            return None
        if not self.distance:
            return math.inf if self.baseline.distance else math.nan
        return self.baseline.distance / self.distance


def stability(
    a: sources.Weights,
    b: sources.Weights,
    masks: sources.Masks | None = None,
    baseline: Stability | tuple[Any, ...] | None = None,
) -> Stability:
    """Measures how far apart two trainings end, over the unpruned weights.

    *Stability to pruning* compares the whole network with the subnetwork,
    both trained from the same rewinding point on the same data order, over
    the weights that the subnetwork has: `||m * W - W_sub||`. *Stability to
    data order* compares two trainings of the subnetwork that differ in the
    order of their data. The paper compares both with the same distance between
    trainings of random subnetworks with the same layerwise proportions
    (`tf_lottery.controls.random_masks`): that is `baseline`.

    Reference: Frankle, Dziugaite, Roy and Carbin 2019, "Stabilizing the
    Lottery Ticket Hypothesis", section 3, https://arxiv.org/abs/1903.01611.

    Args:
        a: Weights after the first training: a dict from weight key to
            array, `keras.Model`, `Snapshot`, or `Ticket`, of which it is the
            weights that training starts from.
        b: Weights after the second training.
        masks: Dict from weight key to boolean array, or a `Ticket`, `True` =
            compared; other weights are left out. Defaults to the masks that
            come with `a` and `b`, where both keep a weight. Without any, all
            arrays of a dict are compared, the prunable weights of a model,
            and what has two axes or more of a snapshot.
        baseline: Two trainings of random subnetworks as `(a, b)` or
            `(a, b, masks)`, or their `Stability`. Defaults to `None`.

    Raises:
        ValueError: If keys or shapes do not fit together, or nothing is left
            to compare.
        TypeError: If an argument is of another type.

    Example:

    >>> import numpy as np
    >>> found = stability({"fc/kernel": np.array([3.0, 0.0, 9.0])},
    ...                   {"fc/kernel": np.array([0.0, 4.0, 9.0])},
    ...                   {"fc/kernel": np.array([True, True, False])})
    >>> round(found.distance, 6), round(found.angle, 6), found.number
    (5.0, 90.0, 2)
    """
    masks = _masks(a, b, masks)
    first, second = _chosen(a, masks, "a"), _chosen(b, masks, "b")
    sources.check_alike(first, second, ("a", "b"))
    if not any(values.size for values in first.values()):
        raise ValueError(
            "There is no weight to compare. Received: masks that keep "
            f"nothing, or no weights: {sorted(first)}"
        )
    if baseline is not None and not isinstance(baseline, Stability):
        baseline = stability(*_trainings(baseline))
    layers = {
        key: float(np.linalg.norm(values - second[key]))
        for key, values in first.items()
    }
    flat_a = np.concatenate(list(first.values()))
    flat_b = np.concatenate(list(second.values()))
    return Stability(
        math.hypot(*layers.values()),
        _angle(flat_a, flat_b),
        flat_a.size,
        layers,
        baseline,
    )


def _masks(a, b, masks):
    if masks is not None:
        return sources.masks(masks)
    found = [m for m in map(sources.masks_of, (a, b)) if m is not None]
    if not found:
        return None
    common = dict(found[0])
    for key, mask in (found[1] if len(found) > 1 else {}).items():
        common[key] = common[key] & mask if key in common else mask
    return common


def _chosen(source, masks, name):
    """Returns the compared weights of a source as flat float64 arrays."""
    if masks is None:
        arrays = sources.weights(source, name)
        return {
            key: np.ravel(arrays[key]).astype("float64")
            for key in _compared(source, arrays)
        }
    arrays = sources.under(masks, source, name)
    return {k: arrays[k][mask].astype("float64") for k, mask in masks.items()}


def _compared(source, arrays):
    if isinstance(source, keras.layers.Layer):
        return list(weights_lib.prunable(source))
    if isinstance(source, snapshots.Snapshot):
        return [key for key, array in arrays.items() if array.ndim > 1]
    return list(arrays)


def _trainings(baseline):
    if isinstance(baseline, Mapping) or not (
        isinstance(baseline, (tuple, list)) and len(baseline) in (2, 3)
    ):
        raise TypeError(
            "Argument `baseline` must be two trainings of random subnetworks "
            "as `(a, b)` or `(a, b, masks)`, or a `Stability`. "
            f"Received: baseline of type {type(baseline)}"
        )
    return baseline


def _angle(a, b):
    """The angle in degrees; exact near 0 and 180, where arccos is not."""
    norms = np.linalg.norm(a), np.linalg.norm(b)
    if not all(norms):
        return math.nan
    a, b = a / norms[0], b / norms[1]
    return math.degrees(
        2 * math.atan2(np.linalg.norm(a - b), np.linalg.norm(a + b))
    )
