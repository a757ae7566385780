"""Keys of the weights of a model.

A *weight key* is the path of a layer inside the model and the name of its
variable, such as `"fc1/kernel"` or `"block/conv/kernel"`. Keys carry over to
another instance of the model and to another process: where Keras made up a
layer's name from a counter of the process (`dense_7`), the key counts the
layers of that class next to it instead (`dense`, `dense_1`, ...).
"""

import collections
import re
from collections.abc import Mapping
from typing import Any
from typing import TypeAlias

import keras
import numpy as np

from tf_lottery import internals
from tf_lottery.utils import checks

SEED_NAME = "seed_generator_state"

# From weight key to a variable and the layer that has it.
Owners: TypeAlias = dict[str, tuple[keras.Variable, keras.layers.Layer]]


def variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns every variable of a model by its key.

    Unlike `prunable` this includes biases, statistics of normalisation and
    the states of random seeds: all that a snapshot must hold.

    Args:
        model: A built `keras.Model`.

    Returns:
        Dict from weight key to `keras.Variable`; a variable that several
        layers share appears once.
    """
    check_layer(model)
    return {key: variable for key, _, variable, _ in walk(model)}


def owners(model: keras.Model) -> Owners:
    """Returns every variable of a model, and its layer, by weight key.

    Args:
        model: A built `keras.Model`.

    Returns:
        Dict from weight key to a pair of `keras.Variable` and
        `keras.layers.Layer`.
    """
    check_layer(model)
    return {key: (v, layer) for key, _, v, layer in walk(model)}


def layers(model: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """Returns every layer of a model, itself included, by its key.

    Args:
        model: A `keras.Model` or layer.

    Returns:
        Dict from the key that the layer's weights begin with to
        `keras.layers.Layer`, from the outside inwards. Wrappers that keys say
        nothing of are left out.
    """
    check_layer(model)
    found, taken = {}, collections.Counter()
    for layer, key, _ in _layers(_unwrapped(model), (), ()):
        name = "/".join(key)
        found[name + _suffix(taken, name)] = layer
    return found


def check_layer(model: Any) -> None:
    """Raises a `ValueError` unless `model` is a Keras model or layer."""
    if not isinstance(model, keras.layers.Layer):
        checks.refuse("model", model, "a `keras.Model`")


def check_masks(
    model: keras.Model,
    masks: Mapping[str, np.ndarray],
    variables: Mapping[str, keras.Variable],
) -> None:
    """Raises a `ValueError` unless masks fit the variables of a model.

    Args:
        model: The `keras.Model`.
        masks: Dict from weight key to boolean array.
        variables: Dict from weight key to `keras.Variable`.
    """
    if not isinstance(masks, Mapping):
        raise ValueError(
            "Argument `masks` must be a dict from weight key to boolean "
            f"array. Received: {masks!r} (of type {type(masks)})"
        )
    for key, mask in masks.items():
        if key not in variables:
            raise ValueError(
                f"Model '{model.name}' has no weight '{key}'. "
                f"Expected keys among: {sorted(variables)}"
            )
        mask, shape = np.asarray(mask), tuple(variables[key].shape)
        if mask.dtype != bool or mask.shape != shape:
            raise ValueError(
                f"The mask of '{key}' must be a boolean array of shape "
                f"{shape}. Received: {mask.dtype} of shape {mask.shape}."
            )


def check_built(model: Any) -> None:
    """Raises a `ValueError` unless `model` is a built Keras model."""
    check_layer(model)
    # A subclassed model without a `build` of its own counts as built, with
    # a warning, once `build` was called, although its layers are not.
    layers = internals.layers.flat(model)
    if not model.built or (
        not model.variables and not all(layer.built for layer in layers)
    ):
        raise ValueError(
            f"{kind(model)} '{model.name}' is not built, so its weights do "
            "not exist yet. Give it an input shape (`keras.Input`), or call "
            "it on a batch of data."
        )


def kind(model):
    """Returns what to call a model in a message."""
    return "Model" if isinstance(model, keras.Model) else "Layer"


def walk(model):
    """Yields (key, path, variable, layer), every variable once."""
    seen, taken = set(), collections.Counter()
    for layer, key, path in _layers(_unwrapped(model), (), ()):
        below = {
            id(v) for child in internals.layers.children(layer)
            for v in child.variables
        }
        for variable in layer.variables:
            if id(variable) in below or id(variable) in seen:
                continue
            seen.add(id(variable))
            name = "/".join((*key, variable.name))
            suffix = _suffix(taken, name)
            shown = "/".join((*path, variable.name)) + suffix
            yield name + suffix, shown, variable, layer


def _suffix(taken, name):
    """Numbers what is called as something before, from 1 on."""
    taken[name] += 1
    return f"_{taken[name] - 1}" if taken[name] > 1 else ""


def _layers(layer, key, path):
    yield layer, key, path
    children = list(map(_unwrapped, internals.layers.children(layer)))
    for child, name in zip(children, _sibling_names(children)):
        yield from _layers(child, (*key, name), (*path, child.name))


def _unwrapped(layer):
    """The layer inside a wrapper that weight keys say nothing of."""
    return layer.layer if getattr(layer, "transparent", False) else layer


def _sibling_names(layers):
    """Names of layers side by side, without Keras' process-wide counters."""
    names, counts = [], collections.Counter()
    for layer in layers:
        stem = re.sub(r"_\d+$", "", layer.name)
        made_up = re.sub(r"^(forward|backward)_|_", "", stem)
        if made_up != type(layer).__name__.lower():
            names.append(layer.name)
            continue
        names.append(f"{stem}_{counts[stem]}" if counts[stem] else stem)
        counts[stem] += 1
    return names


def is_seed(variable: keras.Variable) -> bool:
    """Whether a variable is the state of a random seed."""
    return variable.name.startswith(SEED_NAME)
