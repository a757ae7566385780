"""State that a small model takes over besides weights."""

import dataclasses
import warnings

import keras
import numpy as np
from keras import ops

from tf_lottery import clusters as clusters_lib
from tf_lottery import copies
from tf_lottery import holding
from tf_lottery import optimizers
from tf_lottery import weights as weights_lib
from tf_lottery.structured import rebuilding
from tf_lottery.structured import slices
from tf_lottery.weights import snapshots

# Their step of one weight depends on other weights of the same kernel.
_MIXING = tuple(
    getattr(keras.optimizers, name)
    for name in ("Lamb", "Muon", "Adafactor")
    if hasattr(keras.optimizers, name)
)


def weights(twin, model, values):
    """Gives every variable of a small model its value and trainable flag."""
    source = weights_lib.variables(model)
    for key, variable in twin.variables.items():
        if values[key].shape != tuple(variable.shape):
            raise ValueError(
                f"Weight '{key}' of model '{model.name}' does not shrink as "
                f"its layer does. Received: slices of shape "
                f"{values[key].shape}. Expected: {tuple(variable.shape)}."
            )
        variable.assign(values[key])
        like = source.get(key, variable)
        if variable.trainable != like.trainable:
            variable.trainable = like.trainable
    rebuilding.finalize(twin.model)


def training(twin, model, cut, with_state=True):
    """Compiles the small model as the big one, with its state.

    That are the optimizer's, masks, and clusters where none is rescaled.
    """
    masks = {
        twin.keys[key]: cut.array(key, mask)
        for key, mask in holding.masks_of(model).items()
    }
    clusters = clusters_lib.held(weights_lib.variables(model))
    if not model.compiled or getattr(model, "optimizer", None) is None:
        if clusters or any(not mask.all() for mask in masks.values()):
            warnings.warn(
                f"Model '{model.name}' is not compiled, so the small model "
                "has the zeros of its masks, or the values of its clusters, "
                "but does not hold them. Compile it and call "
                "`tf_lottery.hold`, or `tf_lottery.cluster`.",
                stacklevel=4,
            )
        return
    copies.compile_like(twin.model, model, with_state=False)
    if with_state and model.optimizer.built:
        arrays = snapshots.capture(optimizers.state(model.optimizer))
        found = slices.optimizer_arrays(arrays, copies.labels(model), cut)
        copies.copy_state(twin.model, model, found, twin.variables)
    if masks:
        holding.hold(twin.model, masks)
    for key, found in clusters.items():
        if key not in cut.scales:
            index = cut.array(key, ops.convert_to_numpy(found.index))
            clusters_lib.attach(twin.variables[key], index, found.each)
    reasons = trajectory(model, cut) if cut.slices else ()
    if reasons:
        warnings.warn(
            "The small model computes the same, but further training will "
            "not follow the exact trajectory of the masked big model: "
            f"{'; '.join(reasons)}.",
            stacklevel=3,
        )


def snapshot(taken, model, cut):
    """Returns a snapshot of the big model cut to the small one.

    The optimizer's state is left out, so that a fresh one is made, where the
    model's optimizer is not the one it came from.
    """
    small = {
        key: cut.value(key, a).astype(a.dtype)
        for key, a in taken.weights.items()
    }
    state = _cut_state(taken, model, cut)
    return dataclasses.replace(
        taken,
        weights=small,
        optimizer=state,
        optimizer_name=taken.optimizer_name if state else "",
    )


def _cut_state(taken, model, cut):
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not optimizer.built or not taken.optimizer:
        return []
    shapes = [tuple(v.shape) for v in optimizers.state(optimizer)]
    if (
        taken.optimizer_name not in ("", optimizers.name_of(optimizer))
        or shapes != [tuple(np.shape(a)) for a in taken.optimizer]
        # The order of a subclassed model's variables is not its graph's.
        or not copies.can_clone(model)
    ):
        return []
    return slices.optimizer_arrays(
        taken.optimizer, copies.labels(model), cut
    )


def trajectory(model, cut):
    """Returns why a small model would train otherwise than the big one."""
    reasons = []
    inner = optimizers.innermost(model.optimizer)
    if isinstance(inner, _MIXING):
        reasons.append(
            f"{type(inner).__name__} mixes the weights of a kernel in a step"
        )
    reasons += [
        f"`{name}` measures gradients that are gone now"
        for name in ("clipnorm", "global_clipnorm")
        if getattr(inner, name, None) is not None
    ]
    if cut.scales:
        reasons.append(
            f"{', '.join(sorted(cut.scales))} are rescaled, for a layer "
            "divides by the number of its key dimensions or channels"
        )
    return reasons
