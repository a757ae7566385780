"""Activation functions, and which of them mix channels."""

import functools

import keras
from keras import activations
from keras import ops

_MIXING = ("softmax", "log_softmax", "sparsemax", "glu")
_ELEMENTWISE = (
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu "
    "hard_swish hard_tanh leaky_relu linear log_sigmoid mish relu relu6 "
    "selu sigmoid silu soft_shrink softplus softsign sparse_plus "
    "sparse_sigmoid squareplus swish tanh tanh_shrink threshold"
).split()
_NAMED = ("keras_hub.src.utils.keras_utils.gelu_approximate",)
_KNOWN = {
    getattr(module, name)
    for name in _ELEMENTWISE
    for module in (activations, ops)
    if hasattr(module, name)
}
_LAYERS = (
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
)


def mixing(activation):
    """Returns why units must stay behind an activation, `None` if not."""
    while isinstance(activation, functools.partial):
        activation = activation.func
    if activation is None or type(activation) in _LAYERS:
        return None
    name = getattr(activation, "__name__", type(activation).__name__)
    if f"{getattr(activation, '__module__', '')}.{name}" in _NAMED:
        return None
    if name in _MIXING:
        return f"activation '{name}' mixes channels"
    try:
        known = activation in _KNOWN
    except TypeError:  # not hashable
        known = False
    return None if known else f"unknown activation '{name}'"


def freeze_mixed(call, ids, *functions):
    """Freezes the units of a layer if one of its activations mixes them."""
    for function in functions:
        reason = mixing(function)
        if reason is not None:
            call.freeze(ids, f"{reason} of '{call.layer.name}'")
