"""Weights that share a few values, and go on sharing them in training."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_lottery import constraints
from tf_lottery.utils import backends
from tf_lottery.utils.backends import tf


class Clusters(keras.constraints.Constraint):
    """The clusters of a weight, held after every step of any optimizer.

    All values of a cluster become their mean, and so do their gradients
    where `tf_lottery.optimizers.Masked` steps the model: one gradient for
    each cluster, as in Deep Compression. Cluster 0 is what is pruned and
    stays zero.

    It stands on a variable inside its `tf_lottery.constraints.Keep`.

    Args:
        index: `keras.Variable` of integers shaped like the weight, the
            cluster of each value; channels have clusters of their own.
        zeros: Boolean array, for each cluster whether it is of zeros.
        constraint: The constraint the weight had before, applied first, or
            `None`.

    Reference: Han, Mao and Dally 2016, https://arxiv.org/abs/1510.00149.
    """

    def __init__(
        self,
        index: keras.Variable,
        zeros: np.ndarray,
        constraint: Callable[[Any], Any] | None = None,
    ) -> None:
        self.index = index
        self.zeros = zeros
        self.constraint = constraint
        # The mean of a cluster is its sum times this.
        self._parts = self._variable("parts", "float32")
        self._firsts = self._variable("firsts", "int32")
        self._count()

    def __call__(self, w: Any) -> Any:
        w = w if self.constraint is None else self.constraint(w)
        w = ops.convert_to_tensor(w)
        # Sums of differences, which are exact where nothing is to do: those
        # of many equal weights are not, and would drift step by step.
        firsts = ops.take(ops.reshape(w, (-1,)), self._firsts)
        firsts = constraints.masked(ops.greater(self._parts, 0), firsts)
        means = firsts + self._means(w - ops.take(firsts, self.index))
        return ops.take(means, self.index)

    def shared(self, gradient: Any) -> Any:
        """Returns a gradient with the mean of each cluster in its place."""
        return ops.take(self._means(gradient), self.index)

    def _means(self, values):
        flat = ops.cast(ops.reshape(values, (-1,)), "float32")
        index, number = ops.reshape(self.index, (-1,)), len(self.zeros)
        if backends.is_tensorflow():
            # A fifth of the time of the sum over segments.
            sums = tf.math.bincount(
                index, flat, minlength=number, maxlength=number
            )
        else:
            sums = ops.segment_sum(flat, index, number)
        return ops.cast(sums * self._parts, values.dtype)

    def follow(self, mask: np.ndarray) -> None:
        """Moves what a new mask prunes to the clusters of zeros.

        Args:
            mask: Boolean array, `True` = kept.
        """
        index = ops.convert_to_numpy(self.index)
        # Of each channel the first cluster is that of zeros.
        of_zeros = np.maximum.accumulate(
            np.where(self.zeros, np.arange(len(self.zeros)), 0)
        )
        self.index.assign(np.where(mask, index, of_zeros[index]))
        self._count()

    @property
    def each(self) -> int:
        """Integer, how many clusters a channel has, or the whole weight."""
        return len(self.zeros) // int(self.zeros.sum())

    def _variable(self, name, dtype):
        return keras.Variable(
            initializer="zeros", shape=self.zeros.shape, dtype=dtype,
            trainable=False, autocast=False, name=f"{self.index.name}_{name}",
        )

    def _count(self):
        index = ops.convert_to_numpy(self.index).ravel()
        found, firsts, sizes = np.unique(
            index, return_index=True, return_counts=True
        )
        filled = np.zeros((2, len(self.zeros)))
        filled[:, found] = firsts, 1 / sizes
        self._firsts.assign(filled[0])
        self._parts.assign(np.where(self.zeros, 0, filled[1]))


def clusters_of(variable: keras.Variable) -> Clusters | None:
    """Returns the `Clusters` of a variable, or `None`."""
    keep = constraints.keep_of(variable)
    found = None if keep is None else keep.constraint
    return found if isinstance(found, Clusters) else None


def held(variables: Mapping[str, keras.Variable]) -> dict[str, Clusters]:
    """Returns the `Clusters` of the variables that have some, by key."""
    found = {key: clusters_of(v) for key, v in variables.items()}
    return {key: c for key, c in found.items() if c is not None}


def attach(
    variable: keras.Variable,
    index: np.ndarray,
    each: int,
    values: np.ndarray | None = None,
) -> None:
    """Puts clusters on a variable that has a mask, in place of older ones.

    Args:
        variable: `keras.Variable` with a `Keep`.
        index: Array of integers, see `Clusters`. Of each channel the first
            cluster is that of zeros.
        each: Integer, how many clusters a channel has, or the whole weight.
        values: Array, the value of each cluster. Defaults to what the
            variable has.
    """
    zeros = np.arange(each * (index.max() // each + 1)) % each == 0
    if values is None:
        values = np.zeros(zeros.shape, "float32")
        values[index] = ops.convert_to_numpy(variable)
    keep, old = constraints.keep_of(variable), clusters_of(variable)
    before = keep.constraint if old is None else old.constraint
    shared = keras.Variable(
        index.astype("int32"), dtype="int32", trainable=False,
        autocast=False, name=f"{variable.name}_clusters",
    )
    keep.constraint = Clusters(shared, zeros, before)
    variable.assign(ops.take(values, keep.constraint.index))
