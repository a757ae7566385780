"""Random weights under which a model's output depends on all its parts."""

import contextlib
import functools

import keras
import numpy as np
from keras import ops

from tf_lottery import internals
from tf_lottery import weights as weights_lib


def weights(graph, kept, seed):
    """Returns random weights under which signals do not die out, by key.

    Kernels have variance 2 / fan-in (He et al. 2015,
    https://arxiv.org/abs/1502.01852), counting only what is kept of the
    inputs; scales lie around one, for a layer scale of 1e-6 would hide the
    branch behind it.
    """
    generator = np.random.default_rng(seed)
    fans = _fans(graph, kept)
    return {
        key: _values(generator, key, variable, fans)
        for key, (variable, layer) in weights_lib.owners(graph.model).items()
        if _is_weight(variable, layer)
    }


@contextlib.contextmanager
def calibrating(layers, keys, values):
    """A context in which a call gives batch normalisation its statistics.

    They are those of what each layer is called with first, and are added to
    `values`.
    """
    with contextlib.ExitStack() as stack:
        for layer in layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                stack.enter_context(internals.layers.call_replaced(
                    layer, functools.partial(_noting, layer, keys, values)
                ))
        yield


def _noting(layer, keys, values, call):
    statistics = [
        keys.get(id(v)) for v in (layer.moving_mean, layer.moving_variance)
    ]

    def noted(inputs, *args, **kwargs):
        if not values.keys() & statistics:
            axis = layer.axis % len(inputs.shape)
            axes = [i for i in range(len(inputs.shape)) if i != axis]
            found = ops.moments(inputs, axes)
            values.update(zip(statistics, map(ops.convert_to_numpy, found)))
        return call(inputs, *args, **kwargs)

    return noted


def _is_weight(variable, layer):
    # What is frozen as well: it is as random as the rest.
    return (
        internals.layers.is_trained(layer, variable)
        and not weights_lib.is_seed(variable)
        and keras.backend.is_float_dtype(internals.layers.dtype(variable))
    )


def _values(generator, key, variable, fans):
    shape, name = tuple(variable.shape), variable.name
    if name in ("bias", "beta"):
        return _spread(generator, shape, 0, 0.2)
    if name == "alpha":
        return _spread(generator, shape, 0.2, 0.12)
    if len(shape) < 2 or name in ("gamma", "scale"):
        return _spread(generator, shape, 1, 0.23)
    if name == "embeddings":
        return _spread(generator, shape, 0, 1)
    fan = fans.get(key, max(np.prod(shape[:-1]), 1))
    return _spread(generator, shape, 0, np.sqrt(2 / max(fan, 1)))


def _spread(generator, shape, mean, deviation):
    """Uniform numbers, which take a quarter of the time of normal ones."""
    width = np.float32(np.sqrt(12) * deviation)
    found = generator.random(shape, "float32")
    found *= width
    found += np.float32(mean) - width / 2
    return found


def _fans(graph, kept):
    """The number of kept inputs that every output of a kernel sums over."""
    fans = {}
    for binding in graph.bindings:
        size = int(np.prod(binding.variable.shape))
        fan = fans.setdefault(binding.key, float(size))
        if binding.kind == "in":
            fan *= kept[binding.ids].mean()
        else:
            fan /= len(binding.ids)
        fans[binding.key] = fan
    return fans


def left(graph, kept):
    """Returns which weights are not zero in a model of removed units.

    Zero are the slices that read them, and where a mean square counts the
    units, those that make them as well. The arrays broadcast to the weights;
    those that stay whole are absent.
    """
    found = {}
    for binding in graph.bindings:
        mask = kept[binding.ids]
        if binding.kind not in ("in", "zero"):
            mask = mask | ~graph.cleared[binding.ids]
        if not mask.all():
            shape = [1] * len(binding.variable.shape)
            shape[binding.axis] = -1
            mask = mask.reshape(shape)
            found[binding.key] = found.get(binding.key, True) & mask
    return found


def zero_readers(twin, graph, kept):
    """Sets the weights to zero that are so in a model of removed units."""
    for key, mask in left(graph, kept).items():
        variable = twin.variables[key]
        value = ops.convert_to_numpy(variable)
        variable.assign(np.where(mask, value, np.zeros((), value.dtype)))
