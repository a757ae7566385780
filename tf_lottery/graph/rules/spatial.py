"""Pooling, padding and resizing: every channel on its own."""

import keras

from tf_lottery.graph.registry import register_rule
from tf_lottery.internals.graphs import operation_classes


def _layers(pattern, ranks=(1, 2, 3)):
    names = [pattern.format(rank) for rank in ranks]
    return [
        getattr(keras.layers, name)
        for name in names
        if hasattr(keras.layers, name)
    ]


@register_rule(
    *_layers("AveragePooling{}D"),
    *_layers("MaxPooling{}D"),
    *_layers("AdaptiveAveragePooling{}D"),
    *_layers("AdaptiveMaxPooling{}D"),
    *_layers("UpSampling{}D"),
    *_layers("ZeroPadding{}D"),
    *_layers("Cropping{}D"),
    keras.layers.CenterCrop,
    keras.layers.Resizing,
    *operation_classes(
        *"MaxPool AveragePool AdaptiveMaxPool AdaptiveAveragePool Resize"
        .split()
    ),
)
def spatial(call):
    """Channels pass, positions are mixed."""
    x = call.inputs[0]
    ids = call.along(x, call.channel_axis)
    return call.replace(x, ids, call.channel_axis)


@register_rule(
    *_layers("GlobalAveragePooling{}D"), *_layers("GlobalMaxPooling{}D")
)
def global_pooling(call):
    """Channels pass, positions are gone or of size 1."""
    x = call.inputs[0]
    for mask in call.inputs[1:]:
        call.freeze_mixed(mask)
    ids = call.along(x, call.channel_axis)
    if call.layer.keepdims:
        return call.replace(x, ids, call.channel_axis)
    return ids
