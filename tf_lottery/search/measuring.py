"""Measuring: what a change of the weights does to the outputs of a model."""

import contextlib

import keras
import numpy as np
from keras import ops

from tf_lottery.criteria import batches as batches_lib
from tf_lottery.search import prefixes

# Fractions of a weight that stay, and of a group of channels that go.
DENSITIES = (
    1.0, 0.8, 0.63, 0.5, 0.38, 0.28, 0.2, 0.14, 0.1, 0.07, 0.04, 0.02,
)
RATIOS = (0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.8125, 0.875, 0.9375)
# Of the variance of the outputs, what rounding alone may change them by.
_NOTHING = 1e-6


class Distance:
    """How far the outputs of a model are from those it had at first.

    It is the squared change over the variance of each output, the mean over
    the outputs. No label is looked at.

    Attributes:
        first, start_at: Functions of the variables that will change, the
            second to call before some change: see `prefixes.Prefix`.

    Raises:
        ValueError: If an output is not finite.
    """

    def __init__(self, model, inputs, batch_size=64):
        self._prefix = prefixes.Prefix(model, [
            keras.tree.map_structure(lambda a: a[i:i + batch_size], inputs)
            for i in range(0, batches_lib.len_of(inputs), batch_size)
        ])
        self.first = self._prefix.first
        self.start_at = self._prefix.start_at
        self._first = self._outputs()
        check_finite(model, self._first)
        self._spread = [max(_spread(each), 1e-30) for each in zip(*self._first)]

    def __call__(self):
        """Returns the distance of the model as it is now."""
        found = np.zeros(len(self._spread))
        for now, first in zip(self._outputs(), self._first):
            found += list(map(_squares, now, first))
        mean = float(np.mean(found / self._spread))
        return mean if np.isfinite(mean) else np.inf

    def _outputs(self):
        return list(map(_arrays, self._prefix.outputs()))


def check_finite(model, outputs):
    """Raises if outputs of a model, arrays or a structure, are not finite."""
    if not all(np.isfinite(each).all() for each in keras.tree.flatten(outputs)):
        raise ValueError(
            f"Model '{model.name}' has outputs that are not finite. "
            "Check its weights and the data for NaN and infinity."
        )


def _arrays(outputs):
    return list(map(ops.convert_to_numpy, keras.tree.flatten(outputs)))


def _spread(parts):
    """The squares of what arrays, one after the other, vary by."""
    number = sum(map(len, parts))
    mean = sum(part.sum(0, dtype="float64") for part in parts) / number
    return sum(_squares(part, mean) for part in parts)


def _squares(a, b):
    return np.square(np.subtract(a, b, dtype="float64")).sum()


def curve(number, measure):
    """Returns errors at a number of levels, measured at some of them.

    Every other one is measured, and those right after a level that changes
    nothing, as an eighth of four heads: from there no geometric line leads
    anywhere.

    Args:
        measure: Function of a level; what is at level 0 changes nothing.
    """
    found = {0: 0.0}
    for level in range(1, number):
        if level % 2 == 1 or found.get(level - 1, 1.0) < _NOTHING:
            found[level] = measure(level)
    return between(list(found), list(found.values()), number)


def between(levels, found, number):
    """Returns values at all levels, from those at some of them.

    In between they lie on geometric lines.

    Args:
        levels: List of integers, 0 and the last among them.
        found: List of floats, not negative.

    Example:

    >>> from tf_lottery.search import measuring
    >>> measuring.between([0, 1, 3], [0.0, 1.0, 100.0], 4).round(6).tolist()
    [0.0, 1.0, 10.0, 100.0]
    """
    logs = np.log(np.clip(found, 1e-30, 1e30))
    values = np.exp(np.interp(np.arange(number), levels, logs))
    values[levels] = found
    return values


@contextlib.contextmanager
def restored(variables, values=()):
    """A context after which variables have the values they had before.

    Args:
        values: List of arrays that they have inside. Defaults to none.
    """
    before = [(v, ops.convert_to_numpy(v).copy()) for v in variables]
    try:
        for variable, value in zip(variables, values):
            variable.assign(value)
        yield
    finally:
        for variable, value in before:
            variable.assign(value)
