"""The state of an optimizer apart from masks: what a rewind restores."""

import keras

from tf_lottery import snapshots
from tf_lottery.optimizers.masked import Masked
from tf_lottery.optimizers.masked import find
from tf_lottery.optimizers.slots import innermost


def state(optimizer):
    """Returns the variables that a rewind restores: all but the masks."""
    masked = find(optimizer)
    if masked is None:
        return list(optimizer.variables)
    if masked is optimizer:
        return list(masked.inner_optimizer.variables)
    masks = {id(v) for v in masked._variables}
    return [v for v in optimizer.variables if id(v) not in masks]


def name_of(optimizer):
    """Returns the class of an optimizer and of those around it, as a string.

    Whether one of them holds masks makes no difference.
    """
    names = []
    while optimizer is not None:
        if not isinstance(optimizer, Masked):
            names.append(keras.saving.get_registered_name(type(optimizer)))
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return "/".join(names)


def reset(optimizer, variables, step=0):
    """Sets an optimizer to the state of a new one that stands at a step.

    Args:
        optimizer: A built optimizer.
        variables: List of the trainable variables of its model.
        step: Integer, the number of training steps done. Defaults to 0.
    """
    masked = find(optimizer)
    inner = optimizer if masked is not optimizer else masked.inner_optimizer
    fresh = type(inner).from_config(inner.get_config())
    fresh.build(variables)
    snapshots.restore(state(optimizer), snapshots.capture(state(fresh)))
    innermost(optimizer)._iterations.assign(step)


def rewind_schedule(model, snapshot):
    """Sets step counter and learning rate back; slots start afresh.

    Args:
        model: A built and compiled `keras.Model`.
        snapshot: `Snapshot` of the rewinding point.
    """
    reset(model.optimizer, model.trainable_variables, snapshot.step)
    rate = innermost(model.optimizer)._learning_rate
    for variable, array in zip(state(model.optimizer), snapshot.optimizer):
        if variable is rate:
            variable.assign(array)
