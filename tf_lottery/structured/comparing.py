"""A big and a small model side by side, and faults put in on purpose."""

import keras
import numpy as np
from keras import ops
from keras import tree

from tf_lottery import internals
from tf_lottery import weights as weights_lib
from tf_lottery.structured import inputs as inputs_lib
from tf_lottery.structured import randomising
from tf_lottery.structured import rebuilding
from tf_lottery.weights import snapshots

_MARGIN = 100.0
_CONTROLS = 5
_TRIALS = 3


class Pair:
    """The big and the small model in one precision, and a batch.

    Args:
        graph: `tf_lottery.graph.Graph` of the big model.
        kept: Boolean array over its ids.
        cut: `slices.Cut` that belongs to `kept`.
        dtype: String, the precision.
        inputs: Batch in the structure the model takes, or `None`: random.
    """

    def __init__(self, graph, kept, cut, dtype, inputs):
        self.graph, self.kept, self.cut, self.dtype = graph, kept, cut, dtype
        if inputs is not None:
            self._build()
            self.big.model(inputs, training=False)
        self.inputs = self._random_inputs() if inputs is None else inputs

    def _random_inputs(self):
        """Builds the models, for smaller images where they take them."""
        shapes = inputs_lib.smaller(self.graph.view)
        if shapes is None:
            return self._inputs_of(None)
        try:
            return self._inputs_of(shapes)
        # A layer that is made for one size may say so in any way.
        except Exception:
            return self._inputs_of(None)

    def _inputs_of(self, shapes):
        self._build(shapes)
        view = self.graph.view
        arrays = inputs_lib.fitting(view, self.big.model, shapes)
        return inputs_lib.packed(view, arrays)

    def _build(self, shapes=None):
        """Builds both; weights of another shape are refused."""
        graph, dtype = self.graph, self.dtype
        self.big = rebuilding.rebuild(graph, None, dtype, shapes)
        self.copy(self.big, _values_of(graph.model))
        self.small = rebuilding.rebuild(
            graph, self.kept, dtype, shapes, self.cut.others
        )

    def weights_error(self, exact, masks):
        """The error under the model's weights, `None` if not finite."""
        values = _values_of(self.graph.model)
        for key, mask in (masks or {}).items():
            values[key] = np.where(mask, values[key], 0)
        if not all(map(_is_finite, [*values.values(), *exact.values()])):
            return None
        self.copy(self.big, values)
        if masks is None:
            randomising.zero_readers(self.big, self.graph, self.kept)
        self.copy(self.small, exact)
        expected = self.outputs(self.big)
        if not all(map(_is_finite, expected)):
            return None
        return difference(expected, self.outputs(self.small))

    def random_error(self):
        """The error under random weights, and those of the controls."""
        for seed in range(_TRIALS):
            randomising.weights(self.big, self.graph, self.kept, seed)
            randomising.zero_readers(self.big, self.graph, self.kept)
            randomising.calibrate(self.big.model, self.inputs)
            expected = self.outputs(self.big)
            values = {
                key: ops.convert_to_numpy(variable)
                for key, variable in self.big.variables.items()
            }
            self.copy(self.small, self.cut.values(values))
            error = difference(expected, self.outputs(self.small))
            controls = self._controls(expected, floor_of(error, self.dtype))
            if any(c >= floor_of(error, self.dtype) for c in controls.values()):
                break
        return error, controls

    def _controls(self, expected, floor):
        """Errors of faults at several depths, others where none shows."""
        kernels = self._kernels()
        order = np.linspace(0, len(kernels) - 1, _CONTROLS).round().astype(int)
        first = list(dict.fromkeys(order.tolist())) if kernels else []
        rest = [i for i in range(len(kernels)) if i not in first]
        controls = {}
        for index in [*first, *rest[: _CONTROLS]]:
            seen = sum(value >= floor for value in controls.values())
            if seen >= len(first):
                break
            key, axis = kernels[index]
            controls[key] = self._with_fault(key, axis, expected)
        return controls

    def _kernels(self):
        """Kernels of the small model with two inputs or more."""
        found = {}
        for binding in self.graph.bindings:
            if (
                binding.kind == "in"
                and len(binding.variable.shape) > 1
                and self.kept[binding.ids].sum() > 1
            ):
                found.setdefault(binding.key, binding.axis)
        return list(found.items()) or self._any_kernels()

    def _any_kernels(self):
        return [
            (key, None) for key, variable in self.small.variables.items()
            if len(variable.shape) > 1 and variable.trainable
        ]

    def _with_fault(self, key, axis, expected):
        variable = self.small.variables[key]
        value = snapshots.value_of(variable)
        wrong = 2 * value if axis is None else np.roll(value, 1, axis)
        variable.assign(wrong)
        error = difference(expected, self.outputs(self.small))
        variable.assign(value)
        return error

    def copy(self, twin, values):
        for key, variable in twin.variables.items():
            if key in values:
                variable.assign(values[key])
        rebuilding.finalize(twin.model)

    def outputs(self, twin):
        found = twin.model(self.inputs, training=False)
        return [ops.convert_to_numpy(x) for x in tree.flatten(found)]

    def is_mixed(self):
        """Whether some of the float64 model may compute in less."""
        layers = internals.layers.flat(self.big.model)
        return any(
            not type(layer).__module__.startswith("keras.") for layer in layers
        ) or any(
            keras.backend.is_float_dtype(x.dtype) and x.dtype != "float64"
            for x in self.big.model.outputs
        )


def difference(expected, found):
    """Returns the largest relative difference of two lists of arrays.

    Args:
        expected: List of arrays.
        found: List of arrays of the same shapes.

    Returns:
        Float: the largest absolute difference of a pair, over the largest
        absolute value expected; infinity where shapes differ or a value is
        not finite.
    """
    worst = 0.0
    for a, b in zip(expected, found, strict=True):
        if a.shape != b.shape:
            return np.inf
        a, b = a.astype("float64"), b.astype("float64")
        largest = np.abs(a).max(initial=0) or 1.0
        error = np.abs(a - b).max(initial=0) / largest
        worst = max(worst, float(error) if np.isfinite(error) else np.inf)
    return worst


def floor_of(error, dtype):
    """Returns the error from which on a fault counts as seen."""
    return _MARGIN * max(error, float(np.finfo(dtype).eps))


def _values_of(model):
    return {
        key: ops.convert_to_numpy(variable)
        for key, variable in weights_lib.variables(model).items()
    }


def _is_finite(array):
    if array.dtype.kind not in "fV":
        return True
    return bool(np.isfinite(array.astype("float64")).all())
