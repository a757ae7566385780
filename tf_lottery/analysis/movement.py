"""Weight movement: how far surviving and pruned weights travelled."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tf_lottery.analysis import sources
from tf_lottery.report import charts
from tf_lottery.utils import checks

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclasses.dataclass(frozen=True)
class Travel:
    """How far a set of weights travelled.

    Attributes:
        number: Integer, how many weights there are.
        distance: Float, the L2 distance between start and end.
        mean: Float, the mean of `abs(end - start)`; NaN without weights.
        quantiles: Dict from fraction to the quantile of `abs(end - start)`.
    """

    number: int
    distance: float
    mean: float
    quantiles: dict[float, float]


@dataclasses.dataclass(frozen=True)
class Movement:
    """How far surviving and pruned weights travelled.

    Attributes:
        kept: `Travel` of the surviving weights.
        pruned: `Travel` of the pruned weights.
        layers: Dict from weight key to a pair of `Travel`: kept, pruned.
    """

    kept: Travel
    pruned: Travel
    layers: dict[str, tuple[Travel, Travel]]

    def chart(self) -> dict[str, Any]:
        kinds = {"surviving weights": self.kept, "pruned weights": self.pruned}
        return charts.lines(
            "Weight movement",
            "quantile",
            "distance travelled, abs(end - start)",
            [
                {"series": name, "x": fraction, "y": distance}
                for name, travel in kinds.items()
                for fraction, distance in travel.quantiles.items()
            ],
        )


def weight_movement(
    start: sources.Weights,
    end: sources.Weights,
    masks: sources.Masks,
    quantiles: Iterable[float] = QUANTILES,
) -> Movement:
    """Measures how far surviving and pruned weights moved in training.

    The paper finds that the weights of winning tickets move *more* than
    those that are pruned. `end` are the weights before they are pruned: the
    end of the training by which `masks` were chosen.

    Reference: Frankle and Carbin 2019, "The Lottery Ticket Hypothesis",
    appendix F, https://arxiv.org/abs/1803.03635.

    Args:
        start: Weights before training: a dict from weight key to array,
            `keras.Model`, `Snapshot` or `Ticket`.
        end: Weights after it.
        masks: Dict from weight key to boolean array, `Ticket`, or
            `keras.Model` that holds masks; `True` = survives.
        quantiles: Iterable of fractions in [0, 1]. Defaults to
            `(0.05, 0.25, 0.5, 0.75, 0.95)`.

    Raises:
        ValueError: If keys or shapes do not fit together, or a quantile is
            outside [0, 1].
        TypeError: If an argument is of another type.

    Example:

    >>> import numpy as np
    >>> found = weight_movement({"w": np.zeros(4)},
    ...                         {"w": np.array([3.0, -4.0, 1.0, 0.0])},
    ...                         {"w": np.array([True, True, False, False])})
    >>> found.kept.distance, found.kept.mean, found.pruned.quantiles[0.5]
    (5.0, 3.5, 0.5)
    """
    checks.kind(
        "quantiles", quantiles, (tuple, list, np.ndarray), "a list of fractions"
    )
    for quantile in quantiles:
        checks.number(
            "quantiles", quantile, "fractions in [0, 1]",
            lambda value: 0 <= value <= 1,
        )
    masks = sources.masks(masks)
    moved = _moved(start, end, masks)
    layers = {
        key: (
            _travel([moved[key][mask]], quantiles),
            _travel([moved[key][~mask]], quantiles),
        )
        for key, mask in masks.items()
    }
    return Movement(
        _travel([moved[k][mask] for k, mask in masks.items()], quantiles),
        _travel([moved[k][~mask] for k, mask in masks.items()], quantiles),
        layers,
    )


def _moved(start, end, masks):
    """The distance that each weight with a mask travelled."""
    start = sources.under(masks, start, "start")
    end = sources.under(masks, end, "end")
    return {
        key: np.abs(end[key].astype("float64") - start[key]) for key in masks
    }


def _travel(parts, quantiles):
    values = np.concatenate([np.zeros(0), *parts])
    if not values.size:
        return Travel(0, 0.0, math.nan, {q: math.nan for q in quantiles})
    found = np.quantile(values, quantiles)
    return Travel(
        values.size,
        float(np.linalg.norm(values)),
        float(values.mean()),
        {q: float(value) for q, value in zip(quantiles, found)},
    )
