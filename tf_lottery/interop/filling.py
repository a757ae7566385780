"""Weights and masks of a tf_keras file, put into a Keras 3 model."""

import re

import keras
import numpy as np

from tf_lottery import internals
from tf_lottery.utils import layer_kinds

_ATTENTION = ("query_dense", "key_dense", "value_dense", "output_dense")
# Of a separable convolution TFMOT prunes the last kernel alone.
_LAST_KERNEL = {
    *layer_kinds.LINEAR, *layer_kinds.SEPARABLE, keras.layers.Embedding
} - {keras.layers.Conv1DTranspose}


def fill(node, saved):
    """Gives a model the weights of the file; returns (variable, mask) pairs.

    Raises:
        ValueError: If the arrays of the file do not fit the layers; the
            message names the layer.
    """
    filler = _ByName() if saved.is_h5 else _ByAttribute()
    filler.fill(node, saved.arrays)
    missing = [
        f"{layer.name}/{variable.name}"
        for layer in internals.layers.flat(node.layer)
        for variable in _own(layer) if id(variable) not in filler.filled
    ]
    if missing:
        raise ValueError(
            f"Model '{node.layer.name}' has weights that the file has no "
            f"arrays for: {missing}"
        )
    for layer in internals.layers.flat(node.layer):
        # What `Normalization` has adapted to is not a variable of its own.
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    return filler.masks


def prunable(layer):
    """Returns the variables of a layer that TFMOT has masks for, a list.

    One of your own says by a method `get_prunable_weights` what it has, as in
    TFMOT.
    """
    if hasattr(layer, "get_prunable_weights"):
        return list(layer.get_prunable_weights())
    if isinstance(layer, keras.layers.MultiHeadAttention):
        return [getattr(layer, name).kernel for name in _ATTENTION]
    if isinstance(layer, keras.layers.RNN):
        cells = getattr(layer.cell, "cells", [layer.cell])
        return [v for cell in cells for v in layer_kinds.kernels(cell)]
    known = type(layer) in _LAST_KERNEL
    return layer_kinds.kernels(layer)[-1:] if known else []


class _Filler:
    def __init__(self):
        self.filled, self.masks = set(), []

    def _assign(self, name, variable, array):
        if tuple(variable.shape) != array.shape:
            raise ValueError(
                f"Weight '{variable.name}' of layer '{name}' does not fit. "
                f"Received: shape {array.shape} in the file. "
                f"Expected: {tuple(variable.shape)}"
            )
        variable.assign(array[()])
        self.filled.add(id(variable))

    def _add_mask(self, name, variable, array):
        array = np.asarray(array[()])
        if array.shape != tuple(variable.shape) or not np.all(
            (array == 0) | (array == 1)
        ):
            raise ValueError(
                f"The mask of '{variable.name}' of layer '{name}' must be "
                f"zeros and ones of shape {tuple(variable.shape)}. Received: "
                f"shape {array.shape}, values from {array.min(initial=0)} to "
                f"{array.max(initial=0)}"
            )
        self.masks.append((variable, array != 0))


class _ByName(_Filler):
    """An `.h5` file: for each layer of the model a list of arrays.

    The list has all trainable weights, then all others; those of a wrapper
    are, after the layer's own, a mask and a threshold for each weight it
    prunes and the number of its step.
    """

    def fill(self, node, group):
        for part in node.parts:
            arrays = self._arrays(part, group)
            slots = [slot for half in _slots(part) for slot in half]
            kinds = [kind for _, kind, _ in slots]
            found = [_kind(name, kind) for name, kind in zip(arrays, kinds)]
            if len(arrays) != len(kinds) or found != kinds:
                raise ValueError(
                    f"The weights of layer '{part.name}' are not those that "
                    f"Keras 3 expects. Received: {list(arrays)}. "
                    f"Expected: {kinds}"
                )
            for (name, kind, variable), array in zip(slots, arrays.values()):
                if kind == "mask":
                    self._add_mask(name, variable, array)
                elif variable is not None:
                    self._assign(name, variable, array)

    def _arrays(self, part, group):
        if part.name not in group:
            if part.layer.weights or part.wrapped:
                raise ValueError(
                    f"The file has no weights of layer '{part.name}': it was "
                    "not written to its end. (TFMOT cannot save recurrent and "
                    "attention layers as .h5; save them as .keras.)"
                )
            return {}
        own = group[part.name]
        return {name: own[name] for name in _weight_names(own)}


def _weight_names(group):
    """Names of the arrays of a layer; a long list is cut into pieces."""
    pieces = [group.attrs.get("weight_names", ())]
    while f"weight_names{len(pieces) - 1}" in group.attrs:
        pieces.append(group.attrs[f"weight_names{len(pieces) - 1}"])
    return [
        name.decode() if isinstance(name, bytes) else str(name)
        for piece in pieces for name in piece
    ]


def _slots(node):
    """What tf_keras saves of a layer, in two halves, trainable and not.

    A slot is a layer's name, a kind (the name of the weight, `mask`,
    `threshold` or `pruning_step`) and the variable it belongs to.
    """
    layer = node.layer
    if node.parts is not None:
        halves = [_slots(part) for part in node.parts]
        trainable = [slot for half, _ in halves for slot in half]
        others = [slot for _, half in halves for slot in half]
        return (trainable, others) if layer.trainable else (
            [], trainable + others
        )
    trainable, others = (
        [(layer.name, variable.name, variable) for variable in variables]
        for variables in (layer.trainable_weights, layer.non_trainable_weights)
    )
    if node.wrapped:
        for variable in prunable(layer):
            others += [
                (layer.name, "mask", variable),
                (layer.name, "threshold", None),
            ]
        others.append((layer.name, "pruning_step", None))
    return trainable, others


def _kind(name, expected):
    """The kind of an array, by its name: `dense/kernel:0` is a kernel.

    A layer of your own may call its weights as it likes.
    """
    stem = re.sub(r":\d+$", "", name.rpartition("/")[2])
    short = re.sub(r"_\d+$", "", stem)
    ours = ("mask", "threshold", "pruning_step")
    if short in ours:
        return short
    if expected in (stem, short):
        return expected
    names = {"kernel", "bias", "gamma", "beta", "moving_mean",
             "moving_variance", "recurrent_kernel", "embeddings"}
    return short if short in names or expected in ours else expected


class _ByAttribute(_Filler):
    """A `.keras` file: groups nested as the attributes of the layers.

    Layers of a list are numbered by class: `dense`, `dense_1`. A group `vars`
    has the variables of the layer itself; those of a wrapper are the weights
    it prunes once more, then masks, thresholds and the step.
    """

    def fill(self, node, group):
        if node.parts and "layers" not in group:
            raise ValueError(
                f"The file has no weights of model '{node.name}'."
            )
        self._fill_parts(
            [(part.class_name, part) for part in node.parts],
            group["layers"] if node.parts else group,
            self._fill_node,
        )

    def _fill_node(self, part, group):
        if part.parts is not None:
            self.fill(part, group)
        elif part.wrapped:
            own = group.get("layer", {})
            self._fill_layer(part.layer, own)
            self._fill_masks(part, group.get("vars", {}))
        else:
            self._fill_layer(part.layer, group)

    def _fill_parts(self, parts, container, fill):
        counts = {}
        for class_name, part in parts:
            stem = _snake_case(class_name)
            number = counts[stem] = counts.get(stem, -1) + 1
            name = f"{stem}_{number}" if number else stem
            fill(part, container.get(name, {}))

    def _fill_layer(self, layer, group):
        own = _own(layer)
        arrays = _ordered(group.get("vars", {}))
        if len(own) != len(arrays):
            raise ValueError(
                f"The weights of layer '{layer.name}' are not those that "
                f"Keras 3 expects. Received: {len(arrays)} arrays of shapes "
                f"{[array.shape for array in arrays]}. Expected: "
                f"{[(v.name, tuple(v.shape)) for v in own]}"
            )
        for variable, array in zip(own, arrays):
            self._assign(layer.name, variable, array)
        for attribute in group:
            # tf_keras hides what Keras 3 shows: `_query_dense`.
            part = getattr(layer, attribute.lstrip("_"), None)
            if isinstance(part, (list, tuple)):
                parts = [(type(p).__name__, p) for p in part]
                self._fill_parts(parts, group[attribute], self._fill_layer)
            elif isinstance(part, keras.layers.Layer) and part.weights:
                self._fill_layer(part, group[attribute])

    def _fill_masks(self, node, group):
        variables = prunable(node.layer)
        arrays = _ordered(group)
        # Without the step at the end, and the copies at the beginning.
        pairs = arrays[len(arrays) - 1 - 2 * len(variables):-1]
        if len(arrays) not in (2 * len(variables) + 1, 3 * len(variables) + 1):
            raise ValueError(
                f"The masks of layer '{node.layer.name}' are not those that "
                f"TFMOT has for it. Received: arrays of shapes "
                f"{[array.shape for array in arrays]}. Expected: masks of "
                f"{[v.name for v in variables]}. A layer of your own must say "
                "by `get_prunable_weights` which weights these are."
            )
        for variable, mask in zip(variables, pairs[::2]):
            self._add_mask(node.layer.name, variable, mask)


def _ordered(group):
    return [group[str(number)] for number in range(len(group))]


def _snake_case(name):
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    name = re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
    return f"private{name}" if name.startswith("_") else name


def _own(layer):
    """The weights of a layer that are not of a layer inside it."""
    inside = internals.layers.children(layer)
    below = {id(v) for part in inside for v in part.weights}
    return [v for v in layer.weights if id(v) not in below]
