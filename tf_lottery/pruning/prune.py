"""Pruning in one sentence: score, select, hold."""

import functools
import math
import warnings
from collections.abc import Mapping
from typing import Literal

import keras
import numpy as np

from tf_lottery import criteria
from tf_lottery import distributions
from tf_lottery import holding
from tf_lottery import masks as masks_lib
from tf_lottery.patterns import Pattern
from tf_lottery.patterns.pattern import brief
from tf_lottery.pruning import allocation
from tf_lottery.pruning import prunable
from tf_lottery.pruning import rules
from tf_lottery.pruning import searching
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types
from tf_lottery.weights import reasons
from tf_lottery.weights import snapshots


@docs.filled
def prune(
    model: keras.Model,
    sparsity: types.Fraction,
    criterion: criteria.Identifier = "magnitude",
    scope: types.Scope | Literal["search"] = "global",
    pattern: str | Pattern = "unstructured",
    data: types.Data | None = None,
    loss: types.Loss | None = None,
    snapshot: snapshots.Snapshot | Mapping[str, np.ndarray] | None = None,
    iterations: int | None = None,
    collapse: types.Collapse = "keep-one",
    exclude: types.Names = (),
    include: types.Names = (),
) -> dict[str, np.ndarray]:
    """Prunes a model once, before or after training, and holds the masks.

    With `scope="search"` each weight has a sparsity of its own, such that
    the outputs of the model on `data` change least: each is pruned by itself
    to several sparsities, and dynamic programming finds those that add up to
    the least (Frantar and Alistarh 2022, https://arxiv.org/abs/2201.13096).

    Args:
        model: A built `keras.Model`.
        sparsity: Float in [0, 1), the fraction of all prunable weights that
            is removed afterwards, or a dict from layer name or pattern to
            such a fraction (`{"*": 0.9, "logits": 0.5}`). What is pruned
            already counts and stays pruned. 0 does nothing.
        criterion: See `tf_lottery.criteria.get`. Defaults to `"magnitude"`.
        {{evidence}}
        iterations: Integer, in how many steps the sparsity is reached: the
            density falls exponentially, and weights are scored anew before
            each step. Defaults to the criterion's own number, which is 100
            for `"synflow"` and 1 for the others.
        {{rule}}

    Returns:
        Dict from weight key to mask, a boolean array, `True` = kept.

    Raises:
        ValueError: For an invalid argument, a model that is not built or not
            compiled, scores that are not finite, a sparsity below the one
            the model already has, or a collapse that is not allowed. The
            model is then as it was.

    Warns:
        UserWarning: Of layer collapse, see `collapse`; and where most of the
            model cannot be pruned, for no rule knows its weights.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((8,)), keras.layers.Dense(5, name="fc")])
    >>> model.compile("adam", "mse")
    >>> masks = tfl.prune(model, sparsity=0.75)
    >>> int(masks["fc/kernel"].sum())
    10
    """
    criterion = criteria.get(criterion)
    iterations = criterion.iterations if iterations is None else iterations
    checks.whole("iterations", iterations)
    checks.choice("scope", scope, (*distributions.SCOPES, searching.SCOPE))
    searched = scope == searching.SCOPE
    weights = prunable.Prunable(model, rules.Rule(
        "global" if searched else scope, pattern, collapse, exclude, include
    ))
    if searched:
        searching.check(weights.rule.pattern)
    _warn_of_unknown(model, weights.weights)
    rates = weights.rates(sparsity, "sparsity", allow_zero=True)
    sizes = (math.prod(v.shape) for v in weights.variables.values())
    most = max(100, sum(sizes))
    if iterations > most:
        checks.refuse(
            "iterations", iterations, f"no more than {most}: 100, or the "
            "number of prunable weights where that is more",
        )
    before = weights.masks()
    groups, keep = weights.allocate(rates, before, allocation.at_sparsity)
    keep = [
        weights.rule.pattern.one_step(
            number, {key: before[key] for key in keys}, weights.layouts
        )
        for keys, number in zip(groups, keep)
    ]
    context = criteria.make_context(data, loss, snapshot, before)
    if not groups:
        return before
    score, update = criterion.prepare_both(model, weights.variables, context)
    search = functools.partial(
        searching.allocate, update=update, context=context
    ) if searched else None
    masks = _masks(weights, groups, keep, before, score, iterations, search)
    weights.report(masks, before)
    weights.assign(update(masks))
    holding.hold_known(model, masks, weights.owners)
    return masks


def _masks(weights, groups, keep, before, score, iterations, search):
    """Returns the masks; scores, as large as the weights, are gone then."""
    masks, scores = before, score(before)
    if search:
        groups, keep = search(weights, groups, keep, before, scores)
    for step in range(1, iterations + 1):
        if step > 1:
            scores = score(masks)
        now = _on_the_way(step / iterations, groups, keep, before)
        masks = weights.select(scores, now, masks, groups)
    return masks


def _warn_of_unknown(model, found):
    """Tells of weights that no rule knows, where they are half of all."""
    sizes = {
        weight.key: math.prod(weight.variable.shape) for weight in found
        if weight.reason is None or reasons.is_unknown(weight.reason)
    }
    unknown = [w for w in found if reasons.is_unknown(w.reason)]
    fraction = sum(sizes[w.key] for w in unknown) / sum(sizes.values())
    if fraction >= 0.5:
        warnings.warn(
            f"{fraction:.0%} of the weights of model '{model.name}' that "
            "could be pruned are out of reach, for no rule knows them: "
            f"{brief(w.key for w in unknown)}. They stay dense, and no "
            "sparsity counts them. A layer of your own names its weights by "
            "a method `get_prunable_weights`; LoRA's are merged by saving "
            "the model and loading it again.",
            stacklevel=3,
        )


def _on_the_way(progress, groups, keep, masks):
    """How many to keep at a part of the way; it falls exponentially."""
    numbers = []
    for keys, goal in zip(groups, keep):
        start = masks_lib.count({key: masks[key] for key in keys})
        numbers.append(
            goal if progress == 1
            else max(goal, round(start * (goal / start) ** progress))
        )
    return numbers
