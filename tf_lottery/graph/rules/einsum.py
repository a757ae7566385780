"""Sums of products in Einstein's notation, with a kernel or of tensors."""

import keras
import numpy as np

from tf_lottery.graph.registry import register_rule
from tf_lottery.graph.rules import activations
from tf_lottery.internals.graphs import operation_classes


@register_rule(keras.layers.EinsumDense)
def einsum_dense(call):
    """Reads some axes and makes others; one of each has units."""
    x, layer = call.inputs[0], call.layer
    read, kernel, made = _parse(layer.equation)
    fresh = [c for c in made if c in kernel and c not in read]
    summed = [c for c in read if c in kernel and c not in made]
    beside = [c for c in read if c not in kernel]
    if (
        not fresh
        or len(fresh) + len(summed) < len(kernel)
        or beside != [c for c in made if c not in fresh]
        or made.find(fresh[0]) < made.find(".")
    ):
        return call.frozen(
            f"{call.name} with equation '{layer.equation}' is no projection"
        )
    sizes = [layer.kernel.shape[kernel.index(c)] for c in fresh]
    # The first axis that is made has units: heads, where there are several.
    out = call.fresh(sizes[0], "heads" if len(fresh) > 1 else "units")
    for label, size in zip(fresh[1:], sizes[1:]):
        inner = call.fresh(size, f"axis_{label}")
        call.freeze(inner, f"{call.name} makes axes within each unit")
        call.bind(layer.kernel, kernel.index(label), inner, "out")
    call.bind(layer.kernel, kernel.index(fresh[0]), out, "out")
    if layer.bias is not None:
        # Its axes are the last ones of the output, from the first it has.
        first = min(made.index(c) for c in layer.bias_axes)
        own = made.index(fresh[0]) - first
        if fresh[0] in layer.bias_axes:
            call.bind(layer.bias, own, out, "out")
        else:
            call.vanishes = False
    activations.freeze_mixed(call, out, layer.activation)
    back = made.index(fresh[0]) - len(made)
    return _read(call, x, (read, kernel, made), summed, out, back)


def _read(call, x, labels, summed, out, back):
    """Binds the axis that has units; returns the ids of the output."""
    read, kernel, made = labels
    varying = call.units.varying(x.ids)
    axes = {c: x.axis(_place(read, c)) for c in read if c != "."}
    units = [c for c in summed if axes[c] in varying]
    ids = call.place(out, back, len(call.outputs[0]))
    if not units and varying:
        # They pass, and those made here must stay.
        call.freeze(out, f"{call.name} works next to units of another axis")
        return _passing(call, x, axes, made)
    _edit_output_shape(call, out, back)
    for label in summed:
        into = call.units.constant("not units")
        if label in units[-1:]:
            into = call.along(x, _place(read, label))
        call.bind(call.layer.kernel, kernel.index(label), into, "in")
    return ids


def _passing(call, x, axes, made):
    varying = call.units.varying(x.ids)
    if "." in made or len(varying) > 1:
        call.freeze(x, f"{call.name} mixes channels")
        return np.full((1,) * (len(call.outputs[0]) - 1), x.ids.flat[0])
    order = [axes.get(c) for c in made[1:]]
    back = order.index(varying[0]) - len(order)
    _edit_output_shape(call, call.along(x, varying[0] + 1), back)
    return _rearranged(x.ids, order)


def _rearranged(ids, order):
    """Ids with other axes, `None` for those along which they are the same."""
    known = [a for a in order if a is not None]
    lost = [a for a in range(ids.ndim) if a not in known]
    for axis in lost:
        ids = ids.take([0], axis)
    ids = ids.transpose([*known, *lost]).reshape(
        [ids.shape[a] for a in known]
    )
    new = [i for i, a in enumerate(order) if a is None]
    return np.expand_dims(ids, tuple(new))


@register_rule(*operation_classes("Einsum"))
def einsum(call):
    """Axes of both operands are coupled, those summed over must stay."""
    left, _, made = call.operation.subscripts.replace(" ", "").partition("->")
    labels = left.split(",")
    if (
        len(call.inputs) != 2
        or len(labels) != 2
        or "." in left
        or not {label[:1] for label in labels} == {made[:1]} != {""}
    ):
        return call.frozen(f"{call.name} has constants or moves the batch")
    parts = []
    for x, label in zip(call.inputs, labels):
        gone = [c for c in label if c not in made]
        call.freeze_mixed(x, [label.index(c) for c in gone])
        axes = {c: x.axis(i) for i, c in enumerate(label) if i}
        parts.append(_rearranged(x.ids, [axes.get(c) for c in made[1:]]))
    for axis, c in enumerate(made[1:]):
        if all(c in label for label in labels):
            _couple(call, parts, axis)
    varying = [call.units.varying(ids) for ids in parts]
    if len({a for axes in varying for a in axes}) > 1:
        for ids in parts:
            call.freeze(ids, f"{call.name} makes pairs of units")
    return parts[0] if varying[0] else parts[1]


def _couple(call, parts, axis):
    """An axis of both has the same units in both, or none."""
    varies = [call.units.varies(ids, axis) for ids in parts]
    if all(varies):
        call.units.union(*parts)
    for ids, varying in zip(parts, varies):
        if varying and not all(varies):
            call.freeze(ids, f"{call.name} couples it with what must stay")


def _parse(equation):
    """The labels of input, kernel and output; a dot for an ellipsis."""
    inputs, output = equation.replace(" ", "").replace("...", ".").split("->")
    read, kernel = inputs.split(",")
    return read, kernel, output


def _place(labels, label):
    """The axis of a label, from the end where an ellipsis is before it."""
    index = labels.index(label)
    return index - len(labels) if "." in labels[:index] else index


def _edit_output_shape(call, out, back):
    shape = call.layer.get_config()["output_shape"]
    whole = (shape,) if isinstance(shape, int) else tuple(shape)

    def value(kept):
        new = list(whole)
        new[back] = int(kept[out].sum())
        return tuple(new)

    call.edit("output_shape", out, value)
