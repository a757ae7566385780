"""First-order scores: what the loss would change by."""

from typing import Literal

import keras
import numpy as np
from keras import ops

from tf_lottery.criteria import functional as functional_lib
from tf_lottery.criteria import gradients as gradients_lib
from tf_lottery.criteria.criterion import Context
from tf_lottery.criteria.criterion import Scorer
from tf_lottery.criteria.data_criterion import DataCriterion
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types

_ORDERS = {
    "absolute": lambda product: ops.abs(product),
    "squared": lambda product: ops.square(product),
    "signed": lambda product: -product,
}


@docs.filled
class Taylor(DataCriterion):
    """The change of the loss by removing a weight, to first order.

    With the gradient g of the mean loss over all the data, removing a weight
    w changes the loss by about `-g * w`. BatchNormalization uses its moving
    statistics, and penalties of regularizers play no part.

    Args:
        order: `"absolute"`, the size of the change `abs(g * w)` (Molchanov et
            al. 2017, equation 7, https://arxiv.org/abs/1611.06440, for
            weights); `"squared"`, `(g * w)**2` (Molchanov et al. 2019,
            equation 8, https://arxiv.org/abs/1906.10771), which differs for
            blocks and channels; or `"signed"`, the change itself, `-g * w`,
            so that weights go first whose removal makes the loss smaller
            (Mozer and Smolensky 1989). Defaults to `"absolute"`.
        {{gradients}}

    Raises:
        ValueError: If `order` is none of these. When called: if there is no
            data or no loss, if a weight has no gradient or a score is not
            finite.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((2,)),
    ...     keras.layers.Dense(1, name="fc", kernel_initializer="ones")])
    >>> data = np.array([[1.0, 3.0]]), np.array([[0.0]])
    >>> scores = tfl.criteria.score(
    ...     model, Taylor(), data=data, loss="mean_squared_error")
    >>> scores["fc/kernel"].tolist()
    [[8.0], [24.0]]
    """

    name = "taylor"

    def __init__(
        self,
        order: Literal["absolute", "squared", "signed"] = "absolute",
        data: types.Data | None = None,
        loss: types.Loss | None = None,
        batches: int | None = None,
        batch_size: int = 128,
    ) -> None:
        checks.choice("order", order, _ORDERS)
        super().__init__(data, loss, batches, batch_size)
        self.order = order

    def prepare(
        self, model: keras.Model, variables: types.Variables, context: Context
    ) -> Scorer:
        batches = self.read(context)
        functional, loss = self.trace(model, variables, context)

        @functional.function
        def gradients(values, x, y, sample_weight):
            return functional.gradients(values, x, y, sample_weight, loss)

        def scores(masks):
            values = functional.values(masks)
            found = functional_lib.mean_gradients(gradients, values, batches)
            for key in found:
                found[key] = _ORDERS[self.order](
                    found[key] * values.pop(key)
                )
            found = gradients_lib.to_arrays(found)
            return self.finish(self.check_finite(found))

        return scores

    def finish(self, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the scores of all weights, given those of each.

        Args:
            scores: Dict from weight key to array, which is read only.
        """
        return scores


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

    def __init__(
        self,
        data: types.Data | None = None,
        loss: types.Loss | None = None,
        batches: int | None = None,
        batch_size: int = 128,
    ) -> None:
        super().__init__("absolute", data, loss, batches, batch_size)

    def finish(self, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        total = sum(np.sum(s, dtype="float64") for s in scores.values())
        # Only a model that ignores its input has no sensitivity at all.
        if total:
            for key in scores:
                scores[key] = scores[key] / scores[key].dtype.type(total)
        return scores
