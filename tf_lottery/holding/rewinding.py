"""Going back to a moment of training, under masks."""

from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from tf_lottery import optimizers
from tf_lottery import weights as weights_lib
from tf_lottery.holding import models
from tf_lottery.utils import checks
from tf_lottery.weights import snapshots


def capture(model: keras.Model, step: int) -> snapshots.Snapshot:
    """Returns a `Snapshot` of all that training changes, but the masks.

    Args:
        model: A built `keras.Model`. If it is not compiled there is no state
            of an optimizer.
        step: Integer, the number of training steps done so far.
    """
    weights_lib.check_built(model)
    checks.whole("step", step, 0)
    synchronise(model)
    agree(model)
    variables = weights_lib.variables(model)
    weights = dict(zip(variables, snapshots.capture(variables.values())))
    if not models.is_compiled(model):
        return snapshots.Snapshot(step, weights)
    return snapshots.Snapshot(
        step,
        weights,
        snapshots.capture(optimizers.state(model.optimizer)),
        optimizers.name_of(model.optimizer),
    )


def synchronise(model: keras.Model) -> None:
    """Makes variables hold their values between two batches, under JAX."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


def agree(model: keras.Model) -> None:
    """Gives every replica of a `tf.distribute` strategy the first's values.

    Trained weights agree by themselves. Moving statistics may not: each
    replica sees its part of a batch, and what Keras saves is the first's.
    Training has to resume from what was saved, or it cannot be repeated.
    """
    strategy = getattr(model, "distribute_strategy", None)
    if strategy is None or strategy.num_replicas_in_sync == 1:
        return
    for variable in weights_lib.variables(model).values():
        if not variable.trainable:
            variable.assign(ops.convert_to_tensor(variable))


def rewind(
    model: keras.Model,
    snapshot: snapshots.Snapshot,
    masks: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Sets a model back to a snapshot; masks stay, or are replaced.

    Args:
        model: The `keras.Model` the snapshot was taken from.
        snapshot: `Snapshot`, see `capture`.
        masks: Dict from weight key to boolean array to hold afterwards.
            Defaults to the masks held now.
    """
    checks.kind(
        "snapshot", snapshot, snapshots.Snapshot,
        "a `tf_lottery.weights.snapshots.Snapshot`",
    )
    masks = models.masks_of(model) if masks is None else masks
    owners = models.check_masks(model, masks)
    models.place(model, masks, owners)
    snapshots.restore(
        [owners[key][0] for key in snapshot.weights],
        snapshot.weights.values(),
    )
    snapshots.restore(optimizers.state(model.optimizer), snapshot.optimizer)
    optimizers.project(model.optimizer, [owners[key][0] for key in masks])
