"""Messages: what layers and operations say of data that do not fit."""

import functools
import re

# As Keras writes what a layer of a model ran into.
_WITHIN = re.compile("Exception encountered when calling.*?\x1b\\[1m(.*?)\x1b",
                     re.DOTALL)
# TensorFlow's, where values do not fit; others tell of the machine.
_OF_VALUES = ("InvalidArgumentError", "UnimplementedError")
_PLACES = re.compile(
    r"Graph execution error.*\n\n(?=\S)|.*\{\{function_node [^}]*\}\} ?"
    r"|\s*\[\[\{\{.*|\s*\[Op:.*", re.DOTALL
)
_MOST = 300


def core(error):
    """Returns what an error says, without the calls that led to it."""
    found = _WITHIN.search(str(error))
    text = _PLACES.sub("", found[1] if found else str(error))
    return f"{type(error).__name__}: {text.strip()[:_MOST]}"


def shortened(function):
    """Returns a function that runs a model, and fails in a sentence."""
    @functools.wraps(function)
    def run(*args):
        try:
            return function(*args)
        # Keras keeps the class of what a layer raises; those of a user's own
        # layers are left to tell of what is wrong there.
        except Exception as error:
            told = isinstance(error, ValueError) and _WITHIN.match(str(error))
            if not told and type(error).__name__ not in _OF_VALUES:
                raise
            raise ValueError(
                "The model cannot be run on the data, or its loss cannot. "
                f"Received: {core(error)}. Expected: data as `evaluate` takes "
                "them"
            ) from error

    return run
