"""SNIP: how much the loss depends on each connection."""

import numpy as np

from tf_lottery import docs
from tf_lottery.criteria.taylor import Taylor


@docs.filled
class SNIP(Taylor):
    """Connection sensitivity: the share of each weight in all sensitivities.

    With the gradient g of the mean loss over all the data, the score of a
    weight w is `abs(g * w)` divided by its sum over all scored weights; g is
    summed over the data before the absolute value is taken. BatchNormalization
    uses its moving statistics, and penalties of regularizers play no part.

    Reference: Lee et al. 2019, section 4,
    https://arxiv.org/abs/1810.02340. The authors score one batch of 100 or
    128 examples, before training: `batches=1`.

    Args:
        {{gradients}}

    Raises:
        ValueError: When called: if there is no data or no loss, if a weight
            has no gradient or a score is not finite.

    Example:

    >>> import keras, numpy as np, tf_lottery as tfl
    >>> model = keras.Sequential([
    ...     keras.Input((2,)),
    ...     keras.layers.Dense(1, name="fc", kernel_initializer="ones")])
    >>> data = np.array([[1.0, 3.0]]), np.array([[0.0]])
    >>> scores = tfl.criteria.score(
    ...     model, SNIP(), data=data, loss="mean_squared_error")
    >>> scores["fc/kernel"].tolist()
    [[0.25], [0.75]]
    """

    name = "snip"

    def __init__(self, data=None, loss=None, batches=None, batch_size=128):
        super().__init__("absolute", data, loss, batches, batch_size)

    def finish(self, scores):
        total = sum(np.sum(s, dtype="float64") for s in scores.values())
        # Only a model that ignores its input has no sensitivity at all.
        if total:
            for key in scores:
                scores[key] = scores[key] / scores[key].dtype.type(total)
        return scores

    def get_config(self):
        config = super().get_config()
        del config["order"]
        return config
