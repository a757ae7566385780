"""Checks that a run is what it claims to be."""

import warnings

import numpy as np
from keras import ops

from tf_lottery import constraints
from tf_lottery import holding


def check_masks(variables, masks, round):
    """Raises a `RuntimeError` if a mask does not hold, naming the weight."""
    for key, mask in masks.items():
        held = constraints.mask_of(variables[key])
        lost = held is None or not np.array_equal(held, mask)
        nonzero = ops.convert_to_numpy(ops.not_equal(variables[key], 0))
        if lost or (nonzero > mask).any():
            revived = int(np.count_nonzero(nonzero[~mask]))
            raise RuntimeError(
                f"The mask of '{key}' no longer holds in round {round}: "
                f"{revived} of {int((~mask).sum())} pruned weights are not "
                f"zero{', and the mask was replaced' if lost else ''}. "
                "Something assigned weights after the last step, such as a "
                "callback that restores older weights (pass it by "
                "`round_callbacks`), `load_weights`, `set_weights`, or "
                "another `compile`, `hold` or `strip` during training."
            )


def is_finite(model, logs):
    """Returns whether the loss and all trained weights are finite."""
    return np.isfinite(float(logs.get("loss", 0.0))) and all(
        bool(ops.all(ops.isfinite(variable)))
        for variable in model.trainable_variables
    )


def keep_last_good_round(model, record, bad):
    """Sets a model back to the last round that did not diverge; warns of it."""
    good = bad - 1
    record.forget_round()
    kept = "No round was good."
    if good >= 0:
        ticket = record.ticket(good)
        holding.rewind(model, ticket.snapshot, ticket.masks)
        kept = (
            f"The model holds the ticket of round {good}, ready to train; "
            "`results` ends with that round."
        )
    elif record.shared_start is not None:
        holding.rewind(model, record.shared_start)
    warnings.warn(
        f"Round {bad} diverged: its loss or weights are not finite. "
        f"Training was stopped. {kept} A smaller learning rate or "
        "gradient clipping may help.",
        stacklevel=2,
    )
