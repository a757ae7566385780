"""Compaction: what unstructured masks have made dead is removed."""

import collections
import dataclasses
import weakref
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tf_lottery import weights as weights_lib
from tf_lottery.runs import ticket as ticket_lib
from tf_lottery.structured import costs as costs_lib
from tf_lottery.structured import dead
from tf_lottery.structured import plans
from tf_lottery.structured import shrinking
from tf_lottery.structured.slices import Cut
from tf_lottery.utils import checks
from tf_lottery.utils import types

_REPORTS = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class Compaction:
    """What was removed from a model by `compact`.

    Attributes:
        plan: `Plan` of the units that are kept.
        unread: Integer, number of units removed because nothing reads them.
        constant: Integer, number of units removed because they do not vary.
        layers: Dict from layer path to dict of `"units"`, `"params"` and
            `"macs"` that were removed from it.
    """

    plan: plans.Plan
    unread: int
    constant: int
    layers: dict[str, dict[str, int]]

    def __str__(self):
        lines = [
            f"{self.unread} units that nothing reads and {self.constant} "
            "that do not vary were removed.",
            f"{'layer':<40} {'units':>8} {'params':>12} {'MACs':>14}",
        ]
        lines += [
            f"{path:<40} {of['units']:>8,} {of['params']:>12,} "
            f"{of['macs']:>14,}"
            for path, of in self.layers.items()
        ]
        return "\n".join(lines)


def compact(
    model: keras.Model,
    masks: Mapping[str, np.ndarray] | None = None,
    inputs: types.Arrays = None,
    progress: Callable[[str], Any] | None = None,
) -> keras.Model:
    """Returns a model without the units that unstructured masks made dead.

    Dead is a unit that no kept weight leads from to the output, and one that
    no kept weight leads to from the input. The latter has a constant value at
    inference: zero is removed, another value is added to the bias of the
    layers that read it where that is exact (dense layers, convolutions
    without padding), and otherwise the unit stays. That goes on until nothing
    is dead. Every layer keeps at least one unit.

    Nothing is lost: the result is proved to compute what the masked model
    does. Masks, the state of the optimizer and everything else `shrink`
    carries are carried; `compact_ticket` does so for a ticket. Training goes
    on along the same trajectory where only units went that nothing read; one
    that does not vary had a bias that could still learn, which is gone.

    Args:
        model: A built `keras.Model`, left as it is.
        masks: Dict from weight key to boolean array, `True` = kept. Defaults
            to those held on the model; where none are, weights that are zero
            count as pruned.
        inputs: See `shrink`.
        progress: See `shrink`.

    Returns:
        A `keras.Model`, compiled if `model` is, and of its class as
        `shrink` says. `report_of` tells what was
        removed, `proof_of` how it was proved.

    Raises:
        ValueError: If masks do not fit, or the model is no graph.
        VerificationError: If equality cannot be proved.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((4,)), keras.layers.Dense(8, name="fc"),
    ...     keras.layers.Dense(2, name="logits")])
    >>> mask = np.ones((8, 2), bool)
    >>> mask[:5] = False
    >>> small = tfl.structured.compact(model, {"logits/kernel": mask})
    >>> small.get_layer("fc").units, tfl.structured.report_of(small).unread
    (3, 5)
    """
    say = shrinking.check_comparison(inputs, progress)
    say("looking for dead units")
    found = dead.Dead(model, masks, inputs)
    small = shrinking.carry_out(
        found.graph, found.kept, say, found.masks, found.taken_up(), inputs
    )
    _REPORTS[small] = _report(found)
    return small


def compact_ticket(
    ticket: ticket_lib.Ticket,
    model: keras.Model,
    masks: Mapping[str, np.ndarray] | None = None,
    inputs: types.Arrays = None,
) -> ticket_lib.Ticket:
    """Returns a ticket cut as `compact` cuts the model it belongs to.

    A compacted model that is rewound to it computes what the masked model
    computes after the same rewind, and trains on.

    Args:
        ticket: `tf_lottery.Ticket`.
        model: The `keras.Model` it belongs to, still whole, with the weights
            it has when it is compacted.
        masks: As given to `compact`. Defaults to those of the ticket.
        inputs: As given to `compact`.

    Returns:
        `Ticket` that fits `compact(model, masks)`.

    Raises:
        ValueError: If the ticket does not fit the model.

    Warns:
        UserWarning: If a unit that is constant in the model is not so, or
            cannot be taken up, at the rewinding point.
    """
    ticket_lib.check(ticket)
    checks.data("inputs", inputs)
    ticket.check_fits(model)
    masks = ticket.masks if masks is None else masks
    found = dead.Dead(model, masks, inputs)
    cut = Cut.of(found.graph, found.kept)
    keys = shrinking.keys_of(found.graph, found.kept)
    before = ticket.snapshot.weights
    added = found.taken_up(before) if found.constant.any() else {}
    weights = {
        key: value + added[key].astype(value.dtype) if key in added else value
        for key, value in before.items()
    }
    snapshot = dataclasses.replace(ticket.snapshot, weights=weights)
    ticket = dataclasses.replace(ticket, snapshot=snapshot)
    return shrinking.cut_ticket(ticket, model, cut, keys)


def report_of(model: keras.Model) -> Compaction:
    """Returns what was removed from a model that `compact` returned.

    Args:
        model: `keras.Model`, the very object it returned.

    Returns:
        A `Compaction`.

    Raises:
        ValueError: If there is none.
    """
    weights_lib.check_layer(model)
    if model not in _REPORTS:
        raise ValueError(
            f"Model '{model.name}' has no report in this process. Expected a "
            "model returned by `structured.compact`."
        )
    return _REPORTS[model]


def _report(found):
    """The `Compaction` that removes what was found dead."""
    graph, kept = found.graph, found.kept
    costs = costs_lib.Costs(graph)
    before, after = costs.count(graph.kept()), costs.count(kept)
    plan = plans.plan_of(graph, kept, before, after, {"criterion": "dead"})
    old, new = costs.by_layer(graph.kept()), costs.by_layer(kept)
    units = collections.Counter()
    for producer in graph.producers:
        units[producer.path] += int((~kept[producer.ids]).sum())
    layers = {
        path: {
            "units": units[path],
            "params": old[path]["params"] - new[path]["params"],
            "macs": old[path]["macs"] - new[path]["macs"],
        }
        for path in old
    }
    constant = int((found.constant & ~kept).sum())
    unread = before["units"] - after["units"] - constant
    layers = {path: of for path, of in layers.items() if any(of.values())}
    return Compaction(plan, unread, constant, layers)
