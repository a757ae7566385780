"""Which weights of a layer TFMOT prunes, in the order of its masks."""

import keras

from tf_lottery import layer_kinds

_RECURRENT = ("kernel", "recurrent_kernel")
_ATTENTION = ("query_dense", "key_dense", "value_dense", "output_dense")
# Neither depthwise convolutions nor those of one dimension transposed.
_NAMES = {
    **dict.fromkeys(layer_kinds.LINEAR, "kernel"),
    **dict.fromkeys(layer_kinds.SEPARABLE, "pointwise_kernel"),
    keras.layers.Embedding: "embeddings",
}
del _NAMES[keras.layers.Conv1DTranspose]


def prunable(layer):
    """Returns the variables of a layer that TFMOT has masks for.

    Args:
        layer: A built `keras.layers.Layer`. One of your own says by a method
            `get_prunable_weights` what it has, as in TFMOT.

    Returns:
        List of `keras.Variable`.
    """
    if hasattr(layer, "get_prunable_weights"):
        return list(layer.get_prunable_weights())
    if isinstance(layer, keras.layers.MultiHeadAttention):
        return [getattr(layer, name).kernel for name in _ATTENTION]
    if isinstance(layer, keras.layers.RNN):
        cells = getattr(layer.cell, "cells", [layer.cell])
        return [v for cell in cells for v in _of_cell(cell)]
    name = _NAMES.get(type(layer))
    return [] if name is None else [getattr(layer, name)]


def _of_cell(cell):
    if hasattr(cell, "get_prunable_weights"):
        return list(cell.get_prunable_weights())
    return [getattr(cell, name) for name in _RECURRENT if hasattr(cell, name)]
