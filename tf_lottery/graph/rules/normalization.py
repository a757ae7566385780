"""Normalisation: per channel it lets units pass, over channels it does not."""

import keras
import numpy as np

from tf_lottery.graph.registry import register_rule
from tf_lottery.graph.rules import activations
from tf_lottery.internals.graphs import operation_classes


@register_rule(keras.layers.BatchNormalization)
def batch_normalization(call):
    """Every channel passes with its own parameters and statistics."""
    x, layer = call.inputs[0], call.layer
    ids = call.along(x, layer.axis)
    for variable in layer.weights:
        call.bind(variable, 0, ids, "pass")
    for mask in call.inputs[1:]:
        call.freeze_mixed(mask)
    return x.ids


@register_rule(keras.layers.GroupNormalization)
def group_normalization(call):
    """Whole groups of channels pass."""
    x, layer = call.inputs[0], call.layer
    ids = call.along(x, layer.axis)
    groups = len(ids) if layer.groups == -1 else layer.groups
    if groups == 1:
        call.freeze_mixed(x)
    call.units.tie(ids.reshape(groups, -1), 1)
    first = ids.reshape(groups, -1)[:, 0]
    for variable in layer.weights:
        call.bind(variable, 0, ids, "pass")
    call.edit_count("groups", first)
    return x.ids


@register_rule(
    keras.layers.LayerNormalization,
    keras.layers.UnitNormalization,
)
def layer_normalization(call):
    """Mixes what lies along its axes."""
    x = call.inputs[0]
    call.freeze_mixed(x, _axes(call.layer.axis))
    return x.ids


@register_rule(keras.layers.RMSNormalization)
def rms_normalization(call):
    """Lets units of the last axis pass, rescaled."""
    return over_axes(call, call.layer.axis, call.layer.scale)


def over_axes(call, axis, scale):
    """Passes units through a mean square, if it is over the last axis alone.

    A scale of `None` lets no unit pass.
    """
    x, axes = call.inputs[0], _axes(axis)
    call.freeze_mixed(x, [a for a in axes if x.axis(a) != x.axis(-1)])
    if len(axes) > 1 or scale is None:
        call.freeze_mixed(x, [-1])
    return mean_square(call, scale)


def mean_square(call, scale, shift=0.0):
    """Passes units through `x / sqrt(mean(x**2) + epsilon) * (scale + shift)`.

    Of C channels some vanish and C' are left: the mean is C / C' times what
    it was, so epsilon and the square of the scale must be as well.
    """
    x, layer = call.inputs[0], call.layer
    call.vanishes = x.vanishes
    if not call.units.varies(x.ids, x.axis(-1)):
        return x.ids
    if not x.vanishes:
        call.freeze(
            x, f"{call.name} counts units that are not zero with their weights"
        )
        return x.ids
    ids = call.along(x, -1)

    def share(kept):
        return kept[ids].sum() / len(ids)

    call.clear(ids)
    call.bind(scale, 0, ids, "pass")
    call.scale(scale, ids, lambda kept: share(kept) ** -0.5, shift)
    call.edit(
        "epsilon", ids, lambda kept: float(layer.epsilon / share(kept))
    )
    return x.ids


@register_rule(keras.layers.Normalization)
def fixed_normalization(call):
    """Its statistics come from data and not from training."""
    x = call.inputs[0]
    if call.units.varying(x.ids):
        call.freeze(x, f"{call.name} holds statistics of every channel")
    return x.ids


@register_rule(
    keras.layers.Softmax,
    *operation_classes("Softmax", "LogSoftmax", "Sparsemax"),
)
def softmax(call):
    """Mixes what lies along its axes, or along all."""
    x, axis = call.inputs[0], call.operation.axis
    call.freeze_mixed(x, None if axis is None else _axes(axis))
    for mask in call.inputs[1:]:
        call.freeze_mixed(mask)
    return x.ids


@register_rule(keras.layers.Activation)
def activation(call):
    """Lets units pass if the function is elementwise."""
    x = call.inputs[0]
    reason = activations.mixing(call.layer.activation)
    if reason is not None and call.units.varying(x.ids):
        call.freeze(x, f"{reason} of '{call.layer.name}'")
    return x.ids


def _axes(axis):
    return list(np.ravel(axis))
