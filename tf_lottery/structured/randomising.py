"""Random weights under which a model's output depends on all its parts."""

import keras
import numpy as np
from keras import ops

from tf_lottery import internals
from tf_lottery import weights as weights_lib


def weights(twin, graph, kept, seed):
    """Gives a model random weights under which signals do not die out.

    Kernels have variance 2 / fan-in (He et al. 2015,
    https://arxiv.org/abs/1502.01852), counting only what is kept of the
    inputs; scales lie around one, for a layer scale of 1e-6 would hide the
    branch behind it.

    Args:
        twin: `copies.Twin` of the model of `graph`.
        graph: `tf_lottery.graph.Graph`.
        kept: Boolean array over its ids.
        seed: Integer.
    """
    generator = np.random.default_rng(seed)
    fans = _fans(graph, kept)
    for key, variable in twin.variables.items():
        if _is_weight(variable):
            variable.assign(_values(generator, key, variable, fans))


def calibrate(model, inputs):
    """Sets the statistics of batch normalisation to those of a batch.

    Args:
        model: A `keras.Model` of the caller's own.
        inputs: What it is called with.
    """
    layers = [
        layer for layer in internals.layers.flat(model)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    model(inputs, training=True)
    for layer, momentum in zip(layers, momenta):
        layer.momentum = momentum


def _is_weight(variable):
    return (
        variable.trainable
        and not weights_lib.is_seed(variable)
        and keras.backend.is_float_dtype(variable.dtype)
    )


def _values(generator, key, variable, fans):
    shape, name = tuple(variable.shape), variable.name
    if name in ("bias", "beta"):
        return generator.normal(0, 0.2, shape)
    if name == "alpha":
        return generator.uniform(0, 0.4, shape)
    if len(shape) < 2 or name in ("gamma", "scale"):
        return generator.uniform(0.6, 1.4, shape)
    if name == "embeddings":
        return generator.normal(0, 1, shape)
    fan = fans.get(key, max(np.prod(shape[:-1]), 1))
    return generator.normal(0, np.sqrt(2 / max(fan, 1)), shape)


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


def zero_readers(twin, graph, kept):
    """Sets the slices that read removed units to zero.

    Where a mean square counts the units, those that make them as well.

    Args:
        twin: `copies.Twin` of the model of `graph`.
        graph: `tf_lottery.graph.Graph`.
        kept: Boolean array over its ids.
    """
    for binding in graph.bindings:
        mask = kept[binding.ids]
        if binding.kind not in ("in", "zero"):
            mask = mask | ~graph.cleared[binding.ids]
        if mask.all():
            continue
        variable = twin.variables[binding.key]
        shape = [1] * len(variable.shape)
        shape[binding.axis] = -1
        value = ops.convert_to_numpy(variable)
        variable.assign(np.where(mask.reshape(shape), value, 0))
