"""Copies without masks: the zeros stay, what held them goes."""

import keras

from tf_lottery import internals
from tf_lottery.copies import making
from tf_lottery.copies.compiling import compile_like
from tf_lottery.graph import renewing

# Names of the transparent layers in configurations.
_WRAPPERS = ("tf_lottery>MaskedLayer", "tf_lottery>Quantized")


def strip(model):
    """Returns a copy of a model without `Masked` layers and optimizers.

    It is compiled if the model is, with the optimizer's state. Raises as
    `unwrap` does.
    """
    twin = _unwrapped(model)
    if model.compiled and getattr(model, "optimizer", None) is not None:
        compile_like(twin.model, model, variables=twin.variables)
    return twin.model


def unwrap(model: keras.Model) -> keras.Model:
    """Returns a copy of a model without `Masked` layers, zeros baked in.

    Args:
        model: A built `keras.Model`, left as it is.

    Returns:
        A `keras.Model` of plain layers, not compiled. It is of the class of
        `model` where that can be made from its configuration; otherwise it
        is Functional, and a warning says so.

    Raises:
        ValueError: If the model is not built, cannot be made from its
            configuration, or the code of a layer puts `Masked` around its
            parts.
    """
    return _unwrapped(model).model


def check_unwrapped(model):
    """Raises a `ValueError` if a model has `Masked` layers."""
    for layer in internals.layers.flat(model):
        if getattr(layer, "transparent", False):
            raise ValueError(
                f"Layer '{layer.name}' of model '{model.name}' is put into "
                "`tf_lottery.layers.Masked` by the code of the model or of "
                "one of its layers, so it cannot be taken out."
            )


def _unwrapped(model):
    twin = making.twin(model, _without_wrappers, _unwrapped_layer)
    check_unwrapped(twin.model)
    return twin


def _unwrapped_layer(layer):
    if getattr(layer, "transparent", False):
        layer = layer.layer
    return making.renewed(layer, _without_wrappers)


def _without_wrappers(config):
    """Takes `Masked` out of the configuration of a layer around layers."""
    def inside(config):
        while config.get("registered_name") in _WRAPPERS:
            config = config["config"]["layer"]
        return config

    return renewing.walked(config, inside)
