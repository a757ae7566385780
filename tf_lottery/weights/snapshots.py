"""The values of variables at one moment of training."""

import dataclasses

import numpy as np
from keras import ops


@dataclasses.dataclass(frozen=True, eq=False)
class Snapshot:
    """Weights, statistics, seeds and optimizer state at a step of training.

    Attributes:
        step: Integer, the number of training steps done (0 = initialisation).
        weights: Dict from weight key to array: all variables of the model.
        optimizer: List of arrays: all variables of the optimizer but masks.
            Empty means a fresh optimizer.
        optimizer_name: String, the class of the optimizer. Defaults to
            `""`: not known.
    """

    step: int
    weights: dict[str, np.ndarray]
    optimizer: list[np.ndarray] = dataclasses.field(default_factory=list)
    optimizer_name: str = ""


def capture(variables):
    """Returns copies of the values of variables, a list of read-only arrays.

    An array that holds one value only, such as a slot that was not used yet,
    takes no memory.
    """
    return [value_of(variable) for variable in variables]


def value_of(variable):
    """Returns a copy of the value of one variable, as `capture` does."""
    return _compact(ops.convert_to_numpy(variable))


def restore(variables, arrays):
    """Assigns values captured earlier."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _compact(array):
    array = array if array.flags.owndata else np.array(array)
    array.flags.writeable = False
    if array.size > 1:
        # Compared as bits, so that the sign of zero and NaN survive.
        bits = array.reshape(-1).view(f"u{array.dtype.itemsize}")
        if (bits == bits[0]).all():
            return np.broadcast_to(array.reshape(-1)[0], array.shape)
    return array
