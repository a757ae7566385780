"""Layers of KerasHub that have weights of their own, or a cache."""

from keras import ops

from tf_lottery.graph.registry import full_name
from tf_lottery.graph.registry import register_named
from tf_lottery.graph.rules import normalization

_HUB = "keras_hub.src"
# What they call their scale, and what they add to it.
NORMS = {
    f"{_HUB}.models.gemma.rms_normalization.RMSNormalization": ("scale", 1.0),
    f"{_HUB}.models.gemma3.gemma3_layers.RMSNormalization": ("scale", 1.0),
    f"{_HUB}.models.llama.llama_layernorm.LlamaLayerNorm": ("scale", 0.0),
    f"{_HUB}.models.mistral.mistral_layer_norm.MistralLayerNormalization": (
        "scale", 0.0
    ),
    f"{_HUB}.models.qwen.qwen_layernorm.QwenLayerNorm": ("scale", 0.0),
    f"{_HUB}.models.t5.t5_layer_norm.T5LayerNorm": ("weight", 0.0),
}


@register_named(*NORMS)
def mean_square(call):
    """Divides by the root of a mean square."""
    name, shift = NORMS[full_name(type(call.layer))]
    scale = getattr(call.layer, name)
    return normalization.mean_square(call, scale, shift)


def make_portable(layer):
    """Makes a normalisation compute in the precision of its layer."""
    if full_name(type(layer)) not in NORMS:
        return
    name, shift = NORMS[full_name(type(layer))]

    def call(x):
        mean = ops.mean(ops.square(x), axis=-1, keepdims=True)
        scale = getattr(layer, name) + shift
        return x * ops.rsqrt(mean + layer.epsilon) * scale

    layer.call = call


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


@register_named(
    f"{_HUB}.models.vit.vit_layers.ViTPatchingAndEmbedding",
    f"{_HUB}.models.deit.deit_layers.DeiTEmbeddings",
)
def patches(call):
    """Patches, tokens and a table of positions, all of one width."""
    layer = call.layer
    call.freeze(call.inputs[0], f"{call.name} reads images")
    out = call.fresh(layer.hidden_dim)
    for variable in layer.weights:
        call.bind(variable, -1, out, "out")
    call.vanishes = True
    call.edit_count("hidden_dim", out)
    return call.place(out, -1, 3)
