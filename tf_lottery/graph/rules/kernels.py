"""Dense layers, convolutions and embeddings: the kernels make the units."""

import keras
import numpy as np

from tf_lottery.graph.registry import register_rule
from tf_lottery.graph.rules import activations
from tf_lottery.utils import layer_kinds


@register_rule(keras.layers.Dense)
def dense(call):
    """Reads the last axis, makes units on it."""
    x, layer = call.inputs[0], call.layer
    out = call.fresh(layer.units)
    varying = call.units.varying(x.ids)
    if varying and varying[-1] < x.ids.ndim - 1:
        return _beside(call, x, out)
    call.bind(layer.kernel, 0, call.along(x, -1), "in")
    call.bind(layer.kernel, 1, out, "out")
    return _made(call, x, out, -1, "units")


def _beside(call, x, out):
    """Units of another axis pass, and those made here must stay."""
    call.freeze(out, f"{call.name} works next to units of another axis")
    last = x.ids[..., :1]
    call.units.union(last, x.ids)
    call.bind(call.layer.kernel, 0, call.units.constant("not units"), "in")
    call.bind(call.layer.kernel, 1, out, "out")
    call.bind(call.layer.bias, 0, out, "out")
    activations.freeze_mixed(call, out, call.layer.activation)
    return last


@register_rule(keras.layers.Embedding)
def embedding(call):
    """Makes units on the last axis."""
    x, layer = call.inputs[0], call.layer
    call.freeze(x, f"{call.name} looks up indices")
    out = call.fresh(layer.output_dim)
    call.bind(layer.embeddings, 1, out, "out")
    call.edit_count("output_dim", out)
    return call.place(out, -1, len(x.shape) + 1)


@register_rule(keras.layers.ReversibleEmbedding)
def reversible_embedding(call):
    """As an embedding, or reads what it makes with the same weights."""
    layer, arguments = call.layer, call.arguments()
    if not arguments.get("reverse"):
        return embedding(call)
    x = arguments["inputs"]
    into, call.vanishes = call.along(x, -1), False
    tied = layer.tie_weights
    weight = layer.embeddings if tied else layer.reverse_embeddings
    call.bind(weight, 1 if tied else 0, into, "in")
    call.edit_count("output_dim", into)
    vocabulary = call.units.constant(f"vocabulary of {call.name}")
    return call.place(vocabulary.reshape(1), -1, len(x.shape))


@register_rule(*layer_kinds.CONVOLUTIONS)
def convolution(call):
    """Reads and makes channels, all of them or within groups."""
    x, layer = call.inputs[0], call.layer
    axis = call.channel_axis
    into = call.along(x, axis)
    if layer.groups == 1:
        out = call.fresh(layer.filters)
        call.bind(layer.kernel, -2, into, "in")
        call.bind(layer.kernel, -1, out, "out")
        return _made(call, x, out, axis, "filters")
    if layer.groups == len(into):
        return _grouped_depthwise(call, x, into, axis)
    return _grouped(call, x, into, axis)


def _grouped_depthwise(call, x, into, axis):
    layer = call.layer
    out = np.repeat(into, layer.filters // layer.groups)
    call.bind(layer.kernel, -1, out, "pass")
    call.edit_count("groups", into)
    return _made(call, x, out, axis, "filters", "pass")


def _grouped(call, x, into, axis):
    """The same positions of every group go, so that groups stay equal."""
    layer = call.layer
    out = call.fresh(layer.filters)
    call.units.tie(into.reshape(layer.groups, -1), 0)
    call.units.tie(out.reshape(layer.groups, -1), 0)
    size = len(into) // layer.groups
    call.bind(layer.kernel, -2, into[:size], "in")
    call.bind(layer.kernel, -1, out, "out")
    return _made(call, x, out, axis, "filters")


@register_rule(*layer_kinds.TRANSPOSED)
def transposed_convolution(call):
    """As a convolution, with the axes of the kernel exchanged."""
    x, layer = call.inputs[0], call.layer
    axis = call.channel_axis
    out = call.fresh(layer.filters)
    call.bind(layer.kernel, -1, call.along(x, axis), "in")
    call.bind(layer.kernel, -2, out, "out")
    return _made(call, x, out, axis, "filters")


@register_rule(*layer_kinds.DEPTHWISE)
def depthwise_convolution(call):
    """Every channel passes, or becomes several."""
    x, layer = call.inputs[0], call.layer
    axis = call.channel_axis
    into = call.along(x, axis)
    out = np.repeat(into, layer.depth_multiplier)
    call.bind(layer.kernel, -2, into, "pass")
    return _made(call, x, out, axis, None, "pass")


@register_rule(*layer_kinds.SEPARABLE)
def separable_convolution(call):
    """A depthwise convolution, then one of single points."""
    x, layer = call.inputs[0], call.layer
    axis = call.channel_axis
    into = call.along(x, axis)
    out = call.fresh(layer.filters)
    between = np.repeat(into, layer.depth_multiplier)
    call.bind(layer.depthwise_kernel, -2, into, "pass")
    call.bind(layer.pointwise_kernel, -2, between, "in")
    call.bind(layer.pointwise_kernel, -1, out, "out")
    return _made(call, x, out, axis, "filters")


def _made(call, x, out, axis, entry, kind="out"):
    """What all kernel layers do with their units."""
    layer = call.layer
    call.bind(layer.bias, 0, out, kind)
    if entry is not None:
        call.edit_count(entry, out)
    activations.freeze_mixed(call, out, layer.activation)
    return call.replace(x, out, axis)
