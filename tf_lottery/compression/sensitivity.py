"""Sensitivity: the loss of a model with one part changed at a time."""

import dataclasses
import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from tf_lottery import criteria
from tf_lottery import masks as masks_lib
from tf_lottery import structured
from tf_lottery import weights as weights_lib
from tf_lottery.analysis import evaluating
from tf_lottery.compression import readings as readings_lib
from tf_lottery.compression import refits
from tf_lottery.graph import tracing
from tf_lottery.patterns import Pattern
from tf_lottery.pruning import allocation
from tf_lottery.pruning import prunable
from tf_lottery.pruning import rules
from tf_lottery.search import measuring
from tf_lottery.search import prefixes
from tf_lottery.search import samples
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
    bits: Sequence[int] = (8, 4),
) -> readings_lib.Sensitivity:
    """Measures what each part of a model costs to prune, all else as it is.

    Every weight is pruned by itself to every sparsity, and rounded to so many
    bits, and every group of channels is pruned, without training, and the
    loss is measured. That takes one
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
        bits: List of integers from 2 to 16, widths that weights are rounded
            to, evenly between the largest magnitude of each output and its
            negative, as TFLite does with 8; an empty list rounds none.
            Defaults to 8 and 4.

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
    >>> [(r.name, r.loss) for r in found.readings if r.kind != "bits"]
    [('fc/kernel', 0.0), ('out/kernel', 1.0), ('fc', 1.0)]
    >>> found.largest(increase=0.1)
    {'fc/kernel': 0.5, 'out/kernel': 0.0}
    >>> found.fewest_bits(increase=0.1)
    {'fc/kernel': 4, 'out/kernel': 4}
    """
    sparsities, bits = _checked(sparsities), _widths(bits)
    checks.data("data", data)
    checks.flag("channels", channels)
    evaluate = evaluating.Evaluator(model, loss, batch_size, "sensitivity")
    batches = list(evaluate.batches(data))
    prefix = prefixes.Prefix(
        model, [samples.finite("data", x) for x, _, _ in batches]
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
    parts = [
        _weights(weights, sparsities, rule, data, loss), _bits(weights, bits),
    ]
    if channels:
        graph = tracing.trace(model)
        skipped |= {f.path: f.reason for f in graph.frozen}
        parts.append(_channels(graph, sparsities, rule, data, loss, exclude))
    readings = []
    for part in parts:
        for reading, changes in part:
            variables, values = zip(*changes) if changes else ((), ())
            prefix.start_at(variables)
            with measuring.restored(variables, values):
                now = evaluate.of(prefix.outputs(), batches)
            readings.append(dataclasses.replace(
                reading, accuracy=now.accuracy,
                loss=now.loss if math.isfinite(now.loss) else math.inf,
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


def _widths(bits):
    if not isinstance(bits, (list, tuple)):
        checks.refuse("bits", bits, "a list of integers from 2 to 16")
    for width in bits:
        checks.number(
            "bits", width, "integers from 2 to 16",
            lambda v: v in range(2, 17),
        )
    return sorted({int(width) for width in bits}, reverse=True)


def _pruned(kind, name, sparsity, kept):
    """Returns a reading without what is read."""
    return readings_lib.Reading(
        kind, name, kept.size, sparsity,
        1 - np.count_nonzero(kept) / kept.size, math.inf, None,
    )


def _bits(weights, widths):
    """Yields readings of rounded weights, and variables with new values."""
    for key, variable in weights.variables.items():
        value, layout = ops.convert_to_numpy(variable), weights.layouts[key]
        matrix = layout.to_matrix(value).astype("float32")
        for bits in widths:
            rounded = layout.from_matrix(
                refits.nearest(matrix, bits, (0, 1)), value.shape
            )
            removed = 1 - bits / (8 * value.itemsize)
            yield readings_lib.Reading(
                "bits", key, value.size, removed, removed, math.inf, None, bits
            ), [(variable, rounded)]


def _weights(weights, sparsities, rule, data, loss):
    """Yields readings of pruned weights, and variables with new values."""
    before = weights.masks()
    score, update = rule.prepare_both(
        weights.model, weights.variables,
        criteria.make_context(data, loss, None, before),
    )
    masks = _masks(weights, sparsities, score(before), before)
    for key, variable in weights.variables.items():
        for sparsity, packed in masks.items():
            mask = masks_lib.unpack(packed[key], tuple(variable.shape))
            value = update({key: mask}).get(
                key, ops.convert_to_numpy(variable)
            )
            yield _pruned("weights", key, sparsity, mask), [
                (variable, np.where(mask, value, 0))
            ]


def _masks(weights, sparsities, scores, before):
    """Returns the masks at each sparsity, a bit for each weight."""
    found = {}
    for sparsity in sparsities:
        groups, keep = weights.allocate(
            dict.fromkeys(before, sparsity), before, allocation.at_most
        )
        masks = weights.select_feasible(scores, keep, before, groups)
        found[sparsity] = {k: masks_lib.pack(m) for k, m in masks.items()}
    return found


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
            yield _pruned(
                "channels", group.name, sparsity, kept[group.classes]
            ), [
                (variables[k], ops.convert_to_numpy(variables[k]) * mask)
                for k, mask in randomising.left(graph, kept).items()
            ]
