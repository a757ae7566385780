"""What layers read, summed over data without keeping it."""

import math
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import numpy as np

from tf_lottery import internals
from tf_lottery.criteria import gradients as gradients_lib
from tf_lottery.criteria import linear_maps
from tf_lottery.criteria import products
from tf_lottery.criteria.functional import Functional
from tf_lottery.utils import types

# As many bytes of sums are made in one pass over the data, or as many times
# those of the weights in float32.
_PASS_BYTES, _TIMES = 2**24, 1.5


class LayerInputs:
    """What the weights of a model are multiplied by.

    Attributes:
        linear: Dict from weight key to `LinearMap`, of those weights that are
            multiplied by something, and used in no other way.
    """

    def __init__(self, model, variables, batches):
        self._functional = Functional(
            model, variables, replace=internals.layers.plain_loops(
                internals.layers.flat(model)
            ),
        )
        self._variables = variables
        self._batches = batches
        self._reasons = dict.fromkeys(variables, "nothing is multiplied by it")
        self.linear = {}
        self._look()

    def check_known(self, criterion):
        """Raises a `ValueError` unless all weights are multiplied."""
        unknown = {
            key: reason for key, reason in self._reasons.items()
            if key not in self.linear
        }
        if unknown:
            raise ValueError(
                f"Criterion '{criterion}' does not know what these weights of "
                f"model '{self._functional.model.name}' are multiplied by: "
                f"{unknown}. Expected: weights that are multiplied as they "
                "are, by `matmul`, `einsum` and the convolutions of "
                "`keras.ops`, when the model is called. Leave the others out "
                "(`exclude=`) or use another criterion."
            )

    def sums(
        self,
        masks: types.Masks,
        reduce: Callable[[Any], list[Any]],
        size: Callable[[linear_maps.LinearMap], int],
    ) -> Iterator[tuple[str, list[np.ndarray]]]:
        """Yields the key of each weight and its float64 sums, under masks.

        They are made in as few passes as fit in memory.

        Args:
            reduce: Function of rows, `(stack, rows, inputs)`, that makes a
                list of tensors, to be summed over batches.
            size: Function of a `LinearMap`: how many numbers these have.
        """
        values = self._functional.values(masks)
        most = max(_PASS_BYTES, _TIMES * 4 * sum(
            math.prod(variable.shape) for variable in self._variables.values()
        ))
        sizes = {key: 8 * size(each) for key, each in self.linear.items()}
        for keys in _passes(sizes, most):
            # One trace at a time, which takes more than the sums.
            run = self._functional.function(self._recorder(keys, reduce))
            total = {}
            for x, _, _ in self._batches:
                _add(total, run(values, x))
            del run
            for key in keys:
                yield key, self._stacked(key, total)

    def _look(self):
        """Finds the products, in a trace that is not made for its results."""
        found, looped = {}, set()

        def run(values, x):
            with products.noted(self._variables, note):
                self._functional.outputs(values, x)
            return {}

        def note(read):
            found.setdefault(read.key, set()).add((read.columns, read.product))
            if read.looped:
                looped.add(read.key)
            if read.why:
                self._reasons[read.key] = read.why

        x, _, _ = next(iter(self._batches))
        self._functional.function(run)(self._functional.values(), x)
        for key, variable in self._variables.items():
            reads = found.get(key)
            if reads and all(product for _, product in reads):
                linear = linear_maps.joined(
                    tuple(variable.shape), reads, key in looped
                )
                if linear is None:
                    self._reasons[key] = "parts of it are multiplied"
                else:
                    self.linear[key] = linear

    def _recorder(self, keys, reduce):
        variables = {key: self._variables[key] for key in keys}

        def run(values, x):
            found = {}

            def note(read):
                place = (read.key, *read.columns)
                sums = reduce(read.product.rows(read.x))
                before = found.get(place, [0] * len(sums))
                found[place] = [a + b for a, b in zip(before, sums)]

            with products.noted(variables, note):
                self._functional.outputs(values, x)
            return found

        return run

    def _stacked(self, key, total):
        """Takes the sums of all columns of a weight, as its stack."""
        places = sorted(place for place in total if place[0] == key)
        if len(places) == 1:
            return total.pop(places[0])
        _, _, width = self.linear[key].sizes
        parts = [
            [
                np.repeat(array, (stop - start) // width, 0)
                if array.ndim else array
                for array in total.pop((key, start, stop))
            ]
            for _, start, stop in places
        ]
        return [
            np.concatenate(arrays) if arrays[0].ndim else arrays[0]
            for arrays in zip(*parts)
        ]


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
