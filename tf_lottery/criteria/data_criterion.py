"""The base classes of criteria that look at data, and follow a loss."""

from typing import Any

import keras
import numpy as np

from tf_lottery.criteria import batches as batches_lib
from tf_lottery.criteria import losses
from tf_lottery.criteria.criterion import Context
from tf_lottery.criteria.criterion import Criterion
from tf_lottery.criteria.functional import Functional
from tf_lottery.utils import checks
from tf_lottery.utils import types


class InputCriterion(Criterion):
    """A criterion that looks at inputs, whatever their labels.

    What `tf_lottery.prune` or `tf_lottery.criteria.score` is given comes before
    what the constructor is given.
    """

    needs_data = True
    needs_labels = False

    def __init__(
        self,
        data: types.Data | None = None,
        batches: int | None = None,
        batch_size: int = 128,
    ) -> None:
        checks.data("data", data)
        checks.optional(checks.whole, "batches", batches)
        checks.whole("batch_size", batch_size)
        self.data = data
        self.batches = batches
        self.batch_size = batch_size

    def check_data(self, data: types.Data | None) -> None:
        batches_lib.check_given(
            self.data if data is None else data, self.name
        )

    def read(self, context: Context) -> batches_lib.Batches:
        """Returns the `Batches` to use."""
        data = self.data if context.data is None else context.data
        if not self.needs_labels:
            data = batches_lib.labelled(data)
        return batches_lib.batches_of(
            data, self.batches, self.batch_size, self.name
        )

    def check_finite(
        self, scores: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Returns `scores`; raises if some are not finite."""
        bad = [k for k, score in scores.items() if not np.isfinite(score).all()]
        if bad:
            raise ValueError(
                f"Criterion '{self.name}' gives scores that are not finite "
                f"to these weights: {bad}. Check the model's weights and the "
                "data for NaN and infinity."
            )
        return scores


class DataCriterion(InputCriterion):
    """A criterion that looks at data and a loss; see `InputCriterion`."""

    needs_labels = True

    def __init__(
        self,
        data: types.Data | None = None,
        loss: types.Loss | None = None,
        batches: int | None = None,
        batch_size: int = 128,
    ) -> None:
        super().__init__(data, batches, batch_size)
        checks.loss("loss", loss)
        self.loss = loss

    def trace(
        self,
        model: keras.Model,
        variables: types.Variables,
        context: Context,
        dtype: str | None = None,
    ) -> tuple[Functional, Any]:
        """Returns the model as a `Functional`, and its mean loss."""
        functional = Functional(model, variables, dtype)
        loss = self.loss if context.loss is None else context.loss
        return functional, losses.resolve(
            model, loss, self.name, functional.dtype
        )
