"""Puts `Masked` around the layers of a whole model, and takes it off."""

import keras
from keras import ops

from tf_lottery import constraints
from tf_lottery import weights
from tf_lottery.layers.masked import Masked


def wrap(model, exclude=(), include=(), snapshot=False):
    """Returns a copy of a model whose prunable layers hold their masks.

    For training loops of your own: whatever optimizer steps the copy, pruned
    weights stay zero. Weight keys are those of the original, which is left
    untouched; masks held there are held by the copy.

    Args:
        model: A built Sequential or Functional `keras.Model`. In a subclassed
            model put `Masked` around the layers in its constructor.
        exclude: Layer names or patterns not to wrap. Defaults to none.
        include: Embeddings to wrap. Defaults to none.
        snapshot: Boolean, see `Masked`. Defaults to `False`.

    Returns:
        A `keras.Model` with the same weights, not compiled.

    Raises:
        ValueError: If the model is subclassed, not built, or has nothing to
            prune.
    """
    prunable = weights.prunable(model, exclude, include)
    wanted = {id(variable) for variable in prunable.values()}

    def wrap_layer(layer):
        copy = _copy(layer, layer.get_config())
        variables = getattr(layer, "variables", ())
        if isinstance(layer, Masked) or not any(
            id(variable) in wanted for variable in variables
        ):
            return copy
        found = weights.inspect(layer)
        default = {w.key for w in found if w.reason is None}
        chosen = {w.key for w in found if id(w.variable) in wanted}
        return Masked(
            copy, sorted(default - chosen), sorted(chosen - default), snapshot
        )

    wrapped = _clone(model, wrap_layer, "wrapped")
    if snapshot:
        for layer in wrapped._flatten_layers():
            if isinstance(layer, Masked) and layer.snapshot:
                layer.take_snapshot()
    return wrapped


def unwrap(model):
    """Returns a copy of a model without `Masked` layers, zeros baked in.

    Args:
        model: A built Sequential or Functional `keras.Model`.

    Returns:
        A `keras.Model` of plain layers, not compiled.

    Raises:
        ValueError: If the model is subclassed or not built, or the code of a
            layer puts `Masked` around its parts.
    """
    weights.check_built(model)

    def unwrap_layer(layer):
        if isinstance(layer, Masked):
            layer = layer.layer
        return _copy(layer, _without_wrappers(layer.get_config()))

    plain = _clone(model, unwrap_layer, "copied")
    check_unwrapped(plain)
    return plain


def check_unwrapped(model):
    """Raises a `ValueError` if a model has `Masked` layers."""
    for layer in model._flatten_layers():
        if isinstance(layer, Masked):
            raise ValueError(
                f"Layer '{layer.name}' of model '{model.name}' is put into "
                "`tf_lottery.layers.Masked` by the code of the model or of "
                "one of its layers, so it cannot be taken out."
            )


def can_clone(model):
    """Whether a model is Sequential or Functional, so layers are all of it."""
    return isinstance(model, keras.Sequential) or hasattr(model, "operations")


def _clone(model, clone_layer, verb):
    if not can_clone(model):
        raise ValueError(
            f"A subclassed model cannot be {verb} layer by layer. Put "
            "`tf_lottery.layers.Masked` around its layers in the constructor, "
            f"or hold masks by `tf_lottery.hold`. Received: model={model}"
        )
    # Keras would compile the clone with a copy of the optimizer that holds
    # the masks of the original.
    compiled, model.compiled = model.compiled, False
    try:
        clone = keras.models.clone_model(
            model, clone_function=clone_layer, recursive=True
        )
    finally:
        model.compiled = compiled
    source = weights.variables(model)
    target = weights.variables(clone)
    if source.keys() != target.keys():
        raise ValueError(
            f"Model '{model.name}' cannot be {verb}: the configuration of its "
            "layers does not make the same weights again. Only one has: "
            f"{sorted(source.keys() ^ target.keys())}"
        )
    for key, variable in source.items():
        held = constraints.keep_of(variable)
        keep = constraints.keep_of(target[key])
        if held is None:
            # Two models of one array: JAX would give it away in both.
            target[key].assign(ops.copy(variable))
            continue
        # What a pruned weight is counts for nothing, whoever changed it.
        target[key].assign(constraints.masked(held.mask, variable))
        if keep is not None:
            keep.mask.assign(ops.copy(held.mask))
    return clone


def _copy(layer, config):
    # What a layer has adapted to is not in its configuration.
    if hasattr(layer, "adapt"):
        return layer
    return type(layer).from_config(config)


def _without_wrappers(config):
    """Takes `Masked` out of the configuration of a layer around layers."""
    if isinstance(config, (list, tuple)):
        return type(config)(map(_without_wrappers, config))
    if not isinstance(config, dict):
        return config
    if config.get("registered_name") == "tf_lottery>MaskedLayer":
        return _without_wrappers(config["config"]["layer"])
    return {key: _without_wrappers(value) for key, value in config.items()}
