"""Tickets to train that a ticket is compared with."""

import collections
import dataclasses

import numpy as np

from tf_lottery import controls
from tf_lottery import masks as masks_lib
from tf_lottery import pruning
from tf_lottery.pruning import allocation
from tf_lottery.pruning import prunable
from tf_lottery.pruning import rules
from tf_lottery.verdicts import comparisons

# That SNIP looks at.
_EXAMPLES = 1000


def names(preset):
    """Returns pairs, the name and the number of each control of a ticket."""
    return [
        (comparison.key, number)
        for comparison in comparisons.of_flags(preset.compare)
        if comparison.rewind is None
        for number in range(
            preset.control_trials if comparison.sampled else 1
        )
    ]


def make(bench, name, number, ticket, dense):
    """Returns the `Ticket` to train; `dense()` gives the dense weights."""
    seed = bench.seed("controls", ticket.round, number)
    return MAKERS[name](_Case(bench, ticket, dense, seed))


def one_shot(ticket, model, dense, preset, invert=False):
    """Returns the ticket that one pruning of the dense network gives.

    As many weights are kept as in the ticket, of each layer, or of all that are
    ranked together: those of the largest magnitude after the dense round;
    inverted, of the smallest, as a check: they must do worse than random masks.
    They start from where the ticket starts. References: Frankle and Carbin
    2019, section 2, https://arxiv.org/abs/1803.03635; inverted, Frankle et al.
    2021, section 4, https://arxiv.org/abs/2009.08576.
    """
    sign = -1 if invert else 1
    scores = {key: sign * np.abs(dense[key]) for key in ticket.masks}
    masks = ticket.masks
    whole = {key: np.ones_like(mask) for key, mask in masks.items()}
    weights = prunable.Prunable(model, rules.Rule(
        preset.scope, preset.pattern, preset.collapse, preset.exclude
    ))
    groups, keep = allocation.allocate(
        weights.rates(preset.rate), whole, preset.scope,
        lambda keys: masks_lib.count({key: masks[key] for key in keys}),
    )
    chosen = weights.select_feasible(scores, keep, whole, groups)
    return _control(ticket, chosen, "invert" if invert else "one_shot")


def before_training(ticket, bench, criterion):
    """Returns a ticket of equal density that SNIP or SynFlow chooses untrained.

    All weights are ranked together, where the ticket starts. SNIP looks at the
    first 1,000 training images. Reference: Frankle et al. 2021,
    https://arxiv.org/abs/2009.08576.
    """
    data = bench.data
    ones = {key: np.ones_like(mask) for key, mask in ticket.masks.items()}
    dataclasses.replace(ticket, masks=ones).apply(bench.model)
    masks = pruning.prune(
        bench.model, ticket.sparsity, criterion, exclude=bench.preset.exclude,
        data=(data.x_train[:_EXAMPLES], data.y_train[:_EXAMPLES]),
        pattern=bench.preset.pattern, collapse=bench.preset.collapse,
    )
    return _control(ticket, masks, criterion)


def check(preset, data):
    """Raises a `ValueError` if a preset takes examples that are not there."""
    needing = sorted({"snip", "synflow"} & set(preset.compare))
    if preset.max_barrier is not None:
        needing.append("max_barrier")
    if needing and not hasattr(data, "x_train"):
        raise ValueError(
            f"Values {needing} take data that fit into memory. "
            f"Received: dataset={preset.dataset!r}, which is streamed."
        )


def _control(ticket, masks, name):
    return dataclasses.replace(
        ticket,
        masks=masks,
        metrics={},
        verdict="",
        provenance={**ticket.provenance, "control": name},
    )


_Case = collections.namedtuple("_Case", ("bench", "ticket", "dense", "seed"))
MAKERS = {
    "random_reinitialize": lambda of: controls.random_reinitialize(
        of.ticket, of.bench.model, of.seed
    ),
    "random_masks": lambda of: controls.random_masks(of.ticket, of.seed),
    "signed_reinitialize": lambda of: controls.random_reinitialize(
        of.ticket, of.bench.model, of.seed, signed=True
    ),
    "reshuffle": lambda of: controls.reshuffle(of.ticket, of.seed),
    "constant": lambda of: controls.constant(of.ticket, of.seed),
    "invert": lambda of: one_shot(
        of.ticket, of.bench.model, of.dense(), of.bench.preset, invert=True
    ),
    "snip": lambda of: before_training(of.ticket, of.bench, "snip"),
    "synflow": lambda of: before_training(of.ticket, of.bench, "synflow"),
    "one_shot": lambda of: one_shot(
        of.ticket, of.bench.model, of.dense(), of.bench.preset
    ),
}
