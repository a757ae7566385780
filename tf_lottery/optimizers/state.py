"""The state of an optimizer apart from masks: what a rewind restores."""

from collections.abc import Sequence

import keras

from tf_lottery import internals
from tf_lottery.optimizers.masked import Masked
from tf_lottery.optimizers.masked import find
from tf_lottery.optimizers.slots import chain
from tf_lottery.optimizers.slots import innermost
from tf_lottery.optimizers.slots import leaves
from tf_lottery.weights import snapshots


def state(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Returns the variables that a rewind restores: none that `Masked` adds."""
    masked = find(optimizer)
    added = () if masked is None else masked.added()
    ids = {id(variable) for variable in added}
    return [v for v in optimizer.variables if id(v) not in ids]


def name_of(optimizer: keras.optimizers.Optimizer) -> str:
    """Returns the class of an optimizer and of those around it, as a string.

    Whether one of them holds masks makes no difference.
    """
    return "/".join(
        keras.saving.get_registered_name(type(each))
        for each in chain(optimizer) if not isinstance(each, Masked)
    )


def reset(
    optimizer: keras.optimizers.Optimizer,
    variables: Sequence[keras.Variable],
    step: int = 0,
) -> None:
    """Sets an optimizer to the state of a new one that stands at a step."""
    fresh = type(optimizer).from_config(optimizer.get_config())
    fresh.build(variables)
    snapshots.restore(state(optimizer), snapshots.capture(state(fresh)))
    for part in (innermost(optimizer), *leaves(optimizer)):
        internals.optimizers.batches(part).assign(step)


def rewind_schedule(model: keras.Model, snapshot: snapshots.Snapshot) -> None:
    """Sets step counter and learning rate back; slots start afresh."""
    reset(model.optimizer, model.trainable_variables, snapshot.step)
    rates = {
        id(internals.optimizers.learning_rate(leaf))
        for leaf in leaves(model.optimizer)
    }
    for variable, array in zip(state(model.optimizer), snapshot.optimizer):
        if id(variable) in rates:
            variable.assign(array)
