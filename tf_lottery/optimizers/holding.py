"""Puts `Masked` on a model, and takes it off."""

import weakref

import keras

from tf_lottery import internals
from tf_lottery.optimizers.masked import Masked
from tf_lottery.optimizers.masked import find


def attach(model: keras.Model) -> Masked:
    """Makes sure that the optimizer of a compiled model enforces masks.

    The model's optimizer, with all it has learned, becomes the inner one;
    inside a `LossScaleOptimizer`, the one that this scales the loss for.

    Raises:
        ValueError: If the model is not compiled.
    """
    check_compiled(model)
    if find(model.optimizer) is None:
        with internals.models.strategy_scope(model):
            optimizer = _wrapped(model.optimizer)
        internals.models.set_optimizer(model, optimizer)
        internals.models.forget_trace(model)
        find(optimizer).unshare(model.trainable_variables)
    masked = find(model.optimizer)
    masked.model = weakref.ref(model)
    return masked


def _wrapped(optimizer):
    if not hasattr(optimizer, "inner_optimizer"):
        return Masked(optimizer)
    optimizer.inner_optimizer = _wrapped(optimizer.inner_optimizer)
    return optimizer


def record_gradients(model, variables, frequency):
    """Keeps gradients of pruned weights too; returns the `Masked` optimizer."""
    masked = find(model.optimizer)
    with internals.models.strategy_scope(model):
        masked.record_gradients(variables, frequency)
    internals.models.forget_trace(model)
    return masked


def forget_gradients(model):
    """Ends `record_gradients`; does nothing if it has not begun."""
    masked = find(model.optimizer)
    if masked is not None and masked._dense_gradients is not None:
        masked._dense_gradients = None
        internals.models.forget_trace(model)


def detach(model: keras.Model) -> None:
    """Takes the `Masked` optimizer off a model; its inner one comes back."""
    if find(model.optimizer) is not None:
        optimizer = _unwrapped(model.optimizer)
        internals.models.set_optimizer(model, optimizer)
        internals.models.forget_trace(model)


def _unwrapped(optimizer):
    if isinstance(optimizer, Masked):
        return optimizer.inner_optimizer
    optimizer.inner_optimizer = _unwrapped(optimizer.inner_optimizer)
    return optimizer


def check_compiled(model: keras.Model) -> None:
    """Raises a `ValueError` unless a model's optimizer can hold masks."""
    if not model.compiled or getattr(model, "optimizer", None) is None:
        raise ValueError(
            f"Model '{model.name}' must be compiled to be trained with masks: "
            "the optimizer enforces them. Call `model.compile(optimizer, "
            "loss)` first, or use `tf_lottery.layers.wrap(model)` in a "
            "training loop without an optimizer of the model's own."
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
