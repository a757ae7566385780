"""Pooling, padding and resizing: every channel on its own."""

from tf_lottery.graph.registry import register_rule
from tf_lottery.internals.graphs import operation_classes
from tf_lottery.utils import layer_kinds


@register_rule(
    *layer_kinds.named(
        "AveragePooling?D MaxPooling?D AdaptiveAveragePooling?D "
        "AdaptiveMaxPooling?D UpSampling?D ZeroPadding?D Cropping?D "
        "CenterCrop Resizing"
    ),
    *operation_classes(
        "MaxPool", "AveragePool", "AdaptiveMaxPool", "AdaptiveAveragePool",
        "Resize",
    ),
)
def spatial(call):
    """Channels pass, positions are mixed."""
    x = call.inputs[0]
    ids = call.along(x, call.channel_axis)
    return call.replace(x, ids, call.channel_axis)


@register_rule(*layer_kinds.named("GlobalAveragePooling?D GlobalMaxPooling?D"))
def global_pooling(call):
    """Channels pass, positions are gone or of size 1."""
    x = call.inputs[0]
    for mask in call.inputs[1:]:
        call.freeze_mixed(mask)
    ids = call.along(x, call.channel_axis)
    if call.layer.keepdims:
        return call.replace(x, ids, call.channel_axis)
    return ids
