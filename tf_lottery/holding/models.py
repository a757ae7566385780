"""Holding masks on a model, and reading them."""

import contextlib
import warnings
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping

import keras
import numpy as np

from tf_lottery import constraints
from tf_lottery import copies
from tf_lottery import internals
from tf_lottery import optimizers
from tf_lottery import weights as weights_lib
from tf_lottery.holding import homes


def hold(model: keras.Model, masks: Mapping[str, np.ndarray]) -> None:
    """Holds masks on a model: pruned weights are 0.0 from now on.

    A mask belongs to its weight and stays there, whatever happens to the
    model: another `compile` or optimizer, freezing and unfreezing, a new
    model around its layers, `set_weights`, and every file that Keras writes.
    Where the model is compiled, its optimizer is wrapped by
    `tf_lottery.optimizers.Masked`, which keeps what is pruned out of
    momentum and clipping, too; `compile` does so for a model that holds
    masks already. The mask of a frozen weight waits until it is trained.

    Weights that are not named keep the masks they have.

    Args:
        model: A built `keras.Model`.
        masks: Dict from weight key to boolean array, `True` = kept.

    Raises:
        ValueError: If the model is not built, or a key or a shape does not
            fit. The model is then as it was.
    """
    hold_known(model, masks, check_masks(model, masks))


def hold_known(
    model: keras.Model,
    masks: Mapping[str, np.ndarray],
    owners: weights_lib.Owners,
) -> None:
    """Holds masks that fit a model, as `hold` does, without a walk through it.
    """
    place(model, masks, owners)
    optimizer = model.optimizer if is_compiled(model) else None
    optimizers.project(optimizer, [owners[key][0] for key in masks])


def place(
    model: keras.Model,
    masks: Mapping[str, np.ndarray],
    owners: weights_lib.Owners | None = None,
) -> None:
    """Puts masks on weights; optimizer slots stay as they are."""
    internals.models.install()
    owners = weights_lib.owners(model) if owners is None else owners
    new = [
        key for key in masks if constraints.keep_of(owners[key][0]) is None
    ]
    with internals.models.strategy_scope(model):
        for key in new:
            variable, layer = owners[key]
            constraints.attach(variable)
            homes.settle(layer, variable)
    for key, mask in masks.items():
        constraints.keep_of(owners[key][0]).assign(mask)
        constraints.project(owners[key][0])
    if is_compiled(model) and not _all_in_layers(model):
        optimizers.attach(model)
        if not model.optimizer.built:
            with internals.models.strategy_scope(model):
                model.optimizer.build(model.trainable_variables)
        if new:
            internals.models.forget_trace(model)


def _all_in_layers(model):
    return all(
        keep.in_layer for variable in model.variables
        if (keep := constraints.keep_of(variable)) is not None
    )


def is_compiled(model: keras.Model) -> bool:
    """Whether a model has an optimizer."""
    return getattr(model, "optimizer", None) is not None and model.compiled


def on_compile(model: keras.Model) -> None:
    """Enforces the masks of a model by the optimizer it was compiled with.

    Keras calls it at the end of `compile`, see `internals.models`.
    """
    if not is_compiled(model):
        return
    if any(constraints.keep_of(v) is not None for v in model.variables):
        settle(model)
        if not _all_in_layers(model):
            optimizers.attach(model)
        return
    masked = optimizers.find(model.optimizer)
    is_loading = internals.models.is_loading()
    if masked is not None and masked.expected and not is_loading:
        masked.has_arrived()
        warnings.warn(
            f"Model '{model.name}' holds no masks: it is a clone, or was "
            "loaded from a legacy .h5 file, and its optimizer held masks on "
            "other weights. Call `tf_lottery.hold(model, "
            "tf_lottery.masks_of(original))`, or save as .keras.",
            stacklevel=5,
        )


def hold_shared(model: keras.Model) -> bool:
    """Holds the masks that a model has got through another one.

    Called before the next step of a model that was traced without them, see
    `internals.models`.

    Returns:
        Whether the model holds masks.
    """
    masks = masks_of(model) if model.built else {}
    if masks:
        hold(model, masks)
    return bool(masks)


def settle(model: keras.Model) -> None:
    """Follows what Keras has done to weights with masks.

    Warns:
        UserWarning: If a weight was replaced by one of another shape, or its
            layer adds something to it (LoRA).
    """
    lost, added = [], []
    for key, (variable, layer) in weights_lib.owners(model).items():
        lost += [
            f"{key.rpartition('/')[0]}/{name}" for name in homes.move(layer)
        ]
        if constraints.keep_of(variable) and _has_lora(layer, variable):
            added.append(key)
    if lost:
        warnings.warn(
            f"Model '{model.name}' no longer holds masks of {lost}: these "
            "weights were replaced by others of another shape.",
            stacklevel=3,
        )
    if added:
        warnings.warn(
            f"The layers of {added} add LoRA to their pruned kernels, so what "
            "they compute with, and what is saved, has no zeros. Prune after "
            "LoRA is merged, or enable it on layers that are not pruned.",
            stacklevel=3,
        )


def _has_lora(layer, variable):
    kernel = getattr(layer, "_kernel", None)
    return kernel is variable and getattr(layer, "lora_enabled", False)


def check_masks(
    model: keras.Model, masks: Mapping[str, np.ndarray]
) -> weights_lib.Owners:
    """Returns the owners of a model's weights; raises if masks do not fit."""
    weights_lib.check_built(model)
    owners = weights_lib.owners(model)
    variables = {key: variable for key, (variable, _) in owners.items()}
    weights_lib.check_masks(model, masks, variables)
    for key in masks:
        variable, layer = owners[key]
        if internals.layers.is_state(layer, variable):
            raise ValueError(
                f"'{key}' is a state of its layer that no optimizer trains, "
                "so it takes no mask. Expected: weights."
            )
    return owners


def masks_of(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns the masks held on a model, by weight key.

    Args:
        model: A built `keras.Model`.

    Returns:
        Dict from weight key to boolean array, `True` = kept; empty if the
        model holds none.
    """
    weights_lib.check_built(model)
    settle(model)
    return {
        key: mask
        for key, variable in weights_lib.variables(model).items()
        if (mask := constraints.mask_of(variable)) is not None
    }


def strip(model: keras.Model) -> keras.Model:
    """Lets go of the masks: a plain Keras model with the zeros baked in.

    Args:
        model: A built `keras.Model`. It is left as it is and a copy is
            returned, unless it is subclassed and cannot be made again from
            its configuration (`get_config`): then it is changed and
            returned, and a warning says so.

    Returns:
        A `keras.Model` without any object of tf_lottery, compiled if `model`
        is; it loads where tf_lottery is not installed. It is of the class of
        `model`, with its methods and attributes, where that can be made from
        its configuration; of another Functional class it is a plain
        Functional model, and a warning says so.

    Raises:
        ValueError: If the model is not built, or its own code puts
            `tf_lottery.layers.Masked` around layers.
    """
    weights_lib.check_built(model)
    try:
        return copies.strip(model)
    except copies.NotCopyable as error:
        if copies.can_clone(model):
            raise
        reason = str(error)
    copies.check_unwrapped(model)
    let_go(model)
    if is_compiled(model):
        optimizers.detach(model)
    warnings.warn(
        f"{reason}. Its masks are taken off the model itself.", stacklevel=2
    )
    return model


def let_go(model: keras.Model, keys: Iterable[str] | None = None) -> None:
    """Takes masks off weights, all unless some keys are given.

    Pruned weights are zero, and may be trained.
    """
    for key, (variable, layer) in weights_lib.owners(model).items():
        if keys is None or key in keys:
            constraints.project(variable)
            _take_off(variable, layer)


@contextlib.contextmanager
def aside(model: keras.Model) -> Iterator[None]:
    """Puts the masks of a model aside, and back in the end.

    Weights that are assigned meanwhile go through none, and masks that are
    held meanwhile are gone afterwards. Layers that hold masks of their own
    keep holding some.
    """
    owners = weights_lib.owners(model)
    held = [(v, layer, constraints.keep_of(v)) for v, layer in owners.values()]
    in_layers = {
        keep: constraints.mask_of(v) for v, _, keep in held
        if keep is not None and keep.in_layer
    }
    for variable, layer, keep in held:
        if keep not in in_layers:
            _take_off(variable, layer)
    try:
        yield
    finally:
        for variable, layer, keep in held:
            if keep in in_layers:
                keep.assign(in_layers[keep])
                continue
            _take_off(variable, layer)
            if keep is not None:
                constraints.put(variable, keep)
                homes.settle(layer, variable)


def _take_off(variable, layer):
    constraints.detach(variable)
    homes.leave(layer, variable)
