"""The base class of criteria that follow the gradient of a loss."""

import numpy as np

from tf_lottery import checks
from tf_lottery import docs
from tf_lottery.criteria import batches as batches_lib
from tf_lottery.criteria import losses
from tf_lottery.criteria.criterion import Criterion
from tf_lottery.criteria.functional import Functional


@docs.filled
class DataCriterion(Criterion):
    """A criterion that looks at data and a loss.

    What `tf_lottery.prune` or `tf_lottery.criteria.score` is given comes
    before what the constructor is given.

    Args:
        {{gradients}}
    """

    needs_data = True

    def __init__(self, data=None, loss=None, batches=None, batch_size=128):
        checks.data("data", data)
        checks.loss("loss", loss)
        checks.optional(checks.whole, "batches", batches)
        checks.whole("batch_size", batch_size)
        self.data = data
        self.loss = loss
        self.batches = batches
        self.batch_size = batch_size

    def check_data(self, data):
        batches_lib.check_given(
            self.data if data is None else data, self.name
        )

    def read(self, context):
        """Returns the `Batches` to use."""
        data = self.data if context.data is None else context.data
        return batches_lib.batches_of(
            data, self.batches, self.batch_size, self.name
        )

    def trace(self, model, variables, context, dtype=None):
        """Returns the model as a `Functional`, and its mean loss."""
        functional = Functional(model, variables, dtype)
        loss = self.loss if context.loss is None else context.loss
        return functional, losses.resolve(
            model, loss, self.name, functional.dtype
        )

    def check_finite(self, scores):
        """Returns `scores`; raises if some are not finite."""
        bad = [k for k, score in scores.items() if not np.isfinite(score).all()]
        if bad:
            raise ValueError(
                f"Criterion '{self.name}' gives scores that are not finite "
                f"to these weights: {bad}. Check the model's weights and the "
                "data for NaN and infinity."
            )
        return scores
