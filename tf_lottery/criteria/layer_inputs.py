"""What layers read, summed over data without keeping it."""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np

from tf_lottery import internals
from tf_lottery import weights as weights_lib
from tf_lottery.criteria import batches as batches_lib
from tf_lottery.criteria import gradients as gradients_lib
from tf_lottery.criteria import linear_maps
from tf_lottery.criteria.functional import Functional
from tf_lottery.graph import functional
from tf_lottery.graph import steps as steps_lib
from tf_lottery.utils import backends
from tf_lottery.utils import types

# As many bytes of sums are made in one pass over the data, or as many as the
# weights take in float32.
_PASS_BYTES = 2**23
# Layers inside are called in loops, where what they read cannot be seen.
_LOOPS = keras.layers.RNN, keras.layers.TimeDistributed
_RECURRENT = keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN


def linear_maps_of(
    model: keras.Model, variables: types.Variables, criterion: str
) -> dict[str, linear_maps.LinearMap]:
    """Returns the `LinearMap`s that weights are the kernels of, or raises."""
    found = known_maps(model, variables)
    unknown = [key for key in variables if key not in found]
    if unknown:
        raise ValueError(
            f"Criterion '{criterion}' does not know what these weights are "
            f"multiplied by: {unknown}. Expected: weights of Dense, "
            "EinsumDense, LSTM, GRU, SimpleRNN and convolutional layers, "
            "outside of time-distributed ones. Leave the others out "
            "(`exclude=`) or use another criterion."
        )
    return found


def known_maps(model, variables):
    """Returns the same of those weights that are kernels of linear maps."""
    owners = weights_lib.owners(model)
    layers = list(internals.layers.flat(model))
    looped = {
        id(layer) for loop in layers if isinstance(loop, _LOOPS)
        for layer in internals.layers.below(loop)
    }
    recurrent = {
        id(layer.cell): layer for layer in layers
        if isinstance(layer, _RECURRENT) and id(layer) not in looped
    }
    found = {}
    for key, variable in variables.items():
        _, layer = owners[key]
        if id(layer) in recurrent:
            linear = linear_maps.of_recurrent(recurrent[id(layer)], variable)
        elif id(layer) not in looped:
            linear = linear_maps.linear_map(layer, variable)
        else:
            linear = None
        if linear is not None:
            found[key] = linear
    return found


class LayerInputs:
    """Sums over the rows that layers read, in as few passes as fit in memory.

    `reduce` makes of rows, `(stack, rows, inputs)`, a list of tensors that are
    summed over batches, `size` of a `LinearMap` how many numbers these have.
    """

    def __init__(self, model, variables, linear, batches, reduce, size):
        self._model = model
        self._functional = Functional(model, variables)
        self._graph = functional.own_graph(model)
        self._linear = linear
        self._batches = batches
        self._reduce = reduce
        most = max(_PASS_BYTES, 4 * model.count_params())
        sizes = {key: 8 * size(each) for key, each in linear.items()}
        self._parts, self._size = list(_passes(sizes, most)), None

    def sums(
        self, masks: types.Masks
    ) -> Iterator[tuple[str, list[np.ndarray]]]:
        """Yields the key of each weight and its float64 sums, under masks."""
        values = self._functional.values(masks)
        for keys in self._parts:
            # One trace at a time, which takes more than the sums.
            run = self._functional.function(
                self._recorder(keys), steps_lib.is_open(self._graph)
            )
            total = {}
            for x, _, _ in self._batches:
                for part in self._pieces(x):
                    is_first = not total
                    _add(total, run(values, part))
                    if is_first:
                        backends.release(self._model, traces=False)
            del run
            backends.release(self._model)
            missing = [key for key in keys if key not in total]
            if missing:
                raise ValueError(
                    f"Model '{self._model.name}' does not call the "
                    f"layers of these weights: {missing}. Leave them out "
                    "(`exclude=`)."
                )
            for key in keys:
                yield key, total.pop(key)

    def _pieces(self, x):
        """Yields a batch in parts, of which layers make and read little."""
        number = batches_lib.len_of(x)
        if self._size is None:
            self._size = self._fitting(number)
        for i in range(0, number, self._size):
            yield keras.tree.map_structure(lambda a: a[i:i + self._size], x)

    def _fitting(self, number):
        if not steps_lib.is_open(self._graph):
            return number
        return _even(number, steps_lib.examples(
            self._model, self._graph, number,
            _largest(steps_lib.Steps(self._graph), self._linear.values()),
        ))

    def _recorder(self, keys):
        def run(values, x):
            found = {}
            with contextlib.ExitStack() as stack:
                for key in keys:
                    stack.enter_context(internals.layers.call_replaced(
                        self._linear[key].layer, self._noting(key, found)
                    ))
                self._functional.outputs(values, x)
            return found

        return run

    def _noting(self, key, found):
        """Returns what makes a layer note what it reads."""
        linear = self._linear[key]

        def change(call):
            def noted(x, *args, **kwargs):
                read = linear.reads(x, *args, **kwargs)
                sums = self._reduce(linear.rows(read))
                before = found.get(key, [0] * len(sums))
                found[key] = [a + b for a, b in zip(before, sums)]
                # Or many layers' inputs would wait for their sums.
                with gradients_lib.after(found[key]):
                    return call(x, *args, **kwargs)

            return noted

        return change


def _largest(steps, linear):
    """Returns how many numbers of an example a layer makes, or reads."""
    return max([steps.largest(), *(
        steps.made_by(each.layer) // each.sizes[2] * each.sizes[1]
        for each in linear
    )])


def _even(number, most):
    """Returns a size up to `most` whose multiple a number is, if possible."""
    return max(
        range(most // 2 + 1, most + 1), key=lambda n: (number % n == 0, n)
    )


def _passes(sizes, most):
    """Yields tuples of keys whose sums fit in memory together."""
    part, taken = [], 0
    for key, size in sizes.items():
        if part and taken + size > most:
            yield tuple(part)
            part, taken = [], 0
        part.append(key)
        taken += size
    yield tuple(part)


def _add(total, parts):
    for key, tensors in parts.items():
        names = dict(enumerate(tensors))
        arrays = gradients_lib.to_arrays(names).values()
        if key in total:
            for array, part in zip(total[key], arrays):
                array += part
        else:
            total[key] = [np.array(part, "float64") for part in arrays]
