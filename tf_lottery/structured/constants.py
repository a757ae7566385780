"""Constant units: their values, and who can take them up.

A unit that no kept weight reaches from the input has the same value for every
sample. Zero can simply go. Another value goes into the bias of the layer that
reads it, where that is exact: not next to padding, which is zero.
"""

import collections

import keras
import numpy as np
from keras import ops

from tf_lottery import weights as weights_lib
from tf_lottery.structured import inputs as inputs_lib
from tf_lottery.structured import running
from tf_lottery.utils import layer_kinds

_ROUNDING = 1e-12


def inputs_of_layers(graph, weights, inputs=None):
    """Returns what linear layers read in a run on a batch, channels last.

    A dict from weight key of a kernel to the arrays of all calls.
    """
    variables = weights_lib.variables(graph.model)
    runner = running.Runner(graph.view, variables, "float64")
    seen = collections.defaultdict(list)

    def note(layer, args, kwargs):
        if isinstance(layer, layer_kinds.LINEAR):
            value = ops.convert_to_numpy(args[0] if args else kwargs["inputs"])
            if getattr(layer, "data_format", None) == "channels_first":
                value = np.moveaxis(value, 1, -1)
            seen[runner.keys[id(layer.kernel)]].append(value)

    def run(arrays):
        seen.clear()
        return runner.outputs(arrays, weights.get, note)

    with runner.opened():
        if inputs is None:
            inputs_lib.fitting(graph.view, run)
        else:
            run(inputs_lib.checked(graph.view, inputs))
    return dict(seen)


class Constants:
    """Values of units that do not vary, as the layers that read them see."""

    def __init__(self, graph, weights, inputs=None):
        self.weights = weights
        self._seen = inputs_of_layers(graph, weights, inputs)
        self._keys = {
            id(b.variable): b.key for b in graph.bindings
        }

    def of(self, binding):
        """Returns the constants that a kernel reads, along the binding's axis.

        NaN where the value is not the same everywhere; `None` if they cannot be
        seen.
        """
        layer, found = binding.layer, self._seen.get(binding.key)
        if not found or not isinstance(layer, layer_kinds.LINEAR):
            return None
        rows = np.concatenate([x.reshape(-1, x.shape[-1]) for x in found])
        if rows.shape[1] != len(binding.ids):
            return None
        low, high = rows.min(axis=0), rows.max(axis=0)
        rounding = _ROUNDING * np.maximum(1, np.abs(high)) * (high != 0)
        return np.where(high - low <= rounding, high, np.nan)

    def bias_of(self, binding):
        """Returns the key of the bias that takes up constants, or `None`."""
        layer = binding.layer
        bias = getattr(layer, "bias", None)
        if bias is None or not is_exact(layer):
            return None
        beside = binding.key.rpartition("/")[0] + "/bias"
        return self._keys.get(id(bias), beside)

    def taken_up(self, binding, removed):
        """Returns what removed constants add to the bias of a layer."""
        values = np.where(removed, self.of(binding), 0.0)
        kernel = self.weights[binding.key].astype("float64")
        shape = [1] * kernel.ndim
        shape[binding.axis] = -1
        added = kernel * values.reshape(shape)
        return added.sum(axis=tuple(range(kernel.ndim - 1)))


def is_exact(layer):
    """Whether a layer treats a constant input alike at every position."""
    if isinstance(layer, keras.layers.Dense):
        return True
    convolution = isinstance(layer, layer_kinds.CONVOLUTIONS)
    if not convolution or layer.groups != 1:
        return False
    return layer.padding == "valid" or all(n == 1 for n in layer.kernel_size)
