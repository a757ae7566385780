"""Wanda: magnitudes, times the norm of what each weight reads."""

import keras
import numpy as np
from keras import ops

from tf_lottery.criteria import layer_inputs
from tf_lottery.criteria.criterion import Context
from tf_lottery.criteria.criterion import Scorer
from tf_lottery.criteria.data_criterion import InputCriterion
from tf_lottery.utils import docs
from tf_lottery.utils import types


@docs.filled
class Wanda(InputCriterion):
    """The magnitude of a weight times the norm of the input it reads.

    The norm is that over all examples, and over all positions where the layer
    goes from one to the next. The weights stay as they are, and the scores of
    different layers do not compare: use `scope="layer"`. The paper ranks the
    weights of each output by themselves, which it finds no better for
    networks of images.

    Reference: Sun et al. 2023, https://arxiv.org/abs/2306.11695, equation 1.

    Args:
        {{calibration}}

    Raises:
        ValueError: When called, if a weight is not multiplied by inputs as it
            is (one of an Embedding, say), or there are no data.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((2,)), keras.layers.Dense(1, name="fc")])
    >>> model.set_weights([np.array([[3.0], [1.0]]), np.zeros(1)])
    >>> x = np.array([[0.0, 3.0], [1.0, 4.0]])
    >>> tfl.criteria.score(model, "wanda", data=x)["fc/kernel"].tolist()
    [[3.0], [5.0]]
    """

    name = "wanda"

    def prepare(
        self, model: keras.Model, variables: types.Variables, context: Context
    ) -> Scorer:
        inputs = layer_inputs.LayerInputs(
            model, variables, self.read(context)
        )
        inputs.check_known(self.name)

        def size(linear):
            return linear.sizes[0] * linear.sizes[1]

        def scores(masks):
            found = {}
            for key, (squares,) in inputs.sums(masks, _squares, size):
                values = ops.convert_to_numpy(variables[key])
                linear = inputs.linear[key]
                matrices = np.abs(linear.to_matrices(values))
                found[key] = linear.from_matrices(
                    matrices * np.sqrt(squares)[..., None]
                )
            return self.check_finite(found)

        return scores


def _squares(rows):
    return [ops.sum(ops.square(rows), 1)]
