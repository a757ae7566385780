"""A plan carried out: the small model, and whatever goes with the big one."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_lottery import graph as graph_lib
from tf_lottery import weights as weights_lib
from tf_lottery.runs import ticket as ticket_lib
from tf_lottery.structured import carrying
from tf_lottery.structured import classes
from tf_lottery.structured import equal_widths
from tf_lottery.structured import plans
from tf_lottery.structured import rebuilding
from tf_lottery.structured import verifying
from tf_lottery.structured.slices import Cut
from tf_lottery.utils import checks
from tf_lottery.utils import types
from tf_lottery.weights import snapshots


def shrink(
    model: keras.Model,
    plan: plans.Plan,
    inputs: types.Arrays = None,
    progress: Callable[[str], Any] | None = None,
) -> keras.Model:
    """Returns the small model that a plan describes, proved equal.

    It is a plain Keras model with the names of the big one. Its weights are
    the kept slices; compile configuration, state of the optimizer, trainable
    flags, states of random seeds and masks that are held go the same way, so
    that training follows the trajectory that the big model would follow with
    the kernels that read removed units held at zero.

    Where a root mean square counts the removed channels (`RMSNormalization`),
    the big model that the small one is equal to has all weights at zero that
    make them, too: kernels, biases and columns of embeddings. The scale and
    the epsilon of the normalisation are corrected for the number of channels,
    so that the small model is exactly that one. Other normalisations over
    channels keep their width.

    Layers whose code takes no open axes, as those of decoders that make
    masks, are read at one length. A small model of the big one's class takes
    any length again; a plain Functional one takes that length alone.

    Before it is returned it is compared with the big model in float64, under
    random weights and under those it has: see `Proof`.

    Args:
        model: A built `keras.Model`, left as it is.
        plan: `Plan`, made for this architecture.
        inputs: Batch in the structure the model takes, to compare on.
            Defaults to `None`: random values.
        progress: Function of a string, called before each step.

    Returns:
        A `keras.Model`, compiled if `model` is. It is of the class of
        `model`, with its methods and attributes, where that is made from
        layers, or has a configuration that can say how wide they are.

    Raises:
        ValueError: If the plan does not fit, or the model cannot be read as
            a graph; the message says why.
        VerificationError: If equality cannot be proved.

    Warns:
        UserWarning: If the small model is a plain Functional one instead.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((4,)), keras.layers.Dense(8, name="fc"),
    ...     keras.layers.Dense(2)])
    >>> plan = tfl.structured.plan(model, ratio=0.5)
    >>> small = tfl.structured.shrink(model, plan)
    >>> small.get_layer("fc").units
    4
    >>> tfl.structured.proof_of(small).error < 1e-10
    True
    """
    _check(plan)
    say = check_comparison(inputs, progress)
    graph = graph_lib.trace(model)
    return carry_out(graph, plan.kept(graph), inputs=inputs, say=say)


def check_comparison(inputs, progress):
    """Raises unless arguments of `shrink` fit; returns whom to tell."""
    checks.data("inputs", inputs)
    checks.optional(checks.takes, "progress", progress, 1, "a callable")
    return progress or (lambda text: None)


def _check(plan):
    checks.kind("plan", plan, plans.Plan, "a `tf_lottery.structured.Plan`")


def shrink_snapshot(
    snapshot: snapshots.Snapshot, model: keras.Model, plan: plans.Plan
) -> snapshots.Snapshot:
    """Returns a snapshot cut as a plan cuts the model it was taken from.

    Args:
        snapshot: `tf_lottery.weights.snapshots.Snapshot`.
        model: The `keras.Model` it was taken from, still whole.
        plan: `Plan`.

    Returns:
        `Snapshot` that fits `shrink(model, plan)`.

    Raises:
        ValueError: If the plan or the snapshot does not fit the model.
    """
    _check(plan)
    checks.kind(
        "snapshot", snapshot, snapshots.Snapshot,
        "a `tf_lottery.weights.snapshots.Snapshot`",
    )
    cut, keys = _cut_of(model, plan)
    return _renamed(carrying.snapshot(snapshot, model, cut), keys)


def shrink_ticket(
    ticket: ticket_lib.Ticket, model: keras.Model, plan: plans.Plan
) -> ticket_lib.Ticket:
    """Returns a ticket cut as a plan cuts the model it belongs to.

    A small model that is rewound to it is what the big one is after the same
    rewind, with the kernels that read removed units at zero.

    Args:
        ticket: `tf_lottery.Ticket`.
        model: The `keras.Model` it belongs to, still whole.
        plan: `Plan`.

    Returns:
        `Ticket` that fits `shrink(model, plan)`.

    Raises:
        ValueError: If the plan or the ticket does not fit the model.
    """
    _check(plan)
    ticket_lib.check(ticket)
    ticket.check_fits(model)
    cut, keys = _cut_of(model, plan)
    return cut_ticket(ticket, model, cut, keys)


def cut_ticket(ticket, model, cut, keys):
    """Returns a ticket with the slices and keys of a small model."""
    taken = carrying.snapshot(ticket.snapshot, model, cut)
    return dataclasses.replace(
        ticket,
        masks={
            keys.get(key, key): cut.array(key, mask)
            for key, mask in ticket.masks.items()
        },
        snapshot=_renamed(taken, keys),
    )


def carry_out(graph, kept, say, masks=None, changed=None, inputs=None):
    """Builds, fills and proves the small model of a graph.

    `masks` make up the reference of the proof and are baked in; `changed` is
    what is added to weights, such as a bias that takes up constants.
    """
    equal_widths.check(graph, kept)
    cut = Cut.of(graph, kept)
    exact = {}
    for key, variable in weights_lib.variables(graph.model).items():
        value = ops.convert_to_numpy(variable)
        if masks and key in masks:
            value = np.where(masks[key], value, np.zeros((), value.dtype))
        if changed and key in changed:
            value = value.astype("float64") + changed[key]
        exact[key] = cut.value(key, value)
    say("building the small model")
    twin = rebuilding.rebuild(graph, kept)
    carrying.weights(twin, graph.model, exact)
    proof = verifying.prove(graph, kept, cut, twin, exact, say, masks, inputs)
    plain, twin = twin, classes.in_class(twin, graph, kept, inputs)
    if twin is not plain:
        carrying.weights(twin, graph.model, exact)
    warn_of_class(
        twin.model, graph.model,
        "say how wide the layers of the small model are", 4,
    )
    carrying.training(twin, graph.model, cut)
    verifying.attach(twin.model, proof)
    return twin.model


def _cut_of(model, plan):
    graph = graph_lib.trace(model)
    kept = plan.kept(graph)
    return Cut.of(graph, kept), keys_of(graph, kept)


def keys_of(graph, kept):
    """Returns what the weights of a small model are called, by old key."""
    if graph_lib.functional.is_made_of_layers(graph.model):
        return {}
    twin = rebuilding.rebuild(graph, kept)
    return classes.in_class(twin, graph, kept).keys


def warn_of_class(small, model, what, level=3):
    """Warns where a model is of another class than the one it is made of."""
    if type(small) is not type(model):
        warnings.warn(
            f"The configuration of `{type(model).__name__}` cannot {what}. "
            f"'{small.name}' is a plain `{type(small).__name__}` model, "
            "without the methods and attributes of "
            f"`{type(model).__name__}`.",
            stacklevel=level,
        )


def _renamed(snapshot, keys):
    weights = {keys.get(k, k): v for k, v in snapshot.weights.items()}
    return dataclasses.replace(snapshot, weights=weights)
