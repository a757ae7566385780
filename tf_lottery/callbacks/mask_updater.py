"""Base class of callbacks that change masks while a model trains."""

from collections.abc import Sequence

from keras import ops

from tf_lottery import holding
from tf_lottery import masks as masks_lib
from tf_lottery.callbacks import pruner
from tf_lottery.pruning import prunable
from tf_lottery.pruning import rules
from tf_lottery.utils import types


class MaskUpdater(pruner.Pruner):
    """The base class of callbacks that change masks between two batches.

    Steps are those of the optimizer, so that they go on in a second `fit` and
    in a loaded model, and that accumulated batches are one.
    """

    def __init__(self, rule: rules.Rule) -> None:
        super().__init__()
        self.rule = rule

    def update(self, steps: Sequence[int]) -> None:
        """Changes masks if it is time, after one step or more."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement `update`."
        )

    def begin(self) -> None:
        self._weights = prunable.Prunable(self.model, self.rule)
        self._step = self._steps_done()

    def on_epoch_begin(self, epoch: int, logs: types.Logs = None) -> None:
        if self.is_early(self.on_epoch_begin, epoch):
            return
        # `BackupAndRestore` may have set the model to a later step.
        self._step = self._steps_done()

    def on_train_batch_end(self, batch: int, logs: types.Logs = None) -> None:
        before, self._step = self._step, self._steps_done()
        self.update(range(before + 1, self._step + 1))

    def on_epoch_end(self, epoch: int, logs: types.Logs = None) -> None:
        if logs is not None:
            density = masks_lib.density(self._weights.masks())
            logs |= {"density": density, "sparsity": 1 - density}

    def _steps_done(self):
        holding.synchronise(self.model)
        return int(ops.convert_to_numpy(self.model.optimizer.iterations))
