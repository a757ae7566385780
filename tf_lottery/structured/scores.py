"""Scores of channels and units: a norm of what their weights score."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from tf_lottery import criteria
from tf_lottery import graph as graph_lib
from tf_lottery import holding
from tf_lottery.criteria import units
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types
from tf_lottery.weights import snapshots

NORMS = ("l1", "l2", "joint")


@docs.filled
def score(
    graph: graph_lib.Graph,
    criterion: criteria.Identifier = "magnitude",
    masks: Mapping[str, np.ndarray] | None = None,
    data: types.Data | None = None,
    loss: types.Loss | None = None,
    snapshot: snapshots.Snapshot | Mapping[str, np.ndarray] | None = None,
    norm: Literal["l1", "l2", "joint"] | None = None,
) -> np.ndarray:
    """Returns the score of every class of a graph; higher = keep.

    A weight is a member of a class where slices of it go with the class,
    kernels that make its units as well as kernels that read them; biases and
    the weights of normalisation do not count. The criterion scores the
    weights as everywhere else, a norm makes one number of each slice, and
    the score of a class is the mean over its members. `"fpgm"`, `"bn_scale"`
    and `"random"` score whole units, without a norm.

    Args:
        graph: `tf_lottery.graph.Graph`.
        criterion: See `tf_lottery.criteria.get`. Defaults to `"magnitude"`.
        masks: Dict from weight key to boolean array; pruned weights count as
            zero. Defaults to none.
        {{evidence}}
        norm: What the scores of a slice come to:

            - `"l1"`: their sum. Of magnitudes it is the L1 norm (Li et al.
              2017, https://arxiv.org/abs/1608.08710);
            - `"l2"`: the sum of their squares, for scores that are not
              negative. Of magnitudes it is Torch-Pruning's default (Fang et
              al. 2023, https://arxiv.org/abs/2301.12900);
            - `"joint"`: the square of their sum. Of `Taylor("signed")` it is
              the effect of removing the slice at once (Molchanov et al. 2019,
              eq. 9, https://arxiv.org/abs/1906.10771).

            Defaults to `None`: `"l2"` for magnitudes, `"l1"` for the others.

    Returns:
        Float array over the ids of the graph, NaN where there is no score.

    Raises:
        ValueError: If an argument is invalid, what the criterion needs is
            missing, or a score is not finite.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((1,)), keras.layers.Dense(2, name="fc"),
    ...     keras.layers.Dense(1, name="logits")])
    >>> model.set_weights([np.array([[1.0, -2.0]]), np.zeros(2),
    ...                    np.array([[3.0], [2.0]]), np.zeros(1)])
    >>> graph = tfl.graph.trace(model)
    >>> score(graph)[graph.ids].tolist()
    [5.0, 4.0]
    >>> score(graph, norm="l1")[graph.ids].tolist()
    [2.0, 2.0]
    """
    checks.kind("graph", graph, graph_lib.Graph, "a `tf_lottery.graph.Graph`")
    checks.data("data", data)
    checks.optional(checks.choice, "norm", norm, NORMS)
    if masks is not None:
        holding.check_masks(graph.model, masks)
    rule, masks = criteria.get(criterion), masks or {}
    scores = rule.score_units(graph, masks)
    if scores is None:
        found = _weights(graph, rule, masks, data, loss, snapshot)
        magnitude = isinstance(rule, criteria.Magnitude) and rule.order == 1
        norm = norm or ("l2" if magnitude else "l1")
        scores = _reduced(graph, rule, found, norm)
    _check(graph, scores, rule)
    return scores


def kernels(graph):
    """Returns the bindings that criteria count."""
    return [b for b in graph.bindings if not units.is_bias(b)]


def _weights(graph, rule, masks, data, loss, snapshot):
    """The scores of all kernels, those of pruned weights 0."""
    variables = {b.key: b.variable for b in kernels(graph)}
    masks = {
        key: masks.get(key, np.ones(tuple(variable.shape), bool))
        for key, variable in variables.items()
    }
    context = criteria.make_context(data, loss, snapshot, masks)
    found = rule(graph.model, variables, context)
    missing = [key for key in variables if key not in found]
    if missing:
        raise ValueError(
            "A criterion must score every weight it is given. Received no "
            f"scores of: {missing[:8]}"
        )
    return {
        key: np.where(mask, np.asarray(found[key]), 0)
        for key, mask in masks.items()
    }


def _reduced(graph, rule, found, norm):
    negative = [key for key, scores in found.items() if (scores < 0).any()]
    if norm == "l2" and negative:
        raise ValueError(
            "Units by norm 'l2' need scores that are not negative; use norm "
            "'l1', the sum. Received: negative scores by criterion "
            f"'{rule.name}' of {negative[:8]}"
        )

    def reduce(binding):
        scores, ids = found[binding.key].astype("float64"), binding.ids
        if norm == "l2":
            scores = np.square(scores)
        rest = [i for i in range(scores.ndim) if i != binding.axis]
        scores = scores.sum(axis=tuple(rest))
        if norm == "joint":
            # All slices of a class go at once.
            scores = scores * np.bincount(ids, scores, graph.size)[ids]
        return scores

    return units.mean(graph, [(b, reduce(b)) for b in kernels(graph)])


def _check(graph, scores, rule):
    wrong = np.isinf(scores)
    wrong[0] = False
    if wrong.any():
        keys = [b.key for b in graph.bindings if wrong[b.ids].any()]
        raise ValueError(
            "Scores must be finite; weights or data hold NaN or infinity. "
            f"Received: scores by criterion '{rule.name}' that are not, of "
            f"units of {', '.join(map(repr, keys[:8]))}."
        )
