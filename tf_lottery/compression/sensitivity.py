"""Sensitivity: the loss of a model with one part of it pruned at a time."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from tf_lottery import criteria
from tf_lottery import structured
from tf_lottery import weights as weights_lib
from tf_lottery.analysis import evaluating
from tf_lottery.compression import arguments
from tf_lottery.compression import measuring
from tf_lottery.compression import prefixes
from tf_lottery.compression import readings as readings_lib
from tf_lottery.graph import tracing
from tf_lottery.patterns import Pattern
from tf_lottery.pruning import allocation
from tf_lottery.pruning import prunable
from tf_lottery.pruning import rules
from tf_lottery.structured import randomising
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types


@docs.filled
def sensitivity(
    model: keras.Model,
    data: types.Data,
    sparsities: Sequence[float] = (0.25, 0.5, 0.75, 0.9),
    criterion: criteria.Identifier = "magnitude",
    pattern: str | Pattern = "unstructured",
    channels: bool = True,
    loss: types.Loss | None = None,
    exclude: types.Names = (),
    include: types.Names = (),
    batch_size: int = 512,
) -> readings_lib.Sensitivity:
    """Measures what each part of a model costs to prune, all else as it is.

    Every weight is pruned by itself to every sparsity, and every group of
    channels, without training, and the loss is measured. That takes one
    evaluation each: use as many examples as the accuracy asked for needs. A
    group of channels is removed by zeroing what reads it, which computes the
    same as `structured.shrink`.

    Parts that are pruned together may cost more, or less, than their sum.

    Reference: Li et al. 2017, section 3.2, https://arxiv.org/abs/1608.08710;
    Han et al. 2015, section 4.1, https://arxiv.org/abs/1506.02626.

    Args:
        model: A built `keras.Model`. It is left as it was.
        data: Arrays `(x, y)`, a batched `tf.data.Dataset` or a
            `keras.utils.PyDataset`, to measure the loss on, and for criteria
            that look at data. All of it is kept in memory.
        sparsities: List of floats in (0, 1). Defaults to 0.25, 0.5, 0.75 and
            0.9.
        criterion: See `tf_lottery.criteria.get`. One that moves the weights
            that stay, such as `"obc"`, moves them here. Defaults to
            `"magnitude"`.
        pattern: What of a weight is kept or removed together, see
            `tf_lottery.prune`. No more is removed than it allows, such as
            half by `"2:4"`. Defaults to `"unstructured"`.
        channels: Boolean, whether groups of channels are measured too.
            Defaults to `True`.
        loss: Loss function or its name. Defaults to `None`: the one the
            model was compiled with.
        {{layers}}
        batch_size: Integer, for data that are arrays. Defaults to 512.

    Returns:
        A `tf_lottery.compression.Sensitivity`.

    Raises:
        ValueError: If an argument is invalid, there is nothing to prune,
            the model's channels cannot be traced, or its loss is not finite.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((2,)), keras.layers.Dense(2, name="fc"),
    ...     keras.layers.Dense(1, name="out")])
    >>> model.set_weights([np.eye(2), np.zeros(2),
    ...                    np.array([[2.0], [1.0]]), np.zeros(1)])
    >>> x, y = np.array([[1.0, 1.0]]), np.array([[3.0]])
    >>> found = tfl.sensitivity(model, (x, y), [0.5], loss="mse")
    >>> [(r.name, r.loss) for r in found.readings]
    [('fc/kernel', 0.0), ('out/kernel', 1.0), ('fc', 1.0)]
    >>> found.largest(increase=0.1)
    {'fc/kernel': 0.5, 'out/kernel': 0.0}
    """
    sparsities = _checked(sparsities)
    checks.data("data", data)
    checks.flag("channels", channels)
    evaluate = evaluating.Evaluator(model, loss, batch_size, "sensitivity")
    batches = list(evaluate.batches(data))
    prefix = prefixes.Prefix(
        model, [arguments.finite("data", x) for x, _, _ in batches]
    )
    dense = evaluate.of(prefix.outputs(), batches)
    if dense.loss is None or not math.isfinite(dense.loss):
        raise ValueError(
            "Sensitivity needs a loss, and a finite one. Received: loss "
            f"{dense.loss} of model '{model.name}'. Compile the model, or "
            "pass `loss=`; check its weights and the data for NaN."
        )
    weights = prunable.Prunable(
        model, rules.Rule("layer", pattern, "keep-one", exclude, include)
    )
    rule = criteria.get(criterion)
    skipped = {w.key: w.reason for w in weights.weights if w.reason}
    parts = [_weights(weights, sparsities, rule, data, loss)]
    if channels:
        graph = tracing.trace(model)
        skipped |= {f.path: f.reason for f in graph.frozen}
        parts.append(_channels(graph, sparsities, rule, data, loss, exclude))
    readings = []
    for part in parts:
        for kind, name, sparsity, kept, changes in part:
            variables, values = zip(*changes) if changes else ((), ())
            prefix.start_at(variables)
            with measuring.restored(variables, values):
                now = evaluate.of(prefix.outputs(), batches)
            finite = math.isfinite(now.loss)
            readings.append(readings_lib.Reading(
                kind, name, kept.size, sparsity,
                1 - np.count_nonzero(kept) / kept.size,
                now.loss if finite else math.inf, now.accuracy,
            ))
    return readings_lib.Sensitivity(
        model.name, dense.loss, dense.accuracy, dense.examples,
        tuple(readings), skipped,
    )


def _checked(sparsities):
    if not isinstance(sparsities, (list, tuple)) or not sparsities:
        checks.refuse("sparsities", sparsities, "a list of floats in (0, 1)")
    for sparsity in sparsities:
        checks.number(
            "sparsities", sparsity, "numbers in (0, 1)", lambda v: 0 < v < 1
        )
    return sorted({float(sparsity) for sparsity in sparsities})


def _weights(weights, sparsities, rule, data, loss):
    """Yields kind, name, sparsity, mask, and variables with new values."""
    before = weights.masks()
    context = criteria.make_context(data, loss, None, before)
    scores = rule(weights.model, weights.variables, context)
    pruned = {}
    for sparsity in sparsities:
        groups, keep = weights.allocate(
            dict.fromkeys(before, sparsity), before, allocation.at_most
        )
        masks = weights.select_feasible(scores, keep, before, groups)
        pruned[sparsity] = masks, rule.update(
            weights.model, weights.variables, masks, context
        )
    for key, variable in weights.variables.items():
        for sparsity, (masks, values) in pruned.items():
            value = values.get(key, ops.convert_to_numpy(variable))
            yield "weights", key, sparsity, masks[key], [
                (variable, np.where(masks[key], value, 0))
            ]


def _channels(graph, sparsities, rule, data, loss, exclude):
    """Yields the same of each group of channels."""
    plans = {
        sparsity: structured.plan(
            graph.model, ratio=sparsity, criterion=rule, exclude=exclude,
            data=data, loss=loss,
        ).kept(graph)
        for sparsity in sparsities
    }
    variables = weights_lib.variables(graph.model)
    for group in graph.groups:
        for sparsity, plan in plans.items():
            kept = np.ones(graph.size, bool)
            kept[group.classes] = plan[group.classes]
            yield "channels", group.name, sparsity, kept[group.classes], [
                (variables[k], ops.convert_to_numpy(variables[k]) * mask)
                for k, mask in randomising.left(graph, kept).items()
            ]
