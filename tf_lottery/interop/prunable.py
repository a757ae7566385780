"""Weights of a layer that TFMOT prunes, in the order of its masks."""

import keras

from tf_lottery.utils import layer_kinds

_ATTENTION = ("query_dense", "key_dense", "value_dense", "output_dense")
# Of a separable convolution TFMOT prunes the last kernel alone.
_LAST_KERNEL = {
    *layer_kinds.LINEAR, *layer_kinds.SEPARABLE, keras.layers.Embedding
} - {keras.layers.Conv1DTranspose}


def prunable(layer):
    """Returns the variables of a layer that TFMOT has masks for, a list.

    One of your own says by a method `get_prunable_weights` what it has, as in
    TFMOT.
    """
    if hasattr(layer, "get_prunable_weights"):
        return list(layer.get_prunable_weights())
    if isinstance(layer, keras.layers.MultiHeadAttention):
        return [getattr(layer, name).kernel for name in _ATTENTION]
    if isinstance(layer, keras.layers.RNN):
        cells = getattr(layer.cell, "cells", [layer.cell])
        return [v for cell in cells for v in layer_kinds.kernels(cell)]
    known = type(layer) in _LAST_KERNEL
    return layer_kinds.kernels(layer)[-1:] if known else []
