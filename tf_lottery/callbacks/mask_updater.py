"""What callbacks have in common that change masks while a model trains."""

from keras import ops

from tf_lottery import checks
from tf_lottery import constraints
from tf_lottery import holding
from tf_lottery import masks as masks_lib
from tf_lottery import weights as weights_lib
from tf_lottery.callbacks import pruner


class MaskUpdater(pruner.Pruner):
    """The base class of callbacks that change masks between two batches.

    Steps are those of the optimizer (`optimizer.iterations`), so that they
    go on in a second `fit` and in a loaded model, and that batches whose
    gradients are accumulated are one step. Subclasses implement `update`.

    Args:
        exclude: Layer names or patterns that are left alone.
        include: Embeddings and depthwise kernels that are pruned too.
    """

    def __init__(self, exclude=(), include=()):
        super().__init__()
        checks.names("exclude", exclude)
        checks.names("include", include)
        self.exclude = exclude
        self.include = include

    def update(self, steps):
        """Changes masks if it is time.

        Args:
            steps: Range of the steps done since the last call: one, or with
                `steps_per_execution` several.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement `update`."
        )

    def begin(self):
        self._variables = weights_lib.prunable(
            self.model, self.exclude, self.include
        )
        self._step = self._steps_done()

    def on_epoch_begin(self, epoch, logs=None):
        if self.is_early(self.on_epoch_begin, epoch):
            return
        # `BackupAndRestore` may have set the model to a later step.
        self._step = self._steps_done()

    def on_train_batch_end(self, batch, logs=None):
        before, self._step = self._step, self._steps_done()
        self.update(range(before + 1, self._step + 1))

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            density = masks_lib.density(self._masks())
            logs |= {"density": density, "sparsity": 1 - density}

    def _masks(self):
        return constraints.current_masks(self._variables)

    def _steps_done(self):
        holding.synchronise(self.model)
        return int(ops.convert_to_numpy(self.model.optimizer.iterations))
