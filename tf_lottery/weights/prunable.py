"""Which weights of a model can be pruned."""

import dataclasses
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras

from tf_lottery import schedules
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types
from tf_lottery.weights import keys
from tf_lottery.weights import reasons


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
    keys.check_built(model)
    checks.names("exclude", exclude)
    checks.names("include", include)
    found = [
        Weight(key, path, variable, layer, reasons.reason(layer, variable))
        for key, path, variable, layer in keys.walk(model)
        if not keys.is_seed(variable)
    ]
    include = [include] if isinstance(include, str) else list(include)
    included = resolve(found, include, name="include")
    found = [
        dataclasses.replace(weight, reason=None)
        if weight.key in included and weight.reason in reasons.ON_REQUEST
        else weight
        for weight in found
    ]
    exclude = [exclude] if isinstance(exclude, str) else exclude
    _check_included(found, include)
    patterns = [p for p in exclude if p not in ("@first", "@last")]
    excluded = resolve(found, patterns, name="exclude")
    excluded |= _ends(found, exclude)
    return [
        dataclasses.replace(
            weight, reason=f"excluded by {excluded[weight.key]!r}"
        )
        if weight.key in excluded and weight.reason is None else weight
        for weight in found
    ]


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
        listed = "\n".join(f"  {w.key}: {w.reason}" for w in weights)
        raise ValueError(
            f"{keys.kind(model)} '{model.name}' has no prunable weight. A "
            "layer of your own can name its weights by a method "
            f"`get_prunable_weights`. Found:\n"
            f"{listed or '  no weights at all'}"
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
    names = _names(weights, patterns)
    matched = schedules.match(patterns, names, default=None, name=name)
    return {names[n]: v for n, v in matched.items() if v is not None}


def _names(weights, patterns):
    """Keys of weights by what patterns are compared with: paths, or keys."""
    by_path = {w.path: w.key for w in weights}
    every_name_shown = all(
        any(schedules.matches(pattern, path) for path in by_path)
        for pattern in patterns
    )
    if every_name_shown and len(by_path) == len(weights):
        return by_path
    return {w.key: w.key for w in weights}


def _check_included(weights, patterns):
    names, why = _names(weights, patterns), {w.key: w.reason for w in weights}
    for pattern in patterns:
        named = {
            key: why[key] for name, key in names.items()
            if schedules.matches(pattern, name)
        }
        if None not in named.values():
            raise ValueError(
                f"Argument `include` names {pattern!r}, of which nothing can "
                f"be pruned. Received: {named}"
            )


def _ends(weights, patterns):
    """Which weights are of the first or last layer, where that is asked."""
    prunable = [w for w in weights if w.reason is None]
    ends = {"@first": prunable[:1], "@last": prunable[-1:]}
    return {
        weight.key: pattern
        for pattern, end in ends.items() if pattern in patterns
        for weight in prunable if weight.layer is end[0].layer
    }
