"""Tickets to train that a ticket is compared with."""

import dataclasses

import numpy as np

from tf_lottery import controls
from tf_lottery import masks as masks_lib
from tf_lottery import weights as weights_lib
from tf_lottery.pruning import allocation
from tf_lottery.verdicts import comparisons


def names(preset):
    """Returns the controls of a ticket that a preset asks for.

    Args:
        preset: `tf_lottery.experiments.Preset`.

    Returns:
        List of pairs of the name of the control and its number.
    """
    return [
        (comparison.key, number)
        for comparison in comparisons.of_flags(preset.compare)
        if comparison.rewind is None
        for number in range(
            preset.control_trials if comparison.sampled else 1
        )
    ]


def make(bench, name, number, ticket, dense):
    """Returns a control of a ticket, the `Ticket` to train.

    Args:
        bench: `tf_lottery.experiments.bench.Bench`.
        name: String, the name of the control.
        number: Integer, its number.
        ticket: `tf_lottery.Ticket` of a round.
        dense: Callable that returns the weights that the dense round
            trained to.
    """
    seed = bench.seed("controls", ticket.round, number)
    return MAKERS[name](bench, ticket, dense, seed)


def one_shot(ticket, model, dense, preset):
    """Returns the ticket that one pruning of the dense network gives.

    As many weights are kept as in the ticket, of each layer, or of all that
    are ranked together: those of the largest magnitude after the dense
    round. They start from where the ticket starts. Reference: Frankle and
    Carbin 2019, section 2, https://arxiv.org/abs/1803.03635.

    Args:
        ticket: `tf_lottery.Ticket` of a round.
        model: The `keras.Model` it is for.
        dense: Dict from weight key to the trained weights of round 0.
        preset: `tf_lottery.experiments.Preset`.

    Returns:
        `tf_lottery.Ticket`.
    """
    masks = ticket.masks
    whole = {key: np.ones_like(mask) for key, mask in masks.items()}
    found = weights_lib.inspect(model, preset.exclude)
    groups, keep = allocation.allocate(
        allocation.rates_of(found, masks, preset.rate),
        whole,
        preset.scope,
        lambda keys: masks_lib.count({key: masks[key] for key in keys}),
    )
    scores = {key: np.abs(dense[key]) for key in masks}
    chosen = masks_lib.select(scores, keep, whole, groups)
    return dataclasses.replace(
        ticket,
        masks=chosen,
        metrics={},
        verdict="",
        provenance={**ticket.provenance, "control": "one_shot"},
    )


MAKERS = {
    "random_reinitialize": lambda bench, ticket, dense, seed: (
        controls.random_reinitialize(ticket, bench.model, seed)
    ),
    "random_masks": lambda bench, ticket, dense, seed: (
        controls.random_masks(ticket, seed)
    ),
    "one_shot": lambda bench, ticket, dense, seed: (
        one_shot(ticket, bench.model, dense(), bench.preset)
    ),
}
