"""The processes that train one model together, each on a part of the data.

Under `keras.distribution.DataParallel` on JAX all processes run the same
script and hold the same weights and masks; each finds the same masks by
itself. Files are written by process 0 alone.
"""

import numpy as np

from tf_lottery.utils import backends


def count():
    """Returns the number of processes; 1 is the usual case."""
    return backends.jax.process_count() if backends.name() == "jax" else 1


def is_first():
    """Returns whether this process is the one that writes files."""
    return backends.name() != "jax" or backends.jax.process_index() == 0


def gather(number):
    """Returns the integers that all processes give, in their order."""
    if count() == 1:
        return [number]
    from jax.experimental import multihost_utils

    found = multihost_utils.process_allgather(np.array(number, "int32"))
    return [int(value) for value in found]


def in_turn(function):
    """Calls a function in process 0, then in the others; returns its result.

    Where one fails, the others raise a `RuntimeError`, so that all of them end.
    """
    result = _unless_failed(function if is_first() else None)
    others = _unless_failed(None if is_first() else function)
    return result if is_first() else others


def _unless_failed(function):
    """Calls the function of one turn; raises if it failed anywhere."""
    result = error = None
    if function is not None:
        try:
            result = function()
        except Exception as raised:  # Raised below, once all know of it.
            error = raised
    failed = [i for i, bad in enumerate(gather(error is not None)) if bad]
    if error is not None:
        raise error
    if failed:
        raise RuntimeError(
            f"Process {failed[0]} of {count()} has failed, so this one ends "
            "too; the message there says why."
        )
    return result


def check_equal(number, problem):
    """Raises a `RuntimeError` in all processes unless theirs are equal."""
    found = gather(number)
    if len(set(found)) > 1:
        raise RuntimeError(f"{problem} Received: {found}, by process.")
