"""Optimizers in files of the first release, which kept masks by position."""

import numpy as np

from tf_lottery import masks as masks_lib

_PREFIX = "mask_"


def is_legacy(store):
    """Whether a group of a file has masks of the first release, or nothing."""
    return all(str(key).startswith(_PREFIX) for key in store.keys())


def read(store, variables):
    """Reads the masks of an optimizer by the positions of its variables.

    Returns pairs of a variable and a boolean array, or raises a `ValueError`: a
    position or a size does not fit.
    """
    masks = []
    for key in store.keys():
        index = int(key[len(_PREFIX):])
        bits = np.asarray(store[key]).tobytes()
        variable = variables[index] if index < len(variables) else None
        shape = () if variable is None else tuple(variable.shape)
        if variable is None or len(bits) != -(-int(np.prod(shape)) // 8):
            raise ValueError(
                "The masks of this file lie by position, and do not fit: "
                "weights were frozen before it was saved. Load it with "
                "`compile=False`, and hold its masks by `tf_lottery.hold`. "
                f"Received: {len(bits)} bytes for variable {index}. Expected: "
                f"one bit for a weight, of shape {shape}."
            )
        masks.append((variable, masks_lib.unpack(bits, variable.shape)))
    return masks
