"""Samples: inputs of any kind of data, as arrays to measure on."""

import keras
import numpy as np
from keras import ops

from tf_lottery.criteria import batches as batches_lib
from tf_lottery.utils import checks
from tf_lottery.utils import messages


def inputs_of(data, number, name="data", what="`scope='search'`"):
    """Returns as many inputs of data, spread over those that are arrays.

    Args:
        name: String, the argument, for error messages.
        what: String, what they are for.
    """
    checks.data(name, data)
    if data is None:
        checks.refuse(name, data, f"data to measure on, for {what}")
    batches = batches_lib.batches_of(data, criterion=what)
    if isinstance(data, (tuple, list)):
        length = batches_lib.len_of(data[0])
        if not length:
            raise ValueError(
                f"Argument `{name}` must hold examples. Received: none"
            )
        chosen = np.linspace(
            0, length - 1, min(number, length)
        ).round().astype(int)
        return finite(name, keras.tree.map_structure(
            lambda array: np.asarray(array)[chosen], data[0]
        ))
    found, count = [], 0
    for x, _, _ in batches:
        found.append(x)
        count += batches_lib.len_of(x)
        if count >= number:
            break
    return finite(
        name, keras.tree.map_structure(lambda a: a[:number], joined(found))
    )


def check(model, **inputs):
    """Raises if a model does not take the inputs of an argument."""
    for name, given in inputs.items():
        try:
            first_of(model, given)
        # Whatever a layer runs into says that they do not fit.
        except Exception as error:
            shapes = keras.tree.map_structure(np.shape, given)
            raise ValueError(
                f"Argument `{name}` does not fit model '{model.name}'. "
                f"Received: inputs of shape {shapes}, on which the model says "
                f"{messages.core(error)}"
            ) from error


def first_of(model, inputs):
    """Returns what a model makes of the first of some inputs."""
    one = keras.tree.map_structure(lambda a: a[:1], inputs)
    return model(one, training=False)


def finite(name, inputs):
    """Returns inputs, or raises if one of an argument is not finite."""
    for array in keras.tree.flatten(inputs):
        if np.issubdtype(array.dtype, np.floating) and not (
            np.isfinite(array).all()
        ):
            raise ValueError(
                f"Argument `{name}` must hold finite inputs. Received: NaN or "
                f"infinity in an array of shape {array.shape}"
            )
    return inputs


def joined(parts):
    """Returns one array, or structure of arrays, of those of all batches."""
    return keras.tree.map_structure(
        lambda *arrays: np.concatenate(
            list(map(ops.convert_to_numpy, arrays))
        ),
        *parts,
    )
