"""Streams: tensors that are read by nothing but layer normalisations.

A layer normalisation takes the mean over channels out. Where all that writes
into a stream has none, there is nothing to take out, and a root mean square
does the same.
"""

import collections
import dataclasses

import keras
import numpy as np

from tf_lottery.graph import flows
from tf_lottery.graph import trials

# A projection takes a square of the width, a block between two of them twelve.
_NORMS_FOR_ONE = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Streams:
    """The streams of a model whose mean can be taken out.

    Layer normalisations (`norms`) read them, `weights` write into them along
    their last axis, `tied` embeddings do both. Others stay for `reasons`.
    By id, variables that write have `scales` to take up; operations that are
    not linear in what they write are `projected` for a normalisation.
    """

    norms: list
    weights: list
    tied: list
    reasons: list
    scales: dict
    projected: dict


def find(graph, held=()):
    """Finds the streams of a model; variables `held` keep their values."""
    walk = flows.Walk()
    for variable in held:
        reason = f"weight '{variable.path}' holds a mask or clusters"
        walk.freeze_weights([variable], reason)
    inputs = [
        walk.fresh(x, "the model's input") for x in graph.view.graph.inputs
    ]
    for flow in walk.run(graph.view, inputs):
        walk.units.freeze(flow.id, "it is an output of the model")
    _settle(walk)
    return _found(walk)


def _settle(walk):
    """Freezes what no factor and no projection makes good."""
    norms = collections.Counter(map(walk.root, walk.norms.values()))
    others = collections.Counter(
        walk.root(id_) for id_, _ in walk.others.values()
    )
    for id_, reason in walk.others.values():
        root = walk.root(id_)
        if _NORMS_FOR_ONE * others[root] > norms[root]:
            walk.units.freeze(id_, reason)
    for place, (name, gamma, inner, outer) in walk.scaled.items():
        known = walk.units.reasons(np.append(inner, walk.written_by(gamma)))
        why = _why_not_taken_up(walk, norms, place) or next(
            filter(None, known), None
        )
        if why:
            walk.units.freeze(outer, why)
            walk.units.freeze(inner, why)


def _why_not_taken_up(walk, norms, place):
    """Why a layer scale is more than a factor of what writes, or `None`."""
    name, gamma, inner, outer = walk.scaled[place]
    root = walk.root(inner)
    others = [
        id_ for other, (_, _, *ends) in walk.scaled.items()
        for id_ in ends if other != place
    ]
    if norms[root] or root in map(walk.root, [outer, *others]):
        return f"{name} scales what is read elsewhere"
    if walk.readers[id(gamma)] > 1:
        return f"{name} has a scale that is read elsewhere"
    if not all(
        trials.commutes(*call, trials.scaled)
        for id_, call in walk.linear if walk.root(id_) == root
    ):
        return f"{name} scales what does not take up factors"
    return None


def _found(walk):
    norms, reasons, readers = [], [], {}
    written = {
        walk.root(id_): why for operation, (id_, why) in walk.others.items()
        if isinstance(operation, keras.layers.LayerNormalization)
    }
    for layer, id_ in walk.norms.items():
        (reason,) = walk.units.reasons(id_)
        if reason is None:
            norms.append(layer)
            readers[walk.root(id_)] = layer
        else:
            # A post-norm stream is read by other layers as well.
            reasons.append((layer, written.get(walk.root(id_), reason)))
    gammas = {
        walk.root(inner): gamma
        for _, gamma, inner, outer in walk.scaled.values()
        if walk.root(outer) in readers
    }
    roots = {place: walk.root(id_) for place, (_, id_) in walk.weights.items()}
    weights = {
        place: walk.weights[place][0] for place, root in roots.items()
        if root in readers or root in gammas
    }
    return Streams(
        norms,
        list(weights.values()),
        [x for x in walk.tied if id(x.embeddings) in weights],
        reasons,
        {p: gammas[root] for p, root in roots.items() if root in gammas},
        {
            operation: readers[walk.root(id_)]
            for operation, (id_, _) in walk.others.items()
            if walk.root(id_) in readers
        },
    )
