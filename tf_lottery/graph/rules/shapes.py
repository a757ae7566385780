"""Reshaping and transposing: units move to other axes."""

import math

import keras
import numpy as np

from tf_lottery.graph.call import Symbol
from tf_lottery.graph.registry import moves_batch
from tf_lottery.graph.registry import register_rule
from tf_lottery.internals.graphs import operation_classes


@register_rule(keras.layers.Reshape)
def reshape(call):
    """Units keep their order."""
    return _reshape(call, "target_shape", call.outputs[0][1:])


@register_rule(*operation_classes("Reshape"))
def reshape_operation(call):
    """As the layer, with the batch in the shape."""
    return _reshape(call, "newshape", call.outputs[0])


def _reshape(call, entry, sizes):
    ids = reshaped(call, call.inputs[0])
    if ids is None:
        return call.frozen(f"{call.name} tears units apart")
    return edited(call, ids, entry, sizes)


@register_rule(keras.layers.Flatten, *operation_classes("Ravel"))
def flatten(call):
    """Units of all positions stand side by side."""
    x = call.inputs[0]
    if call.channel_axis == 1 and x.ids.ndim > 1:
        batch, channels, *sizes = x.shape
        ids = np.moveaxis(x.ids, 0, -1)
        x = Symbol(ids, (batch, *sizes, channels), x.dtype)
    ids = reshaped(call, x)
    return call.frozen(f"{call.name} tears units apart") if ids is None else ids


def reshaped(call, x):
    """Returns the ids of a tensor in the shape of the output.

    Only the axes between those that stay as they are must have known sizes.
    """
    before, after = list(x.shape), list(call.outputs[0])
    left = common(before, after)
    right = common(before[left:][::-1], after[left:][::-1])
    middle = slice(left, len(before) - right)
    # Axes of ids are one less, because the batch has none.
    own = slice(middle.start - 1, middle.stop - 1)
    if left == 0:
        # The batch is split or merged with axes that must not vary.
        if any(a < own.stop for a in call.units.varying(x.ids)):
            return None
        ones = len(after) - right - 1
        return x.ids.reshape((1,) * ones + x.ids.shape[own.stop :])
    new = after[left : len(after) - right]
    varying = call.units.varying(x.ids)
    shape = x.ids.shape
    if not any(own.start <= a < own.stop for a in varying):
        ids = x.ids
        for axis in range(own.start, own.stop):
            ids = ids.take([0], axis)
        return ids.reshape(
            shape[: own.start] + (1,) * len(new) + shape[own.stop :]
        )
    old = before[middle]
    if None in old or new.count(None) > 0 or math.prod(old) != math.prod(new):
        return None
    whole = shape[: own.start] + tuple(old) + shape[own.stop :]
    ids = np.broadcast_to(x.ids, whole)
    return ids.reshape(shape[: own.start] + tuple(new) + shape[own.stop :])


def common(a, b):
    """Returns how many sizes at the start are the same."""
    differ = (i for i, (m, n) in enumerate(zip(a, b)) if m != n)
    return next(differ, min(len(a), len(b)))


def edited(call, ids, entry, sizes):
    """Edits a shape that has a number for every axis that varies."""
    target = getattr(call.operation, entry)
    call.rectangular(ids)
    offset = len(sizes) - ids.ndim
    varying = call.units.varying(ids)

    def value(kept):
        new = list(target)
        for axis in varying:
            if target[axis + offset] not in (-1, None):
                others = tuple(i for i in range(ids.ndim) if i != axis)
                new[axis + offset] = int(kept[ids].any(others).sum())
        return tuple(new)

    call.edit(entry, ids, value)
    return ids


@register_rule(keras.layers.Permute)
def permute(call):
    """Axes change places."""
    dims = [d - 1 for d in call.layer.dims]
    return call.inputs[0].ids.transpose(dims)


@register_rule(*operation_classes("Transpose", "Swapaxes", "Moveaxis"))
@moves_batch
def transpose(call):
    """Axes change places, the batch among them."""
    x = call.inputs[0]
    # Where sizes that all differ end up.
    sizes = keras.KerasTensor(range(1, len(x.shape) + 1))
    made = call.operation.compute_output_spec(sizes).shape
    axes = [size - 1 for size in made]
    call.batch = axes.index(x.batch)
    return x.ids.transpose([x.axis(a) for a in axes if a != x.batch])


@register_rule(*operation_classes("ExpandDims"))
def expand_dims(call):
    """New axes of size 1."""
    x, rank = call.inputs[0], len(call.outputs[0])
    axes = [a % rank for a in np.ravel(call.operation.axis)]
    if 0 in axes:
        return call.frozen(f"{call.name} moves the batch")
    return np.expand_dims(x.ids, tuple(a - 1 for a in axes))


@register_rule(*operation_classes("Squeeze"))
def squeeze(call):
    """Axes of size 1 are gone."""
    x, axis = call.inputs[0], call.operation.axis
    rank = len(x.shape)
    axes = (
        [a for a in range(1, rank) if x.shape[a] == 1]
        if axis is None
        else [a % rank for a in np.ravel(axis)]
    )
    if 0 in axes or rank - len(axes) != len(call.outputs[0]):
        return call.frozen(f"{call.name} moves the batch")
    return np.squeeze(x.ids, tuple(a - 1 for a in axes))


@register_rule(keras.layers.RepeatVector)
def repeat_vector(call):
    """A new axis of steps that are all the same."""
    return call.inputs[0].ids[None]
