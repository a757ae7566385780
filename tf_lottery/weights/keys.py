"""Weights of a model: their keys, and which can be pruned.

A *weight key* is the path of a layer inside the model and the name of its
variable, such as `"fc1/kernel"` or `"block/conv/kernel"`. Keys carry over to
another instance of the model and to another process: where Keras made up a
layer's name from a counter of the process (`dense_7`), the key counts the
layers of that class next to it instead (`dense`, `dense_1`, ...).
"""

import collections
import dataclasses
import re
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import TypeAlias

import keras
import numpy as np

from tf_lottery import internals
from tf_lottery import schedules
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types
from tf_lottery.weights import reasons

SEED_NAME = "seed_generator_state"

# From weight key to a variable and the layer that has it.
Owners: TypeAlias = dict[str, tuple[keras.Variable, keras.layers.Layer]]


@dataclasses.dataclass(frozen=True, eq=False)
class Weight:
    """One weight of a model.

    Attributes:
        key: String, the weight key.
        path: String, as `key`, with the layer names the model shows.
        variable: `keras.Variable`.
        layer: The `keras.layers.Layer` that owns the variable.
        reason: `None` if the weight can be pruned, else a string that says
            why it is not.
    """

    key: str
    path: str
    variable: keras.Variable
    layer: keras.layers.Layer
    reason: str | None = None


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
    return {key: variable for key, _, variable, _ in _walk(model)}


def owners(model: keras.Model) -> Owners:
    """Returns every variable of a model, and its layer, by weight key.

    Args:
        model: A built `keras.Model`.

    Returns:
        Dict from weight key to a pair of `keras.Variable` and
        `keras.layers.Layer`.
    """
    check_layer(model)
    return {key: (v, layer) for key, _, v, layer in _walk(model)}


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
        taken[name] += 1
        suffix = f"_{taken[name] - 1}" if taken[name] > 1 else ""
        found[name + suffix] = layer
    return found


@docs.filled
def inspect(
    model: keras.Model, exclude: types.Names = (), include: types.Names = ()
) -> list[Weight]:
    """Returns every weight of a model and whether it can be pruned.

    Prunable are the kernels of dense, convolution, attention and recurrent
    layers. A layer of your own joins by a method `get_prunable_weights`
    that returns a list of its variables. Embeddings and depthwise kernels,
    of few weights a channel, wait to be asked for (docs/collapse.md).

    Args:
        model: A built `keras.Model`.
        {{layers}}

    Returns:
        List of `Weight`, in the order of the model's layers.

    Raises:
        ValueError: If the model is not built or a pattern matches no layer.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(2, name="fc")])
    >>> [(w.key, w.reason) for w in tfl.weights.inspect(model)]
    [('fc/kernel', None), ('fc/bias', 'bias or vector')]
    """
    check_built(model)
    checks.names("exclude", exclude)
    checks.names("include", include)
    found = [
        Weight(key, path, variable, layer, reasons.reason(layer, variable))
        for key, path, variable, layer in _walk(model)
        if not is_seed(variable)
    ]
    included = resolve(found, include, name="include")
    found = [_include(weight, included.get(weight.key)) for weight in found]
    excluded = resolve(found, _without_ends(exclude), name="exclude")
    excluded |= _ends(found, exclude)
    return [_exclude(weight, excluded.get(weight.key)) for weight in found]


@docs.filled
def prunable(
    model: keras.Model, exclude: types.Names = (), include: types.Names = ()
) -> dict[str, keras.Variable]:
    """Returns the prunable variables of a model by weight key.

    Args:
        model: A built `keras.Model`.
        {{layers}}

    Returns:
        Dict from weight key to `keras.Variable`, never empty.

    Raises:
        ValueError: If the model is not built, a pattern matches no layer, or
            nothing can be pruned (the message lists every reason).
    """
    return prunable_of(model, inspect(model, exclude, include))


def prunable_of(
    model: keras.Model, weights: Iterable[Weight]
) -> dict[str, keras.Variable]:
    """Returns the prunable ones of weights that `inspect` has found.

    Args:
        model: The `keras.Model` they are of.
        weights: List of `Weight`.

    Returns:
        Dict from weight key to `keras.Variable`, never empty.

    Raises:
        ValueError: If nothing can be pruned.
    """
    found = {w.key: w.variable for w in weights if w.reason is None}
    if not found:
        reasons = "\n".join(f"  {w.key}: {w.reason}" for w in weights)
        raise ValueError(
            f"{_kind(model)} '{model.name}' has no prunable weight. A layer of "
            "your own can name its weights by a method "
            f"`get_prunable_weights`. Found:\n"
            f"{reasons or '  no weights at all'}"
        )
    return found


def resolve(
    weights: Sequence[Weight],
    patterns: str | Iterable[str] | Mapping[str, Any],
    name: str,
) -> dict[str, Any]:
    """Returns which pattern each weight matches.

    A name that the model shows (`model.summary()`) comes before a key, so
    that what a user reads there is what is meant.

    Args:
        weights: List of `Weight`.
        patterns: Iterable of patterns, or a dict from pattern to value.
        name: String, the argument's name for the error message.

    Returns:
        Dict from weight key to the pattern, or to its value for a dict;
        weights that match none are absent.

    Raises:
        ValueError: If a pattern matches no weight.
    """
    if isinstance(patterns, str):
        patterns = (patterns,)
    if not isinstance(patterns, dict):
        patterns = {pattern: pattern for pattern in patterns}
    if not patterns:
        return {}
    by_path = {w.path: w.key for w in weights}
    every_name_shown = all(
        any(schedules.matches(pattern, path) for path in by_path)
        for pattern in patterns
    )
    if every_name_shown and len(by_path) == len(weights):
        names = by_path
    else:
        names = {w.key: w.key for w in weights}
    matched = schedules.match(patterns, names, default=None, name=name)
    return {names[n]: v for n, v in matched.items() if v is not None}


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
            f"{_kind(model)} '{model.name}' is not built, so its weights do "
            "not exist yet. Give it an input shape (`keras.Input`), or call "
            "it on a batch of data."
        )


def _kind(model):
    return "Model" if isinstance(model, keras.Model) else "Layer"


def _walk(model):
    """Yields (key, path, variable, layer), every variable once."""
    seen, taken = set(), collections.Counter()
    for layer, key, path in _layers(_unwrapped(model), (), ()):
        below = {
            id(v) for child in _flatten(layer) for v in child.variables
        }
        for variable in layer.variables:
            if id(variable) in below or id(variable) in seen:
                continue
            seen.add(id(variable))
            name = "/".join((*key, variable.name))
            taken[name] += 1
            suffix = f"_{taken[name] - 1}" if taken[name] > 1 else ""
            yield (
                name + suffix,
                "/".join((*path, variable.name)) + suffix,
                variable,
                layer,
            )


def _layers(layer, key, path):
    yield layer, key, path
    children = [_unwrapped(child) for child in _flatten(layer)]
    for child, name in zip(children, _sibling_names(children)):
        yield from _layers(child, (*key, name), (*path, child.name))


def _flatten(layer):
    return internals.layers.children(layer)


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


def _include(weight, included):
    if included is not None and weight.reason in reasons.ON_REQUEST:
        return dataclasses.replace(weight, reason=None)
    return weight


def _exclude(weight, excluded):
    if weight.reason is None and excluded is not None:
        return dataclasses.replace(weight, reason=f"excluded by {excluded!r}")
    return weight


def _without_ends(patterns):
    """The patterns except those that mean the first or the last layer."""
    patterns = (patterns,) if isinstance(patterns, str) else patterns
    return tuple(p for p in patterns if p not in ("@first", "@last"))


def _ends(weights, patterns):
    """Which weights are of the first or last layer, where that is asked."""
    patterns = (patterns,) if isinstance(patterns, str) else patterns
    prunable = [w for w in weights if w.reason is None]
    ends = {"@first": prunable[:1], "@last": prunable[-1:]}
    return {
        weight.key: pattern
        for pattern, end in ends.items() if pattern in patterns
        for weight in prunable if weight.layer is end[0].layer
    }
