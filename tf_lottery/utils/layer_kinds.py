"""Kinds of Keras layers that have kernels, and where their axes lie."""

import fnmatch
from typing import Any

import keras


def named(patterns: str) -> tuple[Any, ...]:
    """Returns the layers of Keras that names, or patterns of them, mean."""
    return tuple(
        getattr(keras.layers, name)
        for pattern in patterns.split()
        for name in fnmatch.filter(dir(keras.layers), pattern)
    )


CONVOLUTIONS = named("Conv?D")
TRANSPOSED = named("Conv?DTranspose")
DEPTHWISE = named("DepthwiseConv?D")
SEPARABLE = named("SeparableConv?D")
LINEAR = (keras.layers.Dense, *CONVOLUTIONS, *TRANSPOSED)
ATTENTION = named("MultiHeadAttention GroupQueryAttention")
NORMALIZATIONS = named(
    "BatchNormalization GroupNormalization LayerNormalization "
    "RMSNormalization UnitNormalization"
)


def kernels(layer):
    """Returns the weights of a built layer that multiply what it reads.

    One of your own says so by a method `get_prunable_weights`.
    """
    if hasattr(layer, "get_prunable_weights"):
        return list(layer.get_prunable_weights())
    if isinstance(layer, SEPARABLE):
        return [layer.depthwise_kernel, layer.pointwise_kernel]
    if isinstance(layer, keras.layers.Embedding):
        return [layer.embeddings]
    if hasattr(layer, "recurrent_kernel"):
        return [layer.kernel, layer.recurrent_kernel]
    if isinstance(layer, (*LINEAR, *DEPTHWISE, keras.layers.EinsumDense)):
        return [layer.kernel]
    return []


def axes(layer, variable):
    """Returns the axes that a kernel sums over, and those that it makes.

    `None` for an unknown layer, and where these are the last two. A depthwise
    kernel sums over its positions.
    """
    ndim = len(variable.shape)
    if isinstance(layer, keras.layers.EinsumDense):
        return _axes_of_equation(layer.equation)
    if isinstance(layer, TRANSPOSED):
        return (ndim - 1,), (ndim - 2,)
    if isinstance(layer, DEPTHWISE) or _is_first(layer, variable):
        return tuple(range(ndim - 2)), (ndim - 2, ndim - 1)
    return None


def is_depthwise(layer, variable):
    """Returns whether every output of a kernel reads a single channel."""
    one_each = getattr(layer, "groups", 1) > 1 and variable.shape[-2] == 1
    return (
        isinstance(layer, DEPTHWISE) or _is_first(layer, variable) or one_each
    )


def _is_first(layer, variable):
    """Whether it is the first kernel of a separable convolution."""
    return variable is getattr(layer, "depthwise_kernel", None)


def _axes_of_equation(equation):
    terms, output = equation.split("->")
    labels = terms.split(",")[1]
    return (
        tuple(a for a, label in enumerate(labels) if label not in output),
        tuple(a for a, label in enumerate(labels) if label in output),
    )
