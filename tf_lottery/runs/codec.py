"""Masks and snapshots as named arrays and plain values, and back.

An array is named by the part that it belongs to and its key there:
`"mask/fc/kernel"`, `"weight/fc/bias"`, `"optimizer/0"`. A mask takes one bit
for a weight; its shape is a plain value next to the arrays.
"""

import numpy as np

from tf_lottery import masks as masks_lib
from tf_lottery.weights import snapshots


def join(**parts):
    """Returns the arrays of several parts in one dict, by name.

    A part is a dict of arrays, or of callables that return them; a list is
    numbered.
    """
    return {
        f"{part}/{key}": array
        for part, arrays in parts.items()
        for key, array in (
            arrays.items() if isinstance(arrays, dict) else enumerate(arrays)
        )
    }


def part(arrays, name):
    """Returns what `join` was given for one part; names may have slashes."""
    prefix = f"{name}/"
    return {
        key.removeprefix(prefix): array
        for key, array in arrays.items() if key.startswith(prefix)
    }


def numbered(arrays, name):
    """Returns the arrays of one part as the list that `join` numbered."""
    found = part(arrays, name)
    if found.keys() != {str(i) for i in range(len(found))}:
        raise ValueError(
            f"Arrays of '{name}' must be numbered from 0 on. "
            f"Received: {sorted(found)[:20]}"
        )
    return [found[str(i)] for i in range(len(found))]


def encode_masks(masks):
    """Returns the arrays and the plain values that masks are stored as."""
    bits = {
        key: np.frombuffer(masks_lib.pack(mask), "uint8")
        for key, mask in masks.items()
    }
    shapes = {key: list(mask.shape) for key, mask in masks.items()}
    density = masks_lib.density(masks)
    return join(mask=bits), {"shapes": shapes, "density": density}


def decode_masks(arrays, header):
    """Returns the masks of `encode_masks`, or raises a `ValueError`."""
    bits = part(arrays, "mask")
    shapes = field(header, "shapes", dict)
    if bits.keys() != shapes.keys():
        raise ValueError(
            "Masks and their shapes must have the same keys. Received: "
            f"{sorted(bits.keys() ^ shapes.keys())[:20]} in one of the two."
        )
    return {key: _mask(key, bits[key], shapes[key]) for key in bits}


def _mask(key, bits, shape):
    # A single repeated value would be bits that the file does not have.
    repeated = bits.size > 1 and not any(bits.strides)
    if bits.dtype != "uint8" or bits.ndim != 1 or repeated:
        raise ValueError(
            f"The mask of '{key}' must be stored as bytes. Received: "
            f"{bits.dtype} of shape {bits.shape}."
        )
    if not isinstance(shape, list) or not all(map(_is_count, shape)):
        raise ValueError(
            f"The shape of the mask of '{key}' must be a list of lengths. "
            f"Received: {shape!r}"
        )
    return masks_lib.unpack(bits.tobytes(), shape)


def encode_snapshot(snapshot):
    """Returns the arrays and the plain values a `Snapshot` is stored as."""
    arrays = join(weight=snapshot.weights, optimizer=snapshot.optimizer)
    return arrays, {
        "step": snapshot.step, "optimizer": snapshot.optimizer_name
    }


def decode_snapshot(arrays, header):
    """Returns the `Snapshot` of `encode_snapshot`, or raises a `ValueError`."""
    return snapshots.Snapshot(
        field(header, "step", int),
        part(arrays, "weight"),
        numbered(arrays, "optimizer"),
        field(header, "optimizer", str),
    )


def check_finite(snapshot):
    """Raises a `ValueError` that names a weight or slot that is not finite."""
    named = join(weight=snapshot.weights, optimizer=snapshot.optimizer)
    for name, array in named.items():
        if array.size and not any(array.strides):
            # One value, repeated to a shape that may not fit into memory.
            array = array[(0,) * array.ndim]
        if not np.isfinite(array).all():
            raise ValueError(f"Array '{name}' has values that are not finite.")


def field(header, name, kind):
    """Returns a plain value by its name, or raises a `ValueError`.

    It must be of a kind; an `int` is at least 0.
    """
    value = header.get(name)
    if not (_is_count(value) if kind is int else isinstance(value, kind)):
        raise ValueError(
            f"Field '{name}' must be "
            f"{'a count' if kind is int else f'of type {kind.__name__}'}. "
            f"Received: {name}={value!r:.80}"
        )
    return value


def _is_count(value):
    return type(value) is int and value >= 0
