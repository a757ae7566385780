"""Flags: what they give to the library, and what its messages call them."""

import inspect
import re

# Arguments that a flag of another name fills.
_OTHERS = {"representative_data": "--data"}


def given(function, arguments, **others):
    """Returns the arguments of a function: flags of their names, and others.

    >>> import argparse
    >>> flags = argparse.Namespace(sep=", ", end="", verbose=True)
    >>> given(print, flags, end="!")
    {'sep': ', ', 'end': '!'}
    """
    names = inspect.signature(function).parameters
    return {k: v for k, v in vars(arguments).items() if k in names} | others


def rename(message, flags):
    """Returns a message with flags where it names arguments."""
    known = _OTHERS | flags

    def flag(match):
        return known.get(match[1], match[0])

    message = re.sub(r"`(\w+)`", flag, message)
    return re.sub(r"\b(\w+)(?==)", flag, message)
