"""Magnitude: large weights are kept, in each layer or over all."""

from typing import Literal

import keras
import numpy as np
from keras import ops

from tf_lottery.criteria.criterion import Context
from tf_lottery.criteria.criterion import Criterion
from tf_lottery.criteria.criterion import Scorer
from tf_lottery.criteria.criterion import WeightCriterion
from tf_lottery.utils import checks
from tf_lottery.utils import types


class Magnitude(WeightCriterion):
    """The absolute value of each weight, or its square.

    Alone, weights come in the same order either way; the order of blocks and
    channels, whose weights are averaged, may differ.

    Reference: Han et al. 2015, https://arxiv.org/abs/1506.02626; the
    criterion of iterative magnitude pruning, Frankle and Carbin 2019,
    https://arxiv.org/abs/1803.03635.

    Args:
        order: 1 for the absolute value (L1), 2 for the square (L2). Defaults
            to 1.

    Raises:
        ValueError: If `order` is neither.
    """

    name = "magnitude"

    def __init__(self, order: Literal[1, 2] = 1) -> None:
        checks.number("order", order, "1 or 2", lambda v: v in (1, 2))
        self.order = order

    def score_weight(self, key: str, values: np.ndarray) -> np.ndarray:
        # In place: large models have no memory to spare between two rounds.
        if self.order == 1:
            return np.abs(values, out=values)
        return np.square(values, dtype=np.promote_types(values.dtype, "f4"))


class LAMP(Criterion):
    """Layer-adaptive magnitude: a share of what would be left of the layer.

    The square of a weight, divided by the sum of the squares of all weights
    of its layer that are still there when its turn to be pruned comes: itself
    and the larger ones. Ranked over all layers, this gives each layer its own
    sparsity without a parameter to tune; inside a layer the order is that of
    magnitude. The best weight of each layer scores exactly 1, so no layer is
    emptied while as many weights are kept as there are layers. Of equal
    weights the first counts as the larger one.

    Reference: Lee et al. 2021, https://arxiv.org/abs/2010.07611, equation 1.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((2,)), keras.layers.Dense(2, name="fc")])
    >>> model.set_weights([np.array([[1.0, 2.0], [0.0, -2.0]]), np.zeros(2)])
    >>> tfl.criteria.score(model, "lamp")["fc/kernel"].round(3).tolist()
    [[0.111, 1.0], [0.0, 0.5]]
    """

    name = "lamp"

    def prepare(
        self, model: keras.Model, variables: types.Variables, context: Context
    ) -> Scorer:
        return lambda masks: {
            key: _layer_scores(variable, masks[key])
            for key, variable in variables.items()
        }


def _layer_scores(variable, mask):
    # A pruned weight is 0 and last in its layer, whatever is stored for it.
    values = ops.convert_to_numpy(variable).astype("float64")
    values[~mask] = 0
    largest = np.abs(values).max(initial=0)
    if largest == 0:
        return _dead_layer_scores(mask)
    # Division first: squares of tiny or huge weights would leave the range.
    squares = np.square(values / largest).ravel()
    # Stable from the back: descending, and of equal weights the first first.
    order = np.argsort(squares[::-1], kind="stable")[::-1]
    np.subtract(squares.size - 1, order, out=order)
    descending = squares[order]
    scores = np.empty_like(squares)
    scores[order] = descending / np.cumsum(descending)
    return scores.reshape(mask.shape)


def _dead_layer_scores(mask):
    """All weights are 0 and worth nothing, but one stays: the first left."""
    scores = np.zeros(mask.shape)
    if mask.any():
        scores.flat[np.argmax(mask)] = 1.0
    return scores
