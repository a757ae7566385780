"""Gradients of single examples, or of small groups of them.

The square of a mean gradient is not the mean of the squares, so what is
built from squares needs the gradients one by one.
"""

import keras
import numpy as np
from keras import ops

from tf_lottery.criteria import gradients as gradients_lib

# How many numbers all gradients of a chunk may hold together: 64 MiB.
_CHUNK_NUMBERS = 2**24


class SampleGradients:
    """The gradients of a model's loss, one for each group of examples.

    Groups are differentiated in chunks, as many at a time as fit into a fixed
    amount of memory. In the graph, `reduce` is given a dict from weight key to
    gradients `(groups, *shape)`.
    """

    def __init__(self, functional, loss, reduce=None, group_size=1):
        self.functional = functional
        self.loss = loss
        self.reduce = reduce or (lambda gradients: gradients)
        self.group_size = group_size
        numbers = sum(
            int(np.prod(variable.shape))
            for variable in functional.variables.values()
        )
        self.groups = max(1, _CHUNK_NUMBERS // numbers)
        self._function = functional.function(self._gradients)

    def __call__(self, values, batches):
        """Yields (number of gradients, what `reduce` makes of them)."""
        for number, batch in self._chunks(batches):
            yield number, self._function(values, *batch)

    def _chunks(self, batches):
        size = self.group_size
        if size > 1:
            batches = regrouped(batches, size)
        for batch in batches:
            examples = _length(batch)
            whole = examples // size
            for start in range(0, whole, self.groups):
                stop = min(start + self.groups, whole)
                chunk = _cut(batch, start * size, stop * size)
                yield stop - start, _grouped(chunk, stop - start)
            if examples > whole * size:
                rest = _cut(batch, whole * size, examples)
                yield 1, _grouped(rest, 1)

    def _gradients(self, values, x, y, sample_weight):
        def of_group(batch):
            x, y, *sample_weight = batch
            return self.functional.gradients(
                values, x, y, *(sample_weight or [None]), self.loss
            )

        batch = (x, y) if sample_weight is None else (x, y, sample_weight)
        if self.groups == 1:
            only = keras.tree.map_structure(lambda array: array[0], batch)
            gradients = of_group(only)
            gradients = {k: g[None] for k, g in gradients.items()}
        else:
            gradients = gradients_lib.for_each(of_group, batch)
        return self.reduce(gradients)


def regrouped(batches, size):
    """Yields the same examples in batches that are multiples of `size`.

    Only the last one may be another length.
    """
    left = None
    for batch in batches:
        batch = keras.tree.map_structure(
            lambda a: None if a is None else ops.convert_to_numpy(a), batch
        )
        if left is not None:
            batch = keras.tree.map_structure(
                lambda a, b: None if a is None else np.concatenate([a, b]),
                left, batch,
            )
        number = _length(batch)
        whole = number - number % size
        if whole:
            yield _cut(batch, 0, whole)
        left = _cut(batch, whole, number) if whole < number else None
    if left is not None:
        yield left


def _length(batch):
    return int(keras.tree.flatten(batch[0])[0].shape[0])


def _cut(batch, start, stop):
    return keras.tree.map_structure(
        lambda a: None if a is None else a[start:stop], batch
    )


def _grouped(batch, groups):
    """Examples `(groups * size, ...)` as `(groups, size, ...)`."""

    def grouped(array):
        if array is None:
            return None
        shape = (groups, array.shape[0] // groups, *array.shape[1:])
        if isinstance(array, np.ndarray):
            return array.reshape(shape)
        return ops.reshape(array, shape)

    return keras.tree.map_structure(grouped, batch)
