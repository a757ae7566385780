"""Numbers of weights to keep, and which are ranked together."""

import collections

import numpy as np

from tf_lottery import distributions
from tf_lottery import masks as masks_lib
from tf_lottery import schedules
from tf_lottery import weights as weights_lib
from tf_lottery.pruning import rules


def rates_of(found, variables, rate, name="rate", allow_zero=False):
    """Returns the rate of each prunable weight; 0 where no pattern fits."""
    schedules.validate_rate(rate, name, allow_zero)
    patterns = rate if isinstance(rate, dict) else {"*": rate}
    matched = weights_lib.resolve(found, patterns, name)
    return {key: matched.get(key, 0.0) for key in variables}


def allocate(rates, masks, scope, number):
    """Returns which weights are ranked together, and how many of them stay.

    Args:
        rates: Dict from weight key to rate; only weights of equal rate are
            ranked together. Those with rate 0 are left out.
        scope: String, one of `distributions.SCOPES`: `"global"` ranks all
            weights together, `"layer"` each by itself at the same rate;
            `"uniform+"`, `"er"` and `"erk"` also rank each by itself, with
            the total shared out as `tf_lottery.distributions.distribute`
            says.
        number: Callable that takes a list of keys that share a total, and
            returns that total, an integer.

    Returns:
        Pair of a list of lists of keys, and a list of integers.
    """
    distributions.check_scope(scope)
    groups, keep = [], []
    for keys in _of_equal_rate(rates):
        if scope == "global":
            groups.append(keys)
            keep.append(number(keys))
        elif scope == "layer":
            groups += [[key] for key in keys]
            keep += [number([key]) for key in keys]
        else:
            counts = distributions.distribute(
                {key: np.shape(masks[key]) for key in keys},
                number(keys),
                scope,
                {key: masks[key] for key in keys},
            )
            groups += [[key] for key in counts]
            keep += counts.values()
    return groups, keep


def after_rate(rates, masks, allow_collapse=False):
    """Returns how many weights a round leaves that removes a rate of them.

    Args:
        rates: Dict from weight key to the fraction of survivors to remove.
        allow_collapse: Whether a weight may lose everything. Defaults to
            `False`: one weight of each key stays.

    Returns:
        Callable for `allocate`.
    """
    def number(keys):
        survivors = masks_lib.count({key: masks[key] for key in keys})
        least = 0 if allow_collapse else len(keys)
        return max(survivors - round(rates[keys[0]] * survivors), least)

    return number


def at_sparsity(rates, masks, allow_collapse=False):
    """Returns how many weights are left at a sparsity.

    Args:
        allow_collapse: Whether a weight may lose everything. Defaults to
            `False`.

    Returns:
        Callable for `allocate`. It raises a `ValueError` where weights were
        pruned further already, or less than one of each would be left.
    """
    def number(keys):
        sparsity = rates[keys[0]]
        inside = {key: masks[key] for key in keys}
        size, survivors = masks_lib.size(inside), masks_lib.count(inside)
        least = 0 if allow_collapse else len(keys)
        keep = size - round(sparsity * size)
        if not least <= keep <= survivors:
            raise ValueError(
                f"Argument `sparsity` must leave {least} to {survivors} of "
                f"the {size} weights of {', '.join(map(repr, keys))}: at "
                "least one of each, and what is pruned already stays pruned. "
                f"Received: sparsity={sparsity}, which leaves {keep}."
            )
        return keep

    return number


def at_most(rates, masks, allow_collapse=False):
    """Returns how many weights are left at a sparsity, or at a higher one.

    Args:
        masks: Dict from weight key to boolean array, the masks so far. What
            is pruned further already stays so.

    Returns:
        Callable for `allocate`.
    """
    def number(keys):
        inside = {key: masks[key] for key in keys}
        size = masks_lib.size(inside)
        least = 0 if allow_collapse else len(keys)
        keep = max(size - round(rates[keys[0]] * size), least)
        return min(keep, masks_lib.count(inside))

    return number


def next_masks(scores, masks, rates, rule=rules.Rule(), layouts=None):
    """Removes a fraction of the surviving weights.

    Args:
        rates: Dict from weight key to the fraction of the survivors to
            remove; weights of equal rate are ranked together.
        layouts: Dict from weight key to `tf_lottery.masks.Layout`. Defaults
            to `None`: inputs and outputs are the last two axes.

    Returns:
        Dict from weight key to mask; every mask lies inside the one before.
        No weight loses everything unless the rule allows it, and no group
        of an N:M pattern falls below N: where a rate asks for that, less is
        removed.
    """
    groups, keep = allocate(
        rates, masks, rule.scope,
        after_rate(rates, masks, rule.allows_collapse),
    )
    return select_feasible(scores, keep, masks, groups, rule, layouts)


def select_feasible(scores, keep, masks, groups, rule, layouts=None):
    """Selects as `masks.select` does, but never less than a pattern allows.

    Args:
        keep: List of integers, the number to keep of each group.
    """
    pattern, allowed = rule.pattern, rule.allows_collapse
    keep = [
        max(number, pattern.fewest(
            {key: scores[key] for key in keys},
            {key: masks[key] for key in keys},
            layouts,
            allowed,
        ))
        for keys, number in zip(groups, keep)
    ]
    return masks_lib.select(
        scores, keep, masks, groups, pattern, allowed, layouts
    )


def _of_equal_rate(rates):
    groups = collections.defaultdict(list)
    for key, rate in rates.items():
        if rate:
            groups[rate].append(key)
    return list(groups.values())
