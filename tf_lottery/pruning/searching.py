"""Searching: how many weights each layer keeps, by what the outputs lose."""

import functools

import numpy as np
from keras import ops

from tf_lottery import distributions
from tf_lottery import patterns
from tf_lottery.criteria import batches as batches_lib
from tf_lottery.search import allocation
from tf_lottery.search import measuring
from tf_lottery.search import samples

SCOPE = "search"
# Examples that outputs are compared on.
_SAMPLES = 256


def check(pattern):
    """Raises if the density of each weight is not free under a pattern."""
    if isinstance(pattern, (patterns.NM, patterns.Channel)):
        raise ValueError(
            f"Scope '{SCOPE}' gives each weight a density of its own. "
            f"Received: pattern='{pattern}'. Expected: 'unstructured' or "
            "blocks; `tf_lottery.structured.plan(scope='search')` takes "
            "channels."
        )


def allocate(weights, groups, keep, before, scores, criterion, context):
    """Returns which weights are ranked together, and how many of them stay.

    Each weight is pruned by itself to several densities. What the outputs
    change by is taken to add up, and the numbers that add up to the least are
    found by dynamic programming (SPDY, Frantar and Alistarh 2022, algorithm
    1, https://arxiv.org/abs/2201.13096).
    Given and returned are lists of weight keys, in groups that share a number,
    and these numbers; in the end each key has its own. `scores` are those
    under the masks `before`.
    """
    errors = _errors(
        weights, [key for keys in groups for key in keys], before, scores,
        criterion, context,
    )
    alone, numbers = [], []
    for keys, number in zip(groups, keep):
        sizes = [before[key].size for key in keys]
        levels = allocation.allocate(
            [errors[key] for key in keys],
            [size * np.array(measuring.DENSITIES) for size in sizes], number,
        )
        alone += [[key] for key in keys]
        numbers += distributions.share(
            [s * measuring.DENSITIES[n] for s, n in zip(sizes, levels)],
            [int(before[key].sum()) for key in keys], number,
        )
    return alone, numbers


def _errors(weights, keys, before, scores, criterion, context):
    """Returns what the outputs change by with each weight pruned alone."""
    data = samples.inputs_of(batches_lib.labelled(context.data), _SAMPLES)
    samples.check(weights.model, data=data)
    distance = measuring.Distance(weights.model, data)
    variables = {key: weights.variables[key] for key in keys}

    @functools.cache
    def pruned(level):
        masks = {}
        for key in keys:
            mask = before[key]
            wanted = round(measuring.DENSITIES[level] * mask.size)
            masks |= weights.select_feasible(
                {key: scores[key]}, [max(1, min(wanted, int(mask.sum())))],
                {key: mask}, [[key]],
            )
        return masks, criterion.update(
            weights.model, variables, masks, context
        )

    def measure(key, level):
        masks, values = pruned(level)
        value = values.get(key, ops.convert_to_numpy(variables[key]))
        now = np.where(masks[key], value, 0)
        with measuring.restored([variables[key]], [now]):
            return distance()

    found = {}
    for key in sorted(keys, key=lambda k: distance.first([variables[k]])):
        distance.start_at([variables[key]])
        found[key] = measuring.curve(
            len(measuring.DENSITIES), functools.partial(measure, key)
        )
    return found
