"""Checks of arguments, with errors in Keras' form."""

import inspect
import math
import numbers
import os
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Set
from typing import Any
from typing import TypeGuard

# Keras counts steps, and everything else, in 64 bits.
_MOST = 2**63 - 1


def refuse(name, value, expected):
    """Raises a `ValueError`: what is wrong, what was expected and received.

    Args:
        expected: String that follows "must be".
    """
    raise ValueError(
        f"Argument `{name}` must be {expected}. Received: {name}={value!r} "
        f"(of type {type(value)})"
    )


def whole(name, value, least=1, note=""):
    """Refuses anything but an integer of at least `least`, below 2**63."""
    is_whole = isinstance(value, numbers.Integral)
    if not is_whole or isinstance(value, bool) or value < least:
        refuse(name, value, f"an integer of at least {least}{note}")
    if value > _MOST:
        refuse(name, value, f"an integer of at least {least}, below 2**63")


def optional(check, name, value, *args):
    """Checks what is not `None`."""
    if value is not None:
        check(name, value, *args)


def seed(name, value):
    """Refuses anything but an integer of at least 0."""
    whole(name, value, 0)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite real number, and no boolean."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and math.isfinite(value)


def number(name, value, expected="a number", fits=lambda value: True):
    """Refuses anything but a finite number that fits."""
    if not is_number(value) or not fits(value):
        refuse(name, value, expected)


def fraction(name, value):
    """Refuses anything but a number between 0 and 1."""
    number(name, value, "a number in (0, 1)", lambda v: 0 < v < 1)


def not_negative(name, value):
    """Refuses anything but a finite number of at least 0."""
    number(name, value, "a number of at least 0", lambda v: v >= 0)


def positive(name, value):
    """Refuses anything but a finite number above 0."""
    number(name, value, "a positive number", lambda v: v > 0)


def flag(name, value):
    """Refuses anything but `True` and `False`."""
    # NumPy's booleans are of another class.
    if type(value).__name__ not in ("bool", "bool_"):
        refuse(name, value, "`True` or `False`")


def choice(name, value, choices):
    """Refuses anything but one of some strings."""
    if not isinstance(value, str) or value not in choices:
        refuse(name, value, f"one of {', '.join(map(repr, choices))}")


def text(name, value):
    """Refuses anything but a string that is not empty."""
    if not isinstance(value, str) or not value:
        refuse(name, value, "a string that is not empty")


def path(name, value):
    """Refuses anything but a path, as a string or `os.PathLike`."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        refuse(name, value, "a path, a string or `os.PathLike`")
    if "\0" in os.fspath(value):
        refuse(name, value, "a path without a null character")


def names(name, value):
    """Refuses anything but a string, or several, that name layers."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple, set, frozenset)) or not all(
        isinstance(each, str) for each in value
    ):
        refuse(name, value, "layer names, a list of strings")


def shape(name, value):
    """Refuses anything but integers of at least 0, as in a tuple."""
    # A `tf.TensorShape` is neither tuple nor list.
    if not isinstance(value, Iterable) or isinstance(
        value, (str, bytes, Mapping, Set)
    ):
        refuse(name, value, "a shape, a tuple of integers")
    for size in value:
        whole(name, size, 0)


def kind(name, value, classes, expected):
    """Raises a `TypeError` unless a value is of a class."""
    if not isinstance(value, classes):
        raise TypeError(
            f"Argument `{name}` must be {expected}. Received: "
            f"{name}={value!r} (of type {type(value)})"
        )


def mapping(name, value, what="weight key to array"):
    """Raises a `TypeError` unless a value is a dict with strings as keys."""
    kind(name, value, Mapping, f"a dict from {what}")
    if not all(isinstance(key, str) for key in value):
        refuse(name, value, f"a dict from {what}")


def arrays(name, value):
    """Raises unless a value is a dict from string to array."""
    mapping(name, value)
    for each in value.values():
        if not hasattr(each, "shape"):
            refuse(name, value, "a dict from weight key to array")


def takes(name, value, number, expected):
    """Refuses what cannot be called with a number of arguments."""
    if not callable(value) or isinstance(value, type):
        refuse(name, value, expected)
    try:
        signature = inspect.signature(value)
    except ValueError:
        # Some of what is written in C has none.
        return
    try:
        signature.bind(*range(number))
    except TypeError:
        refuse(name, value, expected)


def loss(name, value):
    """Refuses anything but a loss that Keras knows, or a callable."""
    import keras

    if isinstance(value, str):
        # `compile` chooses one of three by the shape of the targets.
        if value in ("crossentropy", "ce"):
            return
        try:
            keras.losses.get(value)
        except ValueError:
            refuse(name, value, "a loss function or the name of one of Keras'")
    elif isinstance(value, type) and issubclass(value, keras.losses.Loss):
        return
    elif callable(value):
        takes(name, value, 2, "a loss function of `(y_true, y_pred)`")
    elif value is not None:
        # Models of several outputs have several.
        several = value if isinstance(value, (dict, list, tuple)) else ()
        parts = several.values() if isinstance(several, dict) else several
        if not several or all(part is None for part in parts):
            refuse(name, value, "a loss function or its name")
        for part in parts:
            loss(name, part)


def data(name, value):
    """Refuses what is no data, neither arrays nor batches; `None` is none."""
    if value is None:
        return
    if isinstance(value, (tuple, list)):
        fits = any(part is not None for part in value)
    elif isinstance(value, Mapping):
        fits = bool(value)
        for part in value.values():
            data(name, part)
    else:
        # Arrays and tensors, `tf.data.Dataset`, `keras.utils.PyDataset`, and
        # the `DataLoader` of torch.
        fits = not isinstance(value, type) and any(
            hasattr(value, attribute)
            for attribute in (
                "shape", "element_spec", "num_batches", "batch_sampler"
            )
        )
    if not fits:
        refuse(
            name, value, "arrays, a `tf.data.Dataset`, a "
            "`keras.utils.PyDataset` or a `DataLoader` of torch",
        )
