"""Reductions and products of matrices."""

import keras
import numpy as np

from tf_lottery.graph.registry import register_rule
from tf_lottery.internals.graphs import operation_classes

_IDEMPOTENT = tuple(
    operation_classes("All", "Any", "Amax", "Amin", "Max", "Min")
)


@register_rule(
    *operation_classes(
        *"All Amax Amin Any Argmax Argmin CountNonzero Logsumexp Max Mean "
        "Median Min Prod Std Sum Var".split()
    )
)
def reduction(call):
    """Axes are gone; their units must not have been pruned."""
    x = call.inputs[0]
    axis = call.operation.axis
    rank = len(x.shape)
    axes = range(rank) if axis is None else [a % rank for a in np.ravel(axis)]
    if 0 in axes:
        return call.frozen(f"{call.name} mixes examples")
    if not (x.uniform and isinstance(call.operation, _IDEMPOTENT)):
        call.freeze_mixed(x, axes)
    own = tuple(x.axis(a) for a in axes)
    ids = x.ids
    for a in own:
        ids = ids.take([0], a)
    return ids if call.operation.keepdims else np.squeeze(ids, own)


@register_rule(
    *operation_classes("Cumprod", "Cumsum", "Flip", "Roll", "Sort")
)
def along_axis(call):
    """The order of units along the axis matters."""
    x, axis = call.inputs[0], call.operation.axis
    call.freeze_mixed(x, None if axis is None else np.ravel(axis))
    return x.ids if axis is not None else call.frozen()


@register_rule(*operation_classes("Matmul"))
def matrix_product(call):
    """Units of rows and columns pass, those summed over must stay."""
    if len(call.inputs) != 2:
        return call.frozen(f"{call.name} has a constant per channel")
    x, y = call.inputs
    if len(x.shape) != len(y.shape) or len(x.shape) < 3:
        return call.frozen(f"{call.name} of tensors of unlike rank")
    batches = range(x.ids.ndim - 2)
    varies = call.units.varies
    heads = any(varies(x.ids, a) and varies(y.ids, a) for a in batches)
    for z, axis in ((x, -1), (y, -2)):
        if heads:
            # Whole matrices go, with all that is summed over in them.
            call.units.tie(z.ids, z.axis(axis))
        else:
            call.freeze_mixed(z, [axis])
    rows = x.ids[..., :1]
    columns = y.ids[..., :1, :]
    last = x.ids.ndim - 1
    if varies(rows, last - 1) and varies(columns, last):
        reason = f"{call.name} makes pairs of units"
        call.freeze(rows, reason)
        call.freeze(columns, reason)
    for axis in batches:
        _couple_batches(call, x, y, axis)
    shape = np.broadcast_shapes(rows.shape, columns.shape)
    passing = columns if call.units.varying(columns) else rows
    return np.broadcast_to(passing, shape)


def _couple_batches(call, x, y, axis):
    """What is a batch of matrices to both has the same units in both."""
    varies = [call.units.varies(z.ids, axis) for z in (x, y)]
    if all(varies):
        call.units.union(x.ids, y.ids[..., :1, :1])
        call.units.union(y.ids, x.ids[..., :1, :1])
        return
    for z, varying in zip((x, y), varies):
        if varying:
            call.units.tie(z.ids, axis)


@register_rule(keras.layers.Dot)
def dot(call):
    """Units of axes that stay pass, those summed over must stay."""
    axes = call.layer.axes
    axes = [axes, axes] if isinstance(axes, int) else axes
    parts = []
    for x, axis in zip(call.inputs, axes):
        call.freeze_mixed(x, [axis])
        parts.append(x.ids.take(0, x.axis(axis)))
    left, right = parts
    left = left.reshape(left.shape + (1,) * right.ndim)
    varies = [bool(call.units.varying(ids)) for ids in (left, right)]
    if all(varies):
        for ids in parts:
            call.freeze(ids, f"{call.name} makes pairs of units")
    shape = np.broadcast_shapes(left.shape, right.shape)
    ids = np.broadcast_to(right if varies[1] else left, shape)
    return ids if ids.ndim else ids.reshape(1)


@register_rule(keras.layers.Attention)
def dot_attention(call):
    """Query and key are multiplied, units of the value pass."""
    arguments = call.arguments()
    query, value, *key = arguments["inputs"]
    for x in call.inputs:
        if x is not value:
            call.freeze_mixed(x)
    if not key:
        # The value is the key, too.
        call.freeze_mixed(value)
    ids = [call.replace(value, call.along(value, -1), -1)]
    if len(call.outputs) > 1:
        id_ = call.units.constant(f"scores of {call.name}")
        rank = len(call.outputs[1]) - 1
        ids.append(np.full((1,) * rank, id_))
    return ids
