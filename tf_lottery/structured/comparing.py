"""A big and a small model side by side, and faults put in on purpose."""

import contextlib

import keras
import numpy as np
from keras import ops

from tf_lottery import internals
from tf_lottery import weights as weights_lib
from tf_lottery.graph import functional
from tf_lottery.structured import costs
from tf_lottery.structured import inputs as inputs_lib
from tf_lottery.structured import randomising
from tf_lottery.structured import running
from tf_lottery.utils import backends
from tf_lottery.utils import layer_kinds

_MARGIN = 100.0
_CONTROLS = 5
_TRIALS = 3


class Pair:
    """The big and the small model in one precision, and a batch.

    Neither is copied: see `running.Runner`.
    """

    def __init__(self, graph, kept, cut, twin, dtype, say=lambda text: None):
        self.graph, self.kept, self.cut, self.dtype = graph, kept, cut, dtype
        self.say = say
        self.big = running.Runner(
            graph.view, weights_lib.variables(graph.model), dtype
        )
        self.small = running.Runner(
            functional.view(twin.model), twin.variables, dtype
        )

    @contextlib.contextmanager
    def opened(self, inputs=None, masks=None):
        """A context in which the models can be compared."""
        with self.big.opened(), self.small.opened():
            self._run_own(inputs, masks)
            yield

    def _run_own(self, inputs, masks):
        """Runs the big model, with the weights it has, on a batch it takes."""
        self.say(f"proof in {self.dtype}: the weights it has")
        if masks is None:
            masks = randomising.left(self.graph, self.kept)

        def value(key):
            if key not in masks:
                return None
            own = internals.layers.value(self.big.variables[key])
            return ops.where(masks[key], own, ops.zeros((), own.dtype))

        def run(arrays):
            return self.big.outputs(arrays, value)

        if inputs is None:
            macs = costs.Costs(self.graph).count(self.graph.kept())["macs"]
            inputs, self._own = inputs_lib.fitting(self.graph.view, run, macs)
        else:
            inputs = inputs_lib.checked(self.graph.view, inputs)
            self._own = run(inputs)
        self.inputs = inputs

    def weights_error(self, exact):
        """The error under the model's weights, `None` if not finite."""
        if not all(
            x.dtype.kind != "f" or np.isfinite(x).all() for x in self._own
        ):
            return None
        return difference(self._own, self.small.outputs(self.inputs, exact.get))

    def random_error(self):
        """The error under random weights, and those of the controls."""
        for seed in range(_TRIALS):
            self.say(f"proof in {self.dtype}: random weights")
            values = randomising.weights(self.graph, self.kept, seed)
            for key, mask in randomising.left(self.graph, self.kept).items():
                if key in values:
                    values[key] *= mask
            with randomising.calibrating(
                self.big.layers, self.big.keys, values
            ):
                expected = self.big.outputs(self.inputs, values.get)
            values = self.cut.values(values)
            found = self.small.outputs(
                self.inputs, values.get, remember=True
            )
            error = difference(expected, found)
            floor = floor_of(error, self.dtype)
            controls = self._controls(values, expected, floor)
            if any(control >= floor for control in controls.values()):
                break
        return error, controls

    def _controls(self, values, expected, floor):
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
            self.say(f"proof in {self.dtype}: a fault in {key}")
            value = values[key]
            wrong = 2 * value if axis is None else np.roll(value, 1, axis)
            controls[key] = difference(expected, self.small.outputs(
                self.inputs, {**values, key: wrong}.get, changed=key
            ))
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
        return list(found.items()) or [
            (key, None) for key, variable in self.small.variables.items()
            if len(variable.shape) > 1 and variable.trainable
        ]

    def is_mixed(self):
        """Whether some of the float64 model may compute in less."""
        # JAX takes the softmax of attention in float32.
        mixed = layer_kinds.ATTENTION if backends.name() == "jax" else ()
        return any(
            isinstance(layer, mixed)
            or not type(layer).__module__.startswith("keras.")
            for layer in self.big.layers
        ) or any(
            keras.backend.is_float_dtype(x.dtype.name)
            and x.dtype.name != "float64"
            for x in self._own
        )


def difference(expected, found):
    """Returns the largest relative difference of two lists of arrays.

    The largest absolute difference of a pair, over the largest absolute value
    expected; infinity where shapes differ or a value is not finite.
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
