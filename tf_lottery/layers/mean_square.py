"""Layer normalisation of what has no mean."""

from typing import Any

import keras
from keras import ops

from tf_lottery.graph.registry import register_rule
from tf_lottery.graph.rules import normalization


@keras.saving.register_keras_serializable("tf_lottery")
class MeanSquareNormalization(keras.layers.LayerNormalization):
    """A layer normalisation that does not take the mean out.

    `inputs / sqrt(mean(inputs ** 2) + epsilon) * gamma + beta`: what
    `keras.layers.RMSNormalization` computes (Zhang and Sennrich 2019,
    arXiv:1910.07467), with the shift that it lacks. Where inputs have no mean
    along the axis it is layer normalisation, with the same arguments and
    weights; `tf_lottery.structured.centre` puts it there.

    Example:

    >>> x = np.array([[1.0, -3.0, 2.0]])
    >>> layer = tfl.layers.MeanSquareNormalization()
    >>> expected = keras.layers.LayerNormalization()(x)
    >>> bool(np.abs(layer(x) - expected).max() < 1e-6)
    True
    """

    def call(self, inputs: Any) -> Any:
        dtype = keras.backend.result_type(inputs.dtype, "float32")
        inputs = ops.cast(inputs, dtype)
        mean = ops.mean(ops.square(inputs), self.axis, keepdims=True)
        outputs = inputs * ops.rsqrt(mean + self.epsilon)
        for variable, combine in (
            (self.gamma, ops.multiply), (self.beta, ops.add)
        ):
            if variable is not None:
                outputs = combine(outputs, ops.cast(variable, dtype))
        return ops.cast(outputs, self.compute_dtype)


@register_rule(MeanSquareNormalization)
def _mean_square(call):
    """Lets units of the last axis pass, rescaled."""
    layer = call.layer
    ids = normalization.over_axes(call, layer.axis, layer.gamma)
    call.bind(layer.beta, -1, call.along(call.inputs[0], -1), "pass")
    return ids
