"""Sources: what functions accept as weights and as masks."""

from collections.abc import Mapping
from typing import TypeAlias

import keras
import numpy as np
from keras import ops

from tf_lottery import holding
from tf_lottery import weights as weights_lib
from tf_lottery.runs import ticket as ticket_lib
from tf_lottery.weights import snapshots

Weights: TypeAlias = (
    keras.Model
    | snapshots.Snapshot
    | ticket_lib.Ticket
    | Mapping[str, np.ndarray]
)
Masks: TypeAlias = (
    keras.Model | ticket_lib.Ticket | Mapping[str, np.ndarray]
)

_WEIGHTS = (
    "a dict from weight key to array, a `keras.Model`, a "
    "`tf_lottery.weights.snapshots.Snapshot` or a `tf_lottery.Ticket`"
)
_MASKS = (
    "a dict from weight key to boolean array, a `tf_lottery.Ticket` or a "
    "`keras.Model` that holds masks"
)


def weights(source, name="weights"):
    """Returns weights, of a ticket those it starts from, by weight key.

    `name` is the argument's in errors.
    """
    if isinstance(source, ticket_lib.Ticket):
        source = source.snapshot
    if isinstance(source, snapshots.Snapshot):
        return dict(source.weights)
    if isinstance(source, keras.layers.Layer):
        weights_lib.check_built(source)
        holding.synchronise(source)
        return {
            key: np.array(ops.convert_to_numpy(variable))
            for key, variable in weights_lib.variables(source).items()
        }
    if isinstance(source, Mapping):
        return {key: np.asarray(array) for key, array in source.items()}
    raise TypeError(
        f"Argument `{name}` must be {_WEIGHTS}. "
        f"Received: {name} of type {type(source)}"
    )


def masks(source, name="masks"):
    """Returns masks as a dict from weight key to boolean array."""
    found = masks_of(source)
    if isinstance(source, Mapping):
        found = {key: np.asarray(mask) for key, mask in source.items()}
    elif not found:
        raise TypeError(
            f"Argument `{name}` must be {_MASKS}. "
            f"Received: {name} of type {type(source)}"
        )
    for key, mask in found.items():
        if mask.dtype != bool:
            raise ValueError(
                f"Argument `{name}` must hold boolean arrays. Received: dtype "
                f"{mask.dtype} for {key!r}"
            )
    return found


def masks_of(source):
    """Returns the masks that come with weights, `None` if there are none."""
    if isinstance(source, ticket_lib.Ticket):
        return dict(source.masks)
    if isinstance(source, keras.layers.Layer):
        return holding.masks_of(source) or None
    return None


def under(masks, source, name):
    """Returns the weights that masks are of, as a dict like the masks."""
    arrays = weights(source, name)
    missing = sorted(masks.keys() - arrays.keys())
    if missing:
        raise ValueError(
            f"Argument `{name}` has no weights for some masks. Received: "
            f"masks of {missing}. Expected keys among: {sorted(arrays)}"
        )
    found = {key: arrays[key] for key in masks}
    check_alike(found, masks, (name, "masks"))
    return found


def named(tickets, name="tickets"):
    """Returns masks by name; those of a sequence are `"0"`, `"1"` and so on."""
    found = tickets
    if isinstance(tickets, (list, tuple)):
        found = dict(enumerate(tickets))
    elif not isinstance(tickets, Mapping):
        raise TypeError(
            f"Argument `{name}` must be a list of tickets, or a dict from "
            f"name to ticket. Received: {name} of type {type(tickets)}"
        )
    if not found:
        raise ValueError(
            f"Argument `{name}` must not be empty. Received: {name}={tickets!r}"
        )
    return {str(key): masks(value, name) for key, value in found.items()}


def check_alike(first, second, names):
    """Raises a `ValueError` unless two dicts have equal keys and shapes."""
    if first.keys() != second.keys():
        raise ValueError(
            f"Arguments `{names[0]}` and `{names[1]}` must have the same "
            "keys. Received: only one has "
            f"{sorted(first.keys() ^ second.keys())}"
        )
    for key, array in first.items():
        if np.shape(array) != np.shape(second[key]):
            raise ValueError(
                f"Arguments `{names[0]}` and `{names[1]}` must have the same "
                f"shapes. Received: {np.shape(array)} and "
                f"{np.shape(second[key])} for {key!r}"
            )
