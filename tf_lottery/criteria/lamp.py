"""LAMP: magnitudes made comparable between layers."""

import numpy as np
from keras import ops

from tf_lottery.criteria.criterion import Criterion


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

    >>> import keras, numpy as np
    >>> import tf_lottery as tfl
    >>> model = keras.Sequential(
    ...     [keras.Input((2,)), keras.layers.Dense(2, name="fc")])
    >>> model.set_weights([np.array([[1.0, 2.0], [0.0, -2.0]]), np.zeros(2)])
    >>> tfl.criteria.score(model, "lamp")["fc/kernel"].round(3).tolist()
    [[0.111, 1.0], [0.0, 0.5]]
    """

    name = "lamp"

    def prepare(self, model, variables, context):
        def scores(masks):
            return {
                key: _layer_scores(variable, masks[key])
                for key, variable in variables.items()
            }

        return scores


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
