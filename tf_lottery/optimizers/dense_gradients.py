"""The gradients that pruned weights would have, kept while they are asked for.
"""

import keras
from keras import ops

from tf_lottery import internals
from tf_lottery.optimizers import slots


class DenseGradients:
    """Keeps the gradients of some variables at every so many steps.

    What is kept is the loss' gradient with respect to all entries of the
    variable, taken at its masked value, before `Masked` sets that of pruned
    weights to zero. Under gradient accumulation it is the sum over the
    batches of the step; on several devices it is the mean of theirs. If it
    is not finite the one before stays: loss scaling skips such a step. With
    several steps in an execution the frequency is what tells a step's
    gradient from those after it.
    """

    def __init__(self, optimizer, variables, frequency):
        self._optimizer = slots.innermost(optimizer)
        self._frequency = frequency
        # Not variables of the optimizer: they are no state, nothing saves
        # or rewinds them.
        self._kept = {
            index: keras.Variable(
                initializer="zeros",
                shape=tuple(variable.shape),
                dtype=variable.dtype,
                trainable=False,
                aggregation="mean",
                name=f"dense_gradient_{index}",
            )
            for index, variable in variables.items()
        }

    @property
    def variables(self):
        """What is kept, as a list of `keras.Variable`."""
        return list(self._kept.values())

    def record(self, index, gradient):
        """Keeps a gradient, or `None`, if its step is one to keep."""
        kept = self._kept.get(index)
        if kept is None or gradient is None:
            return
        gradient = ops.cast(ops.convert_to_tensor(gradient), kept.dtype)
        last = ops.convert_to_tensor(kept)
        # Counts batches; the public property counts steps.
        counter = internals.optimizers.batches(self._optimizer)
        batches = ops.convert_to_tensor(counter)
        size = self._optimizer.gradient_accumulation_steps or 1
        if size > 1:
            begins = ops.equal(batches % size, 0)
            before = ops.where(begins, ops.zeros_like(gradient), last)
            gradient = gradient + before
        due = ops.equal((batches // size + 1) % self._frequency, 0)
        wanted = ops.logical_and(due, ops.all(ops.isfinite(gradient)))
        kept.assign(ops.where(wanted, gradient, last))

    def __getitem__(self, index):
        """Returns what is kept for the variable of an index, as an array."""
        return ops.convert_to_numpy(self._kept[index])
