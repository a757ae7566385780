"""Numbers of weights to keep, and which are ranked together."""

import collections

import numpy as np

from tf_lottery import distributions
from tf_lottery import masks as masks_lib
from tf_lottery.pruning import rules


def allocate(rates, masks, scope, number):
    """Returns which weights are ranked together, and how many of them stay.

    Only weights of equal rate are ranked together; those of rate 0 are left
    out. Scope `"global"` ranks all of them, `"layer"` each by itself at the
    same rate; the others also rank each by itself, with the total shared out
    as `distributions.distribute` says. `number` returns the total of a list
    of keys. The result is a list of lists of keys, and a list of integers.
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


def counted(count, rates, masks, allow_collapse):
    """Returns a callable for `allocate`, by one of the three that follow.

    Unless a layer may collapse, one weight of each key stays at least.
    """
    def number(keys):
        inside = {key: masks[key] for key in keys}
        return count(
            rates[keys[0]], masks_lib.size(inside), masks_lib.count(inside),
            0 if allow_collapse else len(keys), keys,
        )

    return number


def after_rate(rate, size, survivors, least, keys):
    """Returns how many weights a round leaves that removes a rate of them."""
    return max(survivors - round(rate * survivors), least)


def at_most(sparsity, size, survivors, least, keys):
    """Returns how many weights are left at a sparsity, or at a higher one."""
    return min(max(size - round(sparsity * size), least), survivors)


def at_sparsity(sparsity, size, survivors, least, keys):
    """Returns how many weights are left at a sparsity.

    Raises:
        ValueError: If weights were pruned further already, or fewer than the
            least would be left.
    """
    keep = size - round(sparsity * size)
    if not least <= keep <= survivors:
        raise ValueError(
            f"Argument `sparsity` must leave {least} to {survivors} of "
            f"the {size} weights of {', '.join(map(repr, keys))}: at "
            "least one of each, and what is pruned already stays pruned. "
            f"Received: sparsity={sparsity}, which leaves {keep}."
        )
    return keep


def next_masks(scores, masks, rates, rule=rules.Rule(), layouts=None):
    """Returns masks after a fraction of the surviving weights was removed.

    Every mask lies inside the one before. No weight loses everything unless
    the rule allows it, and no group of an N:M pattern falls below N: where a
    rate asks for that, less is removed.
    """
    groups, keep = allocate(
        rates, masks, rule.scope,
        counted(after_rate, rates, masks, rule.allows_collapse),
    )
    return select_feasible(scores, keep, masks, groups, rule, layouts)


def select_feasible(scores, keep, masks, groups, rule, layouts=None):
    """Selects as `masks.select` does, but never less than a pattern allows.
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
