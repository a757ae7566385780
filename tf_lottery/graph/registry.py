"""The registry of rules: how channel units pass through an operation."""

from collections.abc import Callable
from typing import Any
from typing import TypeVar

_RULES: dict[type | str, Callable[..., Any]] = {}

_Rule = TypeVar("_Rule", bound=Callable[..., Any])


def register_rule(*classes: type) -> Callable[[_Rule], _Rule]:
    """Registers how channel units pass through a layer or operation.

    The rule is a function of one `tf_lottery.graph.call.Call`. It binds the
    weights of the layer to units and returns the ids of the output, or a list
    of them for several outputs. It holds for subclasses, too, unless they
    override `call`. A rule for a class that has one replaces it.

    Args:
        *classes: Subclasses of `keras.layers.Layer` or `keras.Operation`.

    Returns:
        A decorator.

    Raises:
        TypeError: If an argument is not a class.

    Example:

    A layer with one factor per channel:

    >>> class Scale(keras.layers.Layer):
    ...     def build(self, shape):
    ...         self.factor = self.add_weight(shape=(shape[-1],))
    ...     def call(self, inputs):
    ...         return inputs * self.factor
    >>> @tfl.graph.register_rule(Scale)
    ... def scale(call):
    ...     x = call.inputs[0]
    ...     call.bind(call.layer.factor, 0, call.along(x, -1), "pass")
    ...     return x.ids
    >>> model = keras.Sequential([
    ...     keras.Input((4,)), keras.layers.Dense(8), Scale(),
    ...     keras.layers.Dense(2)])
    >>> tfl.graph.trace(model).units
    8
    """
    for cls in classes:
        if not isinstance(cls, type):
            raise TypeError(
                "Rules are registered for classes of layers or operations. "
                f"Received: {cls!r}"
            )

    def register(rule: _Rule) -> _Rule:
        for cls in classes:
            _RULES[cls] = rule
        return rule

    return register


def register_named(*names: str) -> Callable[[_Rule], _Rule]:
    """Registers a rule for classes by module and name, as `register_rule`.

    For libraries that need not be installed.
    """

    def register(rule: _Rule) -> _Rule:
        _RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


def moves_batch(rule):
    """Marks a rule that takes tensors whose batch is not their first axis."""
    rule.moves_batch = True
    return rule


def full_name(cls):
    """Returns what a class is called in `register_named`."""
    return f"{cls.__module__}.{cls.__qualname__}"


def find(cls):
    """Returns the rule for a class, `None` if there is none."""
    for base in cls.__mro__:
        for known in (base, full_name(base)):
            if known in _RULES:
                # A rule knows nothing of a `call` written below its class.
                call = getattr(cls, "call", None)
                same = call is getattr(base, "call", None)
                return _RULES[known] if same else None
    return None
