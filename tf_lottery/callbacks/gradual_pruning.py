"""Pruning little by little while a model trains."""

import warnings
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_lottery import criteria
from tf_lottery import holding
from tf_lottery import masks as masks_lib
from tf_lottery import sparsity_schedules
from tf_lottery.callbacks import mask_updater
from tf_lottery.callbacks import pruner
from tf_lottery.patterns import Pattern
from tf_lottery.pruning import allocation
from tf_lottery.pruning import rules
from tf_lottery.utils import docs
from tf_lottery.utils import types
from tf_lottery.weights import snapshots


@docs.filled
class GradualPruning(mask_updater.MaskUpdater):
    """Prunes a model during `fit`, to the sparsity that a schedule asks for.

    At the end of a batch whose step the schedule names, the weights that the
    criterion values least are removed, until exactly `round(sparsity * size)`
    are gone. What is pruned stays pruned, is exactly 0.0 from then on, and
    so are its slots in the optimizer. Steps are those of the optimizer:
    another `fit`, also of a saved and loaded model, goes on in the schedule.
    A step inside an execution of several (`steps_per_execution`) counts at
    its end. What the schedule asks for at the step where `fit` begins, as 0,
    is done before the first batch.

    The logs of each epoch get `density` and `sparsity`. Place the callback
    first in the list, so that the others see them.

    Args:
        schedule: A schedule of `tf_lottery.sparsity_schedules`, such as
            `PolynomialDecay`, a `PruningSchedule` of TensorFlow Model
            Optimization, or a callable from a step to whether to prune and
            the sparsity. If it has an attribute `end_step`, the sparsity at
            that step is reached in any case.
        criterion: See `tf_lottery.criteria.get`. Defaults to `"magnitude"`.
        {{evidence}}
        {{rule}}

    Raises:
        ValueError: For an invalid argument at construction; when training
            begins, if the final sparsity cannot be reached.

    Reference: Zhu and Gupta 2017, https://arxiv.org/abs/1710.01878.

    Example:

    >>> from tf_lottery.sparsity_schedules import PolynomialDecay
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(5)])
    >>> model.compile("adam", "mse")
    >>> schedule = PolynomialDecay(0.0, 0.75, end_step=8, frequency=2)
    >>> history = model.fit(
    ...     np.ones((32, 8)), np.ones((32, 5)), batch_size=8, epochs=3,
    ...     callbacks=[tfl.callbacks.GradualPruning(schedule)], verbose=0)
    >>> history.history["sparsity"]
    [0.65, 0.75, 0.75]
    """

    def __init__(
        self,
        schedule: Callable[[int], Any],
        criterion: criteria.Identifier = "magnitude",
        scope: types.Scope = "global",
        pattern: str | Pattern = "unstructured",
        exclude: types.Names = (),
        include: types.Names = (),
        data: types.Data | None = None,
        loss: types.Loss | None = None,
        snapshot: snapshots.Snapshot | Mapping[str, np.ndarray] | None = None,
        collapse: types.Collapse = "keep-one",
    ) -> None:
        super().__init__(
            rules.Rule(scope, pattern, collapse, exclude, include)
        )
        self.schedule = sparsity_schedules.get(schedule)
        self.criterion = criteria.get(criterion)
        self.criterion.check_data(data)
        criteria.make_context(data, loss, snapshot)
        self.data = data
        self.loss = loss
        self.snapshot = snapshot

    def protocol(self) -> dict[str, Any]:
        return {
            "schedule": str(self.schedule),
            "criterion": pruner.name_of(self.criterion),
            **self.rule.to_dict(),
        }

    def begin(self) -> None:
        super().begin()
        # From the first step on, so that the train step is traced once.
        holding.hold(self.model, self._weights.masks())
        end = self._end_step
        if end < 0:
            self.update([self._step])
            return
        final = self._asked_for(end)[1]
        groups, keep = self._allocate(final, allocation.at_sparsity)
        if self._step <= end:
            self.update([self._step])
        elif masks_lib.count(self._in_groups(groups)) > sum(keep):
            warnings.warn(
                f"The optimizer has done {self._step} steps, more than the "
                f"`end_step` of the schedule, {end}: the model is pruned to "
                f"its final sparsity {final:.4g} at once. Count the steps of "
                "a schedule from the first step of the optimizer, or compile "
                "the model again.",
                stacklevel=2,
            )
            self._prune(final)

    def update(self, steps: Sequence[int]) -> None:
        sparsity = None
        for step in steps:
            due, value = self._asked_for(step)
            if due or step == self._end_step:
                sparsity = value
        if sparsity is not None:
            self._prune(sparsity)

    def on_train_end(self, logs: types.Logs = None) -> None:
        end = max(self._end_step, getattr(self.schedule, "begin_step", -1))
        if self._step < end:
            density = masks_lib.density(self._weights.masks())
            warnings.warn(
                f"Training ended at step {self._step}, before step {end} of "
                f"the schedule {self.schedule}: the sparsity is "
                f"{1 - density:.4g}. Train longer, or let the schedule end "
                "earlier.",
                stacklevel=2,
            )

    @property
    def _end_step(self):
        return int(getattr(self.schedule, "end_step", -1))

    def _asked_for(self, step):
        """Whether to prune at a step, and to which sparsity."""
        due, sparsity = self.schedule(step)
        # 0.9 in float32 is meant to be 0.9.
        sparsity = float(str(np.asarray(sparsity)[()]))
        if not 0 <= sparsity < 1:
            raise ValueError(
                "Argument `schedule` must return a sparsity in [0, 1). "
                f"Received: {sparsity} at step {step} from {self.schedule}"
            )
        return bool(due), sparsity

    def _prune(self, sparsity):
        weights = self._weights
        groups, keep = self._allocate(sparsity, allocation.at_most)
        before = weights.masks()
        if masks_lib.count(self._in_groups(groups)) == sum(keep):
            return
        context = criteria.make_context(
            self.data, self.loss, self.snapshot, before
        )
        score, update = self.criterion.prepare_both(
            self.model, weights.variables, context
        )
        masks = weights.select_feasible(score(before), keep, before, groups)
        weights.report(masks, before)
        weights.assign(update(masks))
        holding.hold(self.model, masks)

    def _allocate(self, sparsity, count):
        """Which weights are ranked together, and how many of them stay."""
        weights = self._weights
        rates = dict.fromkeys(weights.variables, sparsity)
        return weights.allocate(rates, weights.masks(), count)

    def _in_groups(self, groups):
        masks = self._weights.masks()
        return {key: masks[key] for keys in groups for key in keys}
