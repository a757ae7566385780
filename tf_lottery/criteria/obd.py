"""OBD: the loss that removing a weight is expected to cost."""

import keras
import numpy as np
from keras import ops

from tf_lottery.criteria.criterion import Context
from tf_lottery.criteria.criterion import Scorer
from tf_lottery.criteria.data_criterion import DataCriterion
from tf_lottery.criteria.samples import SampleGradients
from tf_lottery.utils import docs
from tf_lottery.utils import types


@docs.filled
class OBD(DataCriterion):
    """Optimal brain damage, 1/2 F_ii w^2, with the diagonal empirical Fisher.

    F_ii is the mean over the examples of the squared gradient of the loss of
    each, which stands for the second derivative near a minimum: the cost of
    removing a weight is then never negative. It is not the square of a
    batch's gradient. The exact diagonal of the Hessian, which the code of
    lookahead pruning calls OBD, is another number and may be negative. The
    scores do not depend on `batch_size`.

    Reference: LeCun et al. 1989, "Optimal Brain Damage"; with the Fisher
    information, Theis et al. 2018, https://arxiv.org/abs/1801.05787.

    Args:
        {{gradients}}

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((1,)), keras.layers.Dense(1, name="fc")])
    >>> model.set_weights([np.array([[3.0]]), np.zeros(1)])
    >>> x, y = np.array([[1.0], [1.0]]), np.array([[2.0], [4.0]])
    >>> scores = tfl.criteria.score(model, "obd", data=(x, y), loss="mse")
    >>> scores["fc/kernel"].tolist()  # gradients 2 and -2
    [[18.0]]
    """

    name = "obd"

    def prepare(
        self, model: keras.Model, variables: types.Variables, context: Context
    ) -> Scorer:
        batches = self.read(context)
        functional, loss = self.trace(model, variables, context)
        gradients = SampleGradients(functional, loss, lambda found: {
            key: ops.sum(ops.square(each), 0) for key, each in found.items()
        })

        def scores(masks):
            values = functional.values(masks)
            fisher = _fisher(gradients(values, batches))
            return self.check_finite({
                key: 0.5 * fisher.pop(key)
                * np.square(ops.convert_to_numpy(values[key]))
                for key in values
            })

        return scores


def _fisher(chunks):
    """The means of squares over all examples."""
    total, examples = {}, 0
    for number, squares in chunks:
        examples += number
        for key in list(squares):
            square = squares.pop(key)
            total[key] = total[key] + square if key in total else square
    return {
        key: ops.convert_to_numpy(value) / examples
        for key, value in total.items()
    }
