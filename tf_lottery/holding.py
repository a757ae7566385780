"""Holding masks on a model, reading them, rewinding under them."""

import warnings
from collections.abc import Mapping

import numpy as np
from keras import ops

from tf_lottery import constraints
from tf_lottery import copies
from tf_lottery import optimizers
from tf_lottery import snapshots
from tf_lottery import weights as weights_lib


def hold(model, masks):
    """Holds masks on a model: pruned weights are 0.0 from now on.

    The optimizer is wrapped by `tf_lottery.optimizers.Masked`; where the
    model has `tf_lottery.layers.Masked` layers, these take the masks. Weights
    that are not named keep the masks they have.

    Weights assigned by hand later (`set_weights`, `load_weights`) may bring
    pruned ones back; they are zero again at the end of the next `fit`, or at
    once by `hold(model, masks_of(model))`. After another `compile` the masks
    go on holding, but the new optimizer does not know them: its slots fill
    up, and a file saved then has none. The same call puts that right.

    Args:
        model: A built `keras.Model`, compiled unless its layers are wrapped.
        masks: Dict from weight key to boolean array, `True` = kept.

    Raises:
        ValueError: If the model is not built or not compiled, or a key, a
            shape or a frozen weight does not fit.
    """
    variables = check_masks(model, masks)
    check_holders(model, [variables[key] for key in masks])
    in_layers = {key for key in masks if _held_in_layer(variables[key])}
    for key in in_layers:
        constraints.keep_of(variables[key]).assign(masks[key])
    if in_layers:
        optimizers.project(
            model.optimizer if _is_compiled(model) else None,
            [variables[key] for key in in_layers],
        )
    rest = [
        (variables[key], mask)
        for key, mask in masks.items() if key not in in_layers
    ]
    if rest:
        optimizers.set_masks(model, optimizers.attach(model), rest)


def _held_in_layer(variable):
    keep = constraints.keep_of(variable)
    return keep is not None and keep.in_layer


def _is_compiled(model):
    return getattr(model, "optimizer", None) is not None and model.compiled


def check_holders(model, variables):
    """Raises unless layers or an optimizer can hold masks of `variables`."""
    if not all(map(_held_in_layer, variables)):
        optimizers.check_compiled(model)


def check_masks(model, masks):
    """Returns the model's variables; raises if masks do not fit them."""
    weights_lib.check_built(model)
    if not isinstance(masks, Mapping):
        raise ValueError(
            "Argument `masks` must be a dict from weight key to boolean "
            f"array. Received: {masks!r} (of type {type(masks)})"
        )
    variables = weights_lib.variables(model)
    for key, mask in masks.items():
        if key not in variables:
            raise ValueError(
                f"Model '{model.name}' has no weight '{key}'. "
                f"Expected keys among: {sorted(variables)}"
            )
        shape = tuple(variables[key].shape)
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != shape:
            raise ValueError(
                f"The mask of '{key}' must be a boolean array of shape "
                f"{shape}. Received: {mask.dtype} of shape {mask.shape}."
            )
        if not variables[key].trainable:
            raise ValueError(
                f"Weight '{key}' is frozen (not trainable), so no mask can be "
                "held on it. Set `layer.trainable = True` and compile again, "
                "or leave it out."
            )
    return variables


def masks_of(model):
    """Returns the masks held on a model, by weight key.

    Args:
        model: A built `keras.Model`.

    Returns:
        Dict from weight key to boolean array, `True` = kept; empty if the
        model holds none.
    """
    weights_lib.check_built(model)
    return {
        key: mask
        for key, variable in weights_lib.variables(model).items()
        if (mask := constraints.mask_of(variable)) is not None
    }


def capture(model, step):
    """Returns a `Snapshot` of all that training changes, but the masks.

    Args:
        model: A built `keras.Model`. If it is not compiled there is no state
            of an optimizer.
        step: Integer, the number of training steps done so far.
    """
    synchronise(model)
    agree(model)
    variables = weights_lib.variables(model)
    weights = dict(zip(variables, snapshots.capture(variables.values())))
    if not _is_compiled(model):
        return snapshots.Snapshot(step, weights)
    return snapshots.Snapshot(
        step,
        weights,
        snapshots.capture(optimizers.state(model.optimizer)),
        optimizers.name_of(model.optimizer),
    )


def synchronise(model):
    """Makes variables hold their values between two batches, under JAX."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


def agree(model):
    """Gives every replica of a `tf.distribute` strategy the first's values.

    Trained weights agree by themselves. Moving statistics may not: each
    replica sees its part of a batch, and what Keras saves is the first's.
    Training has to go on from what was saved, or it cannot be repeated.

    Args:
        model: A built `keras.Model`.
    """
    strategy = getattr(model, "distribute_strategy", None)
    if strategy is None or strategy.num_replicas_in_sync == 1:
        return
    for variable in weights_lib.variables(model).values():
        if not variable.trainable:
            variable.assign(ops.convert_to_tensor(variable))


def rewind(model, snapshot, masks=None):
    """Sets a model back to a snapshot; masks stay, or are replaced.

    Args:
        model: The `keras.Model` the snapshot was taken from.
        snapshot: `Snapshot`, see `capture`.
        masks: Dict from weight key to boolean array to hold afterwards.
            Defaults to the masks held now.
    """
    variables = weights_lib.variables(model)
    snapshots.restore(
        [variables[key] for key in snapshot.weights],
        snapshot.weights.values(),
    )
    snapshots.restore(optimizers.state(model.optimizer), snapshot.optimizer)
    hold(model, masks_of(model) if masks is None else masks)


def strip(model):
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
    _let_go(model)
    warnings.warn(
        f"{reason}. Its masks are taken off the model itself.", stacklevel=2
    )
    return model


def _let_go(model):
    for variable in weights_lib.variables(model).values():
        constraints.project(variable)
        constraints.detach(variable)
    if _is_compiled(model):
        optimizers.detach(model)
