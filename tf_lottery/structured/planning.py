"""Planning: which units of a model to keep, within a budget."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import keras
import numpy as np

from tf_lottery import criteria
from tf_lottery import graph as graph_lib
from tf_lottery import holding
from tf_lottery import weights as weights_lib
from tf_lottery.structured import budgets
from tf_lottery.structured import choosing
from tf_lottery.structured import costs as costs_lib
from tf_lottery.structured import plans
from tf_lottery.structured import scores as scores_lib
from tf_lottery.structured import searching
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types
from tf_lottery.weights import snapshots


@docs.filled
def plan(
    model: keras.Model,
    ratio: float | Mapping[str, float] | None = None,
    params: float | None = None,
    macs: float | None = None,
    bytes: float | None = None,
    latency_ms: float | None = None,
    criterion: criteria.Identifier = "magnitude",
    scope: Literal["global", "layer", "isomorphic", "search"] = "layer",
    round_to: int = 1,
    exclude: types.Names = (),
    masks: Mapping[str, np.ndarray] | None = None,
    data: types.Data | None = None,
    loss: types.Loss | None = None,
    snapshot: snapshots.Snapshot | Mapping[str, np.ndarray] | None = None,
    norm: Literal["l1", "l2", "joint"] | None = None,
    inputs: types.Arrays = None,
    max_ratio: float | Mapping[str, float] = 1.0,
) -> plans.Plan:
    """Plans which channels, units and heads of a model to remove.

    Units that go together (through residual additions, concatenations,
    grouped convolutions and so on) are found by tracing the graph, and each
    such class is kept or removed as a whole. Every layer that makes units
    keeps at least one of its own. The model is left as it is; see `shrink`.

    Exactly one of the first five arguments is the budget. `params`, `macs`
    and `bytes` are met by bisection over the ratio, so that the plan never
    exceeds them; what is reached is in `Plan.after`.

    Args:
        model: A built `keras.Model`: Sequential, Functional, or subclassed
            with a `call` that takes symbolic tensors.
        ratio: Float in [0, 1), the fraction of the units to remove, of every
            group, or of all that `scope` ranks together. A dict gives it by
            name of the group in `Plan.report`, or pattern: `{"*:heads": 0.5}`
            halves the heads; groups that no pattern means stay whole.
        params: Number of parameters at most; up to 1, a fraction of those
            the model has.
        macs: Number of multiply-accumulates of one sample at most, likewise.
        bytes: Number of bytes at most, four for each parameter, likewise.
        latency_ms: Float, milliseconds for one sample at most, measured by
            TFLite on one thread of this machine, the model's own time in
            turns.
        criterion: See `tf_lottery.criteria.get`, and `structured.score` for
            how the scores of weights become those of a unit. Those are
            divided by their mean over the group. Defaults to `"magnitude"`.
        scope: `"global"` ranks all units together, `"layer"` removes from
            every layer alike; layers whose units go together, a group, count
            as one. `"isomorphic"` ranks the units of groups together that
            have layers of the same kinds and shapes, such as those of like
            blocks, whose scores can be compared as they are (Fang et al.
            2024, arXiv:2407.04616). `"search"` gives every group a ratio of
            its own, such that the outputs on `data` change least for the
            budget: each is narrowed by itself to several ratios, and dynamic
            programming finds those that add up to the least (Frantar and
            Alistarh 2022, arXiv:2201.13096). Defaults to `"layer"`.
        round_to: Integer, the number of units that a layer keeps is a
            multiple of it, or all it has. Defaults to 1.
        exclude: Layer names or patterns (`"logits"`, `"block*/conv"`) whose
            units are left alone; what they read may still shrink.
        masks: Dict from weight key to boolean array; pruned weights count as
            zero for the criterion, and units that they leave no weight go
            before all others. Defaults to those held on the model.
        {{evidence}}
        norm: What the scores of a unit's weights come to, `"l1"`, `"l2"` or
            `"joint"`, see `structured.score`. Defaults to `None`: `"l2"` for
            magnitudes, `"l1"` for the others.
        inputs: Batch in the structure the model takes, of which the shapes
            are read to measure `latency_ms`. Defaults to `None`: 64 along
            axes that the model leaves open.
        max_ratio: Float in [0, 1], or dict of them as `ratio` may be: the
            fraction of the units of a group that may go at most, whatever
            the budget. Defaults to 1.

    Returns:
        A `Plan`.

    Raises:
        ValueError: If an argument is invalid, the model is not built or is
            no graph, or the budget cannot be met.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((4,)), keras.layers.Dense(8, name="fc"),
    ...     keras.layers.Dense(2, name="logits")])
    >>> plan = tfl.structured.plan(model, params=0.5)
    >>> plan.after["params"], plan.before["params"], plan.removed
    (23, 58, 5)
    """
    name, value = budgets.chosen(
        ratio=ratio, params=params, macs=macs, bytes=bytes,
        latency_ms=latency_ms,
    )
    checks.choice(
        "scope", scope, ("global", "layer", "isomorphic", searching.SCOPE)
    )
    _check_ratios(ratio, max_ratio, scope)
    checks.whole("round_to", round_to)
    checks.data("data", data)
    checks.data("inputs", inputs)
    checks.names("exclude", exclude)
    masks = holding.masks_of(model) if masks is None else masks
    holding.check_masks(model, masks)
    graph = graph_lib.trace(model)
    criterion = criteria.get(criterion)
    scores = scores_lib.score(
        graph, criterion, masks, data, loss, snapshot, norm
    )
    pinned, frozen = pinned_classes(graph, exclude, scores, criterion.name)
    costs = costs_lib.Costs(graph)
    searched = scope == searching.SCOPE
    chooser: choosing.Chooser | searching.Searcher = choosing.Chooser(
        graph, scores, "layer" if searched else scope, round_to, pinned,
        max_ratio, gone(graph, masks),
    )
    if searched:
        chooser = searching.Searcher(chooser, costs, name, data)
    arguments = {
        "criterion": criterion.name,
        "norm": norm,
        "scope": scope,
        "round_to": round_to,
        "max_ratio": max_ratio,
        "exclude": [exclude] if isinstance(exclude, str) else list(exclude),
    }
    return budgets.plan_within(
        name, value, chooser, costs, arguments, frozen, inputs
    )


def _check_ratios(ratio, max_ratio, scope):
    budgets.check_ratio(
        "max_ratio", max_ratio, "a float in [0, 1]", lambda v: 0 <= v <= 1
    )
    if isinstance(ratio, Mapping) and scope != "layer":
        raise ValueError(
            "A ratio by group takes `scope='layer'`, for others rank groups "
            f"together. Received: ratio={ratio}, scope='{scope}'."
        )


def pinned_classes(graph, exclude, scores, criterion):
    """Classes that stay although they could go, and entries for the report."""
    found = weights_lib.inspect(graph.model)
    patterns = weights_lib.resolve(found, exclude, name="exclude")
    by_variable = {id(w.variable): patterns.get(w.key) for w in found}
    pinned, frozen = set(), []
    excluded = np.zeros(graph.size, bool)
    for binding in graph.bindings:
        pattern = by_variable.get(id(binding.variable))
        if pattern is not None and binding.kind in ("out", "zero"):
            excluded[binding.ids] = True
    unscored = np.isnan(scores) & ~excluded
    for producer in graph.producers:
        ids = producer.ids[producer.ids != 0]
        for mask, reason in (
            (excluded, "excluded"),
            (unscored, f"no score by criterion '{criterion}'"),
        ):
            own = ids[mask[ids]]
            if len(own):
                pinned.update(own.tolist())
                frozen.append(dataclasses.asdict(graph_lib.Frozen(
                    producer.path, producer.role, len(own), reason
                )))
    return pinned, frozen


def gone(graph, masks):
    """Classes of which masks have left no weight."""
    found = np.zeros(graph.size, bool)
    kernels = scores_lib.kernels(graph)
    for binding in kernels:
        found[binding.ids] = True
    for binding in kernels:
        left = binding.ids
        if binding.key in masks:
            mask = np.moveaxis(np.asarray(masks[binding.key]), binding.axis, 0)
            left = left[mask.reshape(len(mask), -1).any(axis=1)]
        found[left] = False
    return found
