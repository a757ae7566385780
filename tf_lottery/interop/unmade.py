"""Weights that take no memory before their number is known."""

import contextlib
import functools
import math

from tf_lottery import internals
from tf_lottery import weights as weights_lib
from tf_lottery.interop import hdf5

# So few are no danger, and what is missing is told by the layers' names.
_FEW = 1 << 20


@contextlib.contextmanager
def weights(most, path):
    """Makes weights in a context, and gives them values at its end.

    A configuration of a few bytes can ask for layers of any size. Within the
    context weights have a shape, but no memory.

    Args:
        most: Integer, the numbers that the file holds.
        path: Path of the file, for the message.

    Raises:
        DamagedFileError: If there are far more weights; none gets memory.
    """
    check = functools.partial(_check, most=most, path=path)
    with internals.layers.values_made_late(check):
        yield


def _check(variables, most, path):
    numbers = sum(
        math.prod(variable.shape) for variable in variables
        if not weights_lib.is_seed(variable)
    )
    if numbers > most + _FEW:
        raise hdf5.damaged(
            path,
            f"its layers have {numbers} weights, and it holds {most} numbers",
        )
