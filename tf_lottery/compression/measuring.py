"""Measuring: what a change of the weights does to the outputs of a model."""

import contextlib

import keras
import numpy as np
from keras import ops

from tf_lottery.analysis import evaluating
from tf_lottery.criteria import batches as batches_lib


class Distance:
    """How far the outputs of a model are from those it had at first.

    It is the squared change over the variance of each output, the mean over
    the outputs. No label is looked at.

    Args:
        model: A built `keras.Model`.
        inputs: Array or a structure of arrays.
        batch_size: Integer. Defaults to 256.

    Raises:
        ValueError: If an output is not finite.
    """

    def __init__(self, model, inputs, batch_size=256):
        self._run = evaluating.compiled(lambda x: model(x, training=False))
        number = batches_lib.len_of(inputs)
        self._batches = batches_lib.batches_of(
            (inputs, np.zeros(number)), batch_size=batch_size,
            criterion="compression",
        )
        self._first = self._outputs()
        if not all(np.isfinite(each).all() for each in self._first):
            raise ValueError(
                f"Model '{model.name}' has outputs that are not finite. "
                "Check its weights and the data for NaN and infinity."
            )

    def __call__(self):
        """Returns the distance of the model as it is now."""
        found = [
            np.square(now - first).sum()
            / max(np.square(first - first.mean(0)).sum(), 1e-30)
            for now, first in zip(self._outputs(), self._first)
        ]
        mean = float(np.mean(found))
        return mean if np.isfinite(mean) else np.inf

    def _outputs(self):
        parts = [
            [ops.convert_to_numpy(each) for each in keras.tree.flatten(
                self._run(x)
            )]
            for x, _, _ in self._batches
        ]
        return [np.concatenate(each).astype("float64") for each in zip(*parts)]


@contextlib.contextmanager
def restored(variables):
    """A context after which variables have the values they had before."""
    before = [(v, ops.convert_to_numpy(v).copy()) for v in variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)
