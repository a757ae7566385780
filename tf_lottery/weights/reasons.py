"""Reasons why weights of a layer can be pruned or not."""

import keras

from tf_lottery.utils import layer_kinds

EMBEDDING = "embedding, pruned only on request"
DEPTHWISE = "depthwise, pruned only on request"
ON_REQUEST = (EMBEDDING, DEPTHWISE)
NORMALISATION, VECTOR = "normalisation", "bias or vector"
_NO_RULE = "no rule for "
_NORMALIZATIONS = (
    *layer_kinds.NORMALIZATIONS,
    *layer_kinds.named("SpectralNormalization Normalization"),
)


def reason(layer, variable):
    """Returns why a weight is not pruned, `None` if it can be.

    The reasons of `ON_REQUEST` are lifted by `include`.
    """
    if not any(variable is v for v in layer_kinds.kernels(layer)):
        if isinstance(layer, _NORMALIZATIONS):
            return NORMALISATION
        if len(variable.shape) < 2 or variable.name == "bias":
            return VECTOR
        if not variable.trainable:
            return "frozen"
        return f"{_NO_RULE}{type(layer).__name__}.{variable.name}"
    if not variable.trainable:
        return "frozen"
    if isinstance(layer, keras.layers.Embedding):
        return EMBEDDING
    depthwise = layer_kinds.is_depthwise(layer, variable)
    return DEPTHWISE if depthwise else None


def is_unknown(reason):
    """Returns whether a weight is left alone because no rule knows it."""
    return reason is not None and reason.startswith(_NO_RULE)
