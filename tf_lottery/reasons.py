"""Which weights of a layer can be pruned, and why the others are not."""

import keras

EMBEDDING = "embedding, pruned only on request"
DEPTHWISE = "depthwise, pruned only on request"
ON_REQUEST = (EMBEDDING, DEPTHWISE)
_NO_RULE = "no rule for "
_DEPTHWISE_LAYERS = (
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)
_KERNEL_LAYERS = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    *_DEPTHWISE_LAYERS,
)
_SEPARABLE_LAYERS = (
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)
_NORMALIZATION_LAYERS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.SpectralNormalization,
    keras.layers.Normalization,
)


def reason(layer, variable):
    """Returns why a weight is not pruned, or `None` if it can be.

    Args:
        layer: The `keras.layers.Layer` that owns the weight.
        variable: `keras.Variable`, the weight.

    Returns:
        String or `None`. Those of `ON_REQUEST` are lifted by `include`.
    """
    if not any(variable is v for v in _own_prunable(layer)):
        if isinstance(layer, _NORMALIZATION_LAYERS):
            return "normalisation"
        if len(variable.shape) < 2 or variable.name == "bias":
            return "bias or vector"
        if not variable.trainable:
            return "frozen"
        return f"{_NO_RULE}{type(layer).__name__}.{variable.name}"
    if not variable.trainable:
        return "frozen"
    if isinstance(layer, keras.layers.Embedding):
        return EMBEDDING
    return DEPTHWISE if _is_depthwise(layer, variable) else None


def is_unknown(reason):
    """Returns whether a weight is left alone because no rule knows it."""
    return reason is not None and reason.startswith(_NO_RULE)


def _own_prunable(layer):
    if hasattr(layer, "get_prunable_weights"):
        return list(layer.get_prunable_weights())
    if isinstance(layer, _SEPARABLE_LAYERS):
        return [layer.depthwise_kernel, layer.pointwise_kernel]
    if isinstance(layer, keras.layers.Embedding):
        return [layer.embeddings]
    if hasattr(layer, "recurrent_kernel"):
        return [layer.kernel, layer.recurrent_kernel]
    if isinstance(layer, _KERNEL_LAYERS):
        return [layer.kernel]
    return []


def _is_depthwise(layer, variable):
    """Whether every output of a kernel reads a single channel."""
    if isinstance(layer, _SEPARABLE_LAYERS):
        return variable is layer.depthwise_kernel
    one_each = getattr(layer, "groups", 1) > 1 and variable.shape[-2] == 1
    return isinstance(layer, _DEPTHWISE_LAYERS) or one_each
