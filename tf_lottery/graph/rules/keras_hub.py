"""Layers of KerasHub that have weights of their own, or a cache."""

from tf_lottery.graph.registry import register_named
from tf_lottery.graph.rules import normalization

_HUB = "keras_hub.src"
_NORMS = tuple(
    f"{_HUB}.{name}"
    for name in (
        "models.llama.llama_layernorm.LlamaLayerNorm",
        "models.mistral.mistral_layer_norm.MistralLayerNormalization",
        "models.qwen.qwen_layernorm.QwenLayerNorm",
    )
)
_SHIFTED_NORMS = (
    f"{_HUB}.models.gemma.rms_normalization.RMSNormalization",
    f"{_HUB}.models.gemma3.gemma3_layers.RMSNormalization",
)


@register_named(*_NORMS)
def mean_square(call):
    """Divides by the root of a mean square."""
    return normalization.mean_square(call, call.layer.scale)


@register_named(*_SHIFTED_NORMS)
def shifted_mean_square(call):
    """Multiplies by one more than its scale."""
    return normalization.mean_square(call, call.layer.scale, 1.0)


@register_named(f"{_HUB}.models.t5.t5_layer_norm.T5LayerNorm")
def weighted_mean_square(call):
    """Divides by the root of a mean square."""
    return normalization.mean_square(call, call.layer.weight)


@register_named(f"{_HUB}.models.mit.mit_layers.DropPath")
def drop_path(call):
    """Drops whole examples in training."""
    x = call.inputs[0]
    call.vanishes = x.vanishes
    return x.ids


@register_named(f"{_HUB}.layers.modeling.position_embedding.PositionEmbedding")
def position_embedding(call):
    """One vector for each position, as wide as what it is added to."""
    x = call.inputs[0]
    ids = call.along(x, -1)
    call.vanishes = True
    call.bind(call.layer.position_embeddings, 1, ids, "out")
    return call.replace(x, ids, -1)
