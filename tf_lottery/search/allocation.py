"""Allocation: how much of each part to remove, by dynamic programming."""

from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

# Costs of parts that depend on each other hold for steps of this size.
_STEP = 0.8


def allocate(
    errors: Sequence[np.ndarray],
    costs: Sequence[np.ndarray],
    budget: float,
    buckets: int = 2000,
) -> list[int]:
    """Returns the level of each part that adds up to the least error.

    The budget is cut into buckets, and costs are rounded up to them, so that
    it is never exceeded.

    Reference: SPDY, Frantar and Alistarh 2022, algorithm 1,
    https://arxiv.org/abs/2201.13096.

    Args:
        errors: Arrays of floats, the error of each part at each level.
        costs: Arrays of floats of the same lengths.
        budget: Float, what the costs may add up to. Below the least sum, the
            cheapest levels are returned.
        buckets: Integer. Defaults to 2000.

    Returns:
        List of integers, a level for each part.

    Example:

    >>> from tf_lottery.search import allocation
    >>> errors = [np.array([0.0, 0.1, 5.0]), np.array([0.0, 1.0, 2.0])]
    >>> costs = [np.array([9.0, 6.0, 1.0]), np.array([9.0, 6.0, 1.0])]
    >>> allocation.allocate(errors, costs, 8)
    [1, 2]
    """
    spare = budget - sum(cost.min() for cost in costs)
    if spare <= 0:
        return [int(cost.argmin()) for cost in costs]
    best, choices = np.zeros(buckets + 1), []
    taken = [
        np.ceil((cost - cost.min()) / spare * buckets).clip(max=buckets + 1)
        .astype(int) for cost in costs
    ]
    for error, steps in zip(errors, taken):
        options = np.full((len(error), buckets + 1), np.inf)
        for level, step in enumerate(steps):
            if step <= buckets:
                options[level, step:] = best[: buckets + 1 - step]
                options[level] += error[level]
        choices.append(options.argmin(0))
        best = options.min(0)
    found, left = [], buckets
    for choice, steps in zip(choices[::-1], taken[::-1]):
        found.append(int(choice[left]))
        left -= steps[found[-1]]
    return found[::-1]


class Allocator:
    """Finds the levels for one budget after another.

    Where the cost of a part depends on the others, as the multiplications of
    a layer on the channels before and after it, the way to a budget goes in
    steps of a fifth, with the costs at the levels so far.

    Args:
        errors: Arrays of floats, the error of each part at each level.
        cost: Function from a list of levels to a float.
    """

    def __init__(
        self,
        errors: Sequence[np.ndarray],
        cost: Callable[[list[int]], float],
    ) -> None:
        self.errors, self.cost = errors, cost
        self.whole = cost([0] * len(errors))
        self.least = cost([len(error) - 1 for error in errors])
        self._states = [[0] * len(errors)]
        self._tables = {}

    def within(self, budget: float) -> list[int]:
        """Returns the levels of the least error whose cost is a budget.

        Below what everything costs at its last level, those levels.
        """
        if budget >= self.whole:
            # Costs that are rounded up might not fit.
            return self._states[0]
        number, budget = 0, max(budget, self.least)
        while (goal := self.whole * _STEP ** (number + 1)) > budget:
            if number + 1 == len(self._states):
                self._states.append(self._next(number, goal))
            number += 1
        return self._next(number, budget)

    def _next(self, number, goal):
        levels = self._states[number]
        if number not in self._tables:
            self._tables[number] = [
                np.array([
                    self.cost([*levels[:part], level, *levels[part + 1:]])
                    for level in range(len(error))
                ])
                for part, error in enumerate(self.errors)
            ]
        now = self.cost(levels)
        tables = [table - now for table in self._tables[number]]
        return allocate(self.errors, tables, goal - now)
