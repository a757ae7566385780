"""The slots of an optimizer: what it keeps for each weight."""

import collections
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_lottery import constraints
from tf_lottery import internals

# Made anew in each step, so that nothing of it goes on.
_PASSING = {(keras.optimizers.Adafactor, "velocity")}


def chain(optimizer):
    """Yields an optimizer, `None` for none, and those inside it."""
    while optimizer is not None:
        yield optimizer
        optimizer = getattr(optimizer, "inner_optimizer", None)


def innermost(
    optimizer: keras.optimizers.Optimizer
) -> keras.optimizers.Optimizer:
    """Returns the optimizer inside all wrappers."""
    *_, last = chain(optimizer)
    return last


def leaves(
    optimizer: keras.optimizers.Optimizer
) -> list[keras.optimizers.Optimizer]:
    """Returns the optimizers that step weights, as a list.

    There is one, except inside a `keras.optimizers.MultiOptimizer`.
    """
    optimizer = innermost(optimizer)
    parts = getattr(optimizer, "optimizers", None)
    return [optimizer] if parts is None else list(map(innermost, parts))


def slots_of(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]
) -> list[list[tuple[str, keras.Variable]]]:
    """Returns a list of (slot name, slot variable) for each variable.

    Keras names a slot by the path of its variable and the slot's own name.
    Paths may repeat in a subclassed model; slots are made in the order of
    the variables, which tells them apart.
    """
    paths = collections.defaultdict(list)
    for index, variable in enumerate(variables):
        paths[variable.path.replace("/", "_")].append(index)
    used, slots = collections.Counter(), [[] for _ in variables]
    for slot in optimizer.variables:
        path = slot.name
        while path and path not in paths:
            path = path.rpartition("_")[0]
        if not path:
            continue
        order = used[slot.name]
        used[slot.name] += 1
        if order < len(paths[path]):
            index = paths[path][order]
            if tuple(slot.shape) == tuple(variables[index].shape):
                slots[index].append((slot.name[len(path) + 1:], slot))
    return slots


def initial_values(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """Returns the value that each kind of slot starts with, by slot name."""
    probe = keras.Variable(np.zeros((1, 1), "float32"), name="probe")
    fresh = type(optimizer).from_config(optimizer.get_config())
    fresh.build([probe])
    return {
        name: float(ops.convert_to_numpy(slot).reshape(-1)[0])
        for name, slot in slots_of(fresh, [probe])[0]
    }


def project(
    optimizer: keras.optimizers.Optimizer | None,
    variables: Sequence[keras.Variable],
) -> None:
    """Sets pruned weights to zero and their slots to the initial value.

    Without an optimizer, or where it does not train them, there are no slots.
    """
    for variable in variables:
        constraints.project(variable)
    if optimizer is None:
        return
    wanted = {id(variable) for variable in variables}
    for leaf in leaves(optimizer):
        if leaf.built:
            _project_slots(leaf, wanted)


def _project_slots(optimizer, wanted):
    variables = internals.optimizers.variables(optimizer)
    if not any(id(variable) in wanted for variable in variables):
        return
    initial = initial_values(optimizer)
    for variable, slots in zip(variables, slots_of(optimizer, variables)):
        if id(variable) not in wanted:
            continue
        mask = constraints.keep_of(variable).mask
        for name, slot in slots:
            if (type(optimizer), name) in _PASSING:
                continue
            value = constraints.masked(mask, slot)
            if initial.get(name):
                start = ops.full(slot.shape, initial[name], slot.dtype)
                value = ops.where(ops.cast(mask, "bool"), value, start)
            slot.assign(value)
