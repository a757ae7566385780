"""Joining, splitting, slicing and repeating along axes."""

import keras
import numpy as np

from tf_lottery.graph.registry import moves_batch
from tf_lottery.graph.registry import register_rule
from tf_lottery.internals.graphs import operation_classes


@register_rule(
    keras.layers.Concatenate, *operation_classes("Concatenate")
)
def concatenate(call):
    """Side by side on the axis, coupled on the others."""
    symbols = call.inputs
    axis = symbols[0].axis(call.operation.axis)
    if axis < 0:
        return call.frozen(f"{call.name} joins examples")
    if _has_constants(call):
        return call.frozen(f"{call.name} has a constant")
    axes = [call.units.varying(x.ids) for x in symbols]
    if any(found and axis not in found for found in axes):
        # Rows of a weight next to examples' own, which stay.
        for x, found in zip(symbols, axes):
            if axis in found and len(found) > 1:
                call.units.tie(x.ids, axis)
    if not any(call.units.varies(x.ids, axis) for x in symbols):
        return call.units.united([x.ids.take([0], axis) for x in symbols])
    if any(x.shape[axis + 1] is None for x in symbols):
        return call.frozen(f"{call.name} of unknown size")
    parts = [np.moveaxis(_wide(x, axis), axis, 0) for x in symbols]
    common = np.broadcast_shapes(*(ids.shape[1:] for ids in parts))
    parts = [np.broadcast_to(ids, (len(ids), *common)) for ids in parts]
    joined = np.moveaxis(np.concatenate(parts), 0, axis)
    call.uniform = all(x.uniform for x in symbols)
    call.rectangular(joined)
    return joined


def _wide(x, axis):
    """Ids with the true size along an axis."""
    shape = list(x.ids.shape)
    shape[axis] = x.shape[axis + 1]
    return np.broadcast_to(x.ids, shape)


def _has_constants(call):
    count = len(call.args[0]) if isinstance(call.args[0], (list, tuple)) else 1
    return count != len(call.inputs)


@register_rule(*operation_classes("Stack"))
def stack(call):
    """Coupled, with a new axis."""
    axis = call.operation.axis % len(call.outputs[0]) - 1
    if axis < 0 or _has_constants(call):
        return call.frozen(f"{call.name} joins examples or constants")
    ids = call.units.united([x.ids for x in call.inputs])
    return np.expand_dims(ids, axis)


@register_rule(*operation_classes("Split"))
def split(call):
    """Equal parts stay equal; other parts keep what is kept of them."""
    x, operation = call.inputs[0], call.operation
    axis = x.axis(operation.axis)
    if axis < 0:
        return call.frozen(f"{call.name} splits examples")
    if not call.units.varies(x.ids, axis):
        return [x.ids.take([0], axis) for _ in call.outputs]
    ids = _wide(x, axis)
    sections = operation.indices_or_sections
    parts = np.split(ids, sections, axis)
    if isinstance(sections, int):
        for part in parts[1:]:
            call.units.union(parts[0], part)
        return parts
    ends = np.cumsum([part.shape[axis] for part in parts[:-1]])
    along = call.along(x, axis + 1)
    call.edit(
        "indices_or_sections",
        along,
        lambda kept: tuple(int(kept[along[:end]].sum()) for end in ends),
    )
    for part in np.split(along, ends):
        call.part(part)
    return parts


@register_rule(*operation_classes("Unstack"))
@moves_batch
def unstack(call):
    """As many slices as the axis has."""
    x = call.inputs[0]
    axis = x.axis(call.operation.axis)
    if axis < 0:
        return call.frozen(f"{call.name} splits examples")
    call.freeze_mixed(
        x, [call.operation.axis], f"{call.name} picks single units"
    )
    call.batch = x.batch - (axis < x.batch)
    return [x.ids.take(0, axis) for _ in call.outputs]


@register_rule(*operation_classes("GetItem"))
@moves_batch
def get_item(call):
    """Slices of neighbours move with what is kept before them."""
    x = call.inputs[0]
    key = whole_key(call.args[1], len(x.shape))
    if x.batch and key is not None and isinstance(key[0], int):
        return _picked_before_batch(call, x, key)
    if x.batch or key is None or key[0] != slice(None):
        return call.frozen(f"{call.name} picks examples or no slice")
    places = [part for part in key[1:] if part is not None]
    picked = [
        a for a, part in enumerate(places, 1)
        if isinstance(part, int) or part.step not in (None, 1)
    ]
    call.freeze_mixed(x, picked, f"{call.name} picks single units")
    index, axis = [], -1
    for part in key[1:]:
        if part is None:
            index.append(None)
            continue
        axis += 1
        kept_whole = part == slice(None)
        if kept_whole or not call.units.varies(x.ids, axis):
            index.append(0 if isinstance(part, int) else slice(None))
            continue
        index.append(part)
        if not _edit_slice(call, x, key, axis):
            return call.frozen(f"{call.name} cuts units of two axes")
    # Where ids do not vary they have size 1, which a slice leaves.
    sizes = [
        1 if not call.units.varies(x.ids, a) else x.ids.shape[a]
        for a in range(x.ids.ndim)
    ]
    ids = x.ids[tuple(slice(size) for size in sizes)]
    return ids[tuple(index)]


def _picked_before_batch(call, x, key):
    """One slice along the first axis, which is not the batch."""
    if any(part != slice(None) for part in key[1:]):
        return call.frozen(f"{call.name} picks more than a first slice")
    call.freeze_mixed(x, [0], f"{call.name} picks single units")
    call.batch = x.batch - 1
    return x.ids.take(0, 0)


def whole_key(key, rank):
    """Returns a key with an entry for every axis; `None`: of other kinds."""
    key = tuple(key) if isinstance(key, (list, tuple)) else (key,)
    if not all(
        part is None or part is Ellipsis or isinstance(part, (int, slice))
        for part in key
    ):
        return None
    count = sum(part is not None and part is not Ellipsis for part in key)
    if Ellipsis not in key:
        key += (Ellipsis,)
    at = key.index(Ellipsis)
    fill = (slice(None),) * (rank - count)
    return (*key[:at], *fill, *key[at + 1 :])


def _edit_slice(call, x, key, axis):
    """Says how a slice of an axis of units changes."""
    cut = [
        a
        for a, part in enumerate(p for p in key[1:] if p is not None)
        if part != slice(None) and call.units.varies(x.ids, a)
    ]
    if len(cut) != 1:
        return False
    along = call.along(x, axis + 1)
    places = [i for i, part in enumerate(key) if part is not None]
    place = places[axis + 1]
    start, stop, _ = key[place].indices(len(along))

    def value(kept):
        new = list(key)
        before = int(kept[along[:start]].sum())
        new[place] = slice(before, before + int(kept[along[start:stop]].sum()))
        return tuple(new)

    call.edit(("call", 1), along, value)
    call.part(along[start:stop])
    return True


@register_rule(*operation_classes("Tile"))
def tile(call):
    """Units come again and again."""
    x, repeats = call.inputs[0], list(np.ravel(call.operation.repeats))
    repeats = [1] * (len(x.shape) - len(repeats)) + repeats
    if len(repeats) != len(x.shape) or repeats[0] != 1:
        return call.frozen(f"{call.name} repeats examples")
    varying = call.units.varying(x.ids)
    own = [
        int(n) if axis in varying else 1 for axis, n in enumerate(repeats[1:])
    ]
    return np.tile(x.ids, own)


@register_rule(*operation_classes("Repeat"))
def repeat(call):
    """Every unit comes several times in a row."""
    x, operation = call.inputs[0], call.operation
    axis = -1 if operation.axis is None else x.axis(operation.axis)
    if axis < 0 or not isinstance(operation.repeats, int):
        return call.frozen(f"{call.name} repeats examples or unevenly")
    if x.shape[axis + 1] == 1 and not call.units.varying(x.ids):
        # As many copies as what they meet has units.
        copies = call.fresh(operation.repeats, "copies")
        call.edit_count("repeats", copies)
        return call.place(copies, axis + 1, len(x.shape))
    if not call.units.varies(x.ids, axis):
        return x.ids
    return np.repeat(x.ids, operation.repeats, axis)


@register_rule(*operation_classes("Pad"))
def pad(call):
    """Zeros next to units go with what they meet."""
    x, operation = call.inputs[0], call.operation
    width = np.broadcast_to(np.array(operation.pad_width), (len(x.shape), 2))
    axes = [a for a in range(len(x.shape)) if width[a].any()]
    varying = [a for a in axes if x.axis(a) in call.units.varying(x.ids)]
    if operation.mode != "constant" or len(varying) != 1:
        call.freeze_mixed(x, axes)
        return x.ids
    (axis,) = varying
    ids, (before, after) = call.along(x, axis), width[axis].tolist()
    zeros = call.fresh(before + after, "copies")
    parts = np.split(zeros, [before])
    call.edit("pad_width", zeros, lambda kept: tuple(
        tuple(int(kept[part].sum()) for part in parts) if a == axis
        else tuple(both) for a, both in enumerate(width.tolist())
    ))
    return call.place(
        np.concatenate([parts[0], ids, parts[1]]), axis, len(x.shape)
    )
