"""Puts `Masked` on a model, and takes it off."""

import contextlib

import keras

from tf_lottery import constraints
from tf_lottery.optimizers.masked import Masked
from tf_lottery.optimizers.masked import find


def attach(model):
    """Makes sure that a compiled model's optimizer can hold masks.

    The model's optimizer, with all it has learned, becomes the inner one.
    Masks that stayed on variables when `compile` replaced an older `Masked`
    are taken over.

    Args:
        model: A built and compiled `keras.Model`.

    Returns:
        The model's `Masked` optimizer, built.

    Raises:
        ValueError: If the model is not compiled.
    """
    check_compiled(model)
    masked = find(model.optimizer)
    if masked is None:
        with _scope(model):
            masked = Masked(model.optimizer)
        _set_optimizer(model, masked)
    if not model.optimizer.built:
        with _scope(model):
            model.optimizer.build(model.trainable_variables)
    orphans = [
        (variable, constraints.mask_of(variable))
        for index, variable in enumerate(masked._trainable_variables)
        if (keep := constraints.keep_of(variable)) is not None
        and not keep.in_layer
        and masked._masks[index] is not keep
    ]
    set_masks(model, masked, orphans)
    return masked


def set_masks(model, masked, masks):
    """Sets masks; retraces the model's train step if it is new to a mask."""
    with _scope(model):
        is_new = masked.set_masks(masks)
    if is_new:
        _forget_trace(model)


def record_gradients(model, variables, frequency):
    """Keeps gradients of pruned weights too, see `Masked.record_gradients`.

    Args:
        model: A model whose optimizer holds masks.
        variables: List of variables with a mask.
        frequency: Integer, the number of steps from one to the next.

    Returns:
        The `Masked` optimizer.
    """
    masked = find(model.optimizer)
    with _scope(model):
        masked.record_gradients(variables, frequency)
    _forget_trace(model)
    return masked


def forget_gradients(model):
    """Ends `record_gradients`; does nothing if it has not begun."""
    masked = find(model.optimizer)
    if masked is not None and masked._dense_gradients is not None:
        masked.forget_gradients()
        _forget_trace(model)


def detach(model):
    """Takes the `Masked` optimizer off a model; its inner one comes back."""
    masked = find(model.optimizer)
    if masked is None:
        return
    if masked is model.optimizer:
        _set_optimizer(model, masked.inner_optimizer)
    else:
        outer = model.optimizer
        while outer.inner_optimizer is not masked:
            outer = outer.inner_optimizer
        outer.inner_optimizer = masked.inner_optimizer
        _set_optimizer(model, model.optimizer)


def check_compiled(model):
    """Raises a `ValueError` unless a model's optimizer can hold masks."""
    if not model.compiled or getattr(model, "optimizer", None) is None:
        raise ValueError(
            f"Model '{model.name}' must be compiled before masks can be held: "
            "the optimizer holds them. Call `model.compile(optimizer, loss)` "
            "first, or use `tf_lottery.layers.wrap(model)` in a training loop "
            "without an optimizer of the model's own."
        )
    distribution = keras.distribution.distribution()
    if distribution is not None and not isinstance(
        distribution, keras.distribution.DataParallel
    ):
        raise ValueError(
            "Masks can be held where every device has all weights. Received: "
            f"keras.distribution.{type(distribution).__name__}. Expected: "
            "`keras.distribution.DataParallel`, or no distribution."
        )


def _set_optimizer(model, optimizer):
    """Replaces the optimizer of a compiled model and nothing else.

    `compile` would also drop metrics and their state. The compile
    configuration must know the new optimizer, or a saved file would be
    loaded with the old one; and `compile` on loading must not put a second
    `LossScaleOptimizer` around a chain that has one.
    """
    model.optimizer = optimizer
    config = model._compile_config.config
    config["optimizer"] = optimizer
    while optimizer is not None:
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            config["auto_scale_loss"] = False
        optimizer = getattr(optimizer, "inner_optimizer", None)
    _forget_trace(model)


def _scope(model):
    """Where variables are made that each device of a model has a copy of."""
    strategy = getattr(model, "distribute_strategy", None)
    if strategy is None:
        return contextlib.nullcontext()
    return strategy.scope()


def _forget_trace(model):
    """Makes a model trace its train step anew, if it has a traced one."""
    if model.train_function is not None:
        model.make_train_function(force=True)
