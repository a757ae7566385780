"""GraSP: what each weight does to the flow of gradients."""

import keras
from keras import ops

from tf_lottery.criteria import functional as functional_lib
from tf_lottery.criteria import gradients as gradients_lib
from tf_lottery.criteria.criterion import Context
from tf_lottery.criteria.criterion import Scorer
from tf_lottery.criteria.data_criterion import DataCriterion
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types


@docs.filled
class GraSP(DataCriterion):
    """Gradient signal preservation: keeps what keeps gradients large.

    With the gradient g and the Hessian H of the mean loss over all the data,
    the score of a weight w is `w * (H g)`: to first order, half the loss of
    squared gradient norm by removing it. Scores are signed; their absolute
    value would be another method. The sum over the data comes before every
    product. BatchNormalization uses its moving statistics, and penalties of
    regularizers play no part.

    Reference: Wang et al. 2020, equation 8,
    https://arxiv.org/abs/2002.07376. The authors divide logits by 200 and
    score 10 examples of each class, before training.

    Args:
        temperature: Number by which logits are divided: what goes into the
            softmax or sigmoid at the end of the model, or the output if the
            loss takes logits or is a function of your own. Outputs for
            Keras' losses of regression are left as they are. Defaults to
            200.
        {{gradients}}

    Raises:
        ValueError: If `temperature` is not positive. When called: if there
            is no data or no loss, if a weight has no gradient, a score is
            not finite, or the loss takes probabilities that no logits can be
            found for.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((1,)),
    ...     keras.layers.Dense(1, name="fc", kernel_initializer="ones")])
    >>> data = np.array([[1.0]]), np.array([[0.0]])
    >>> scores = tfl.criteria.score(
    ...     model, GraSP(), data=data, loss="mean_squared_error")
    >>> scores["fc/kernel"].tolist()
    [[4.0]]
    """

    name = "grasp"

    def __init__(
        self,
        temperature: float = 200.0,
        data: types.Data | None = None,
        loss: types.Loss | None = None,
        batches: int | None = None,
        batch_size: int = 128,
    ) -> None:
        checks.positive("temperature", temperature)
        super().__init__(data, loss, batches, batch_size)
        self.temperature = temperature

    def prepare(
        self, model: keras.Model, variables: types.Variables, context: Context
    ) -> Scorer:
        batches = self.read(context)
        functional, loss = self.trace(model, variables, context)

        def at_temperature(*args):
            return loss(*args, temperature=self.temperature)

        @functional.function
        def gradients(values, x, y, sample_weight):
            return functional.gradients(
                values, x, y, sample_weight, at_temperature
            )

        @functional.function
        def hessian_times(direction, values, x, y, sample_weight):
            def product(values):
                found = functional.gradients(
                    values, x, y, sample_weight, at_temperature
                )
                return sum(
                    ops.sum(direction[key] * found[key]) for key in found
                )

            # A weight the loss is linear in has a Hessian of zero.
            return {
                key: ops.zeros_like(values[key]) if value is None else value
                for key, value in gradients_lib.of(product, values).items()
            }

        def scores(masks):
            values = functional.values(masks)
            direction = functional_lib.mean_gradients(
                gradients, values, batches
            )
            # Pruned weights take no step along the gradient.
            direction = functional_lib.keep(direction, masks)
            found = functional_lib.mean_gradients(
                lambda *args: hessian_times(direction, *args), values, batches
            )
            direction.clear()
            for key in found:
                found[key] *= values.pop(key)
            return self.check_finite(gradients_lib.to_arrays(found))

        return scores
