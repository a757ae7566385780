"""Configurations: the arguments of an object, and in what two differ."""

import hashlib
import inspect
import json


def of_arguments(instance):
    """Returns the arguments of a constructor that are attributes, by name."""
    names = inspect.signature(type(instance)).parameters
    return {n: getattr(instance, n) for n in names if hasattr(instance, n)}


def plain(values):
    """Returns plain values as they come out of a JSON file."""
    return json.loads(json.dumps(values))


def digest(values):
    """Returns a short name that follows from plain values alone."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(found, wanted, but=()):
    """Returns a line for each value that differs, of dicts inside as well.

    >>> differences(
    ...     {"rate": {"*": 0.2, "logits": 0.1}, "seed": 0},
    ...     {"rate": {"*": 0.2, "logits": 0.2}, "seed": 1})
    ['rate, logits: 0.1 there, 0.2 now', 'seed: 0 there, 1 now']
    """
    return [
        f"{', '.join(path)}: {_show(old)} there, {_show(new)} now"
        for path, old, new in _compare(found, wanted)
        if path[0] not in but
    ]


_ABSENT = object()


def _compare(found, wanted, path=()):
    for key in sorted(found.keys() | wanted.keys()):
        old, new = found.get(key, _ABSENT), wanted.get(key, _ABSENT)
        here = *path, str(key)
        if _are_layers(old, new):
            old, new = dict(enumerate(old)), dict(enumerate(new))
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _compare(old, new, here)
        elif old is _ABSENT or new is _ABSENT or old != new:
            yield here, old, new


def _are_layers(old, new):
    """Whether both are lists of as many dicts, which are compared in turn."""
    return (
        isinstance(old, list)
        and isinstance(new, list)
        and len(old) == len(new)
        and all(isinstance(value, dict) for value in (*old, *new))
    )


def _show(value):
    return "absent" if value is _ABSENT else repr(value)
