"""Weights that take no memory before their number is known."""

import contextlib
import math

import keras
from keras.src.backend.common import global_state

from tf_lottery import weights as weights_lib
from tf_lottery.interop import hdf5

# Where Keras lists the variables that wait for their first values.
_WAITING = "uninitialized_variables"
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
    before = global_state.get_global_attribute(_WAITING, [])
    global_state.set_global_attribute(_WAITING, [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
        made = global_state.get_global_attribute(_WAITING, [])
        _check(made, most, path)
        # Outside of all scopes, its end gives first values.
        with keras.StatelessScope():
            pass
    finally:
        global_state.set_global_attribute(_WAITING, before)


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
