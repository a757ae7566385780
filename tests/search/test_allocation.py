"""Allocation against trying every combination."""

import itertools

import numpy as np
import pytest

from tf_lottery.search import allocation
from tf_lottery.search import secant


def best(errors, costs, budget):
    """The least error of all combinations within a budget."""
    found = [
        sum(e[level] for e, level in zip(errors, levels))
        for levels in itertools.product(*(range(len(e)) for e in errors))
        if sum(c[level] for c, level in zip(costs, levels)) <= budget
    ]
    return min(found, default=None)


@pytest.mark.parametrize("seed", range(5))
def test_no_combination_within_the_budget_is_better(seed):
    rng = np.random.default_rng(seed)
    errors = [np.cumsum(rng.random(4)) for _ in range(4)]
    costs = [np.sort(rng.integers(1, 50, 4))[::-1] for _ in range(4)]
    for budget in (sum(c[-1] for c in costs), 60, 90, 1000):
        levels = allocation.allocate(errors, costs, budget, 20000)
        expected = best(errors, costs, budget)
        if expected is None:
            assert levels == [int(c.argmin()) for c in costs]
            continue
        assert sum(c[i] for c, i in zip(costs, levels)) <= budget
        reached = sum(e[i] for e, i in zip(errors, levels))
        assert reached == pytest.approx(expected, rel=0.02)


def test_an_infinite_error_is_avoided_where_it_can_be():
    errors = [np.array([0.0, np.inf]), np.array([0.0, 1.0])]
    costs = [np.array([10.0, 1.0]), np.array([10.0, 1.0])]
    assert allocation.allocate(errors, costs, 11) == [0, 1]


def test_costs_that_depend_on_each_other_come_near_the_budget():
    kept = np.array([1.0, 0.75, 0.5, 0.25, 0.1])
    errors = [(1 - kept) ** 2 * weight for weight in (1.0, 5.0, 2.0)]

    def cost(levels):
        a, b, c = kept[levels]
        return 100 * (a + a * b + b * c + c)

    found = allocation.Allocator(errors, cost)
    previous = 0.0
    for budget in (350, 250, 150, 60):
        levels = found.within(budget)
        assert cost(levels) <= 1.1 * budget
        error = sum(e[level] for e, level in zip(errors, levels))
        assert error >= previous
        previous = error
    assert found.within(1e9) == [0, 0, 0]
    # What no levels come to, for the rest of a file takes more than all.
    lowest = [len(error) - 1 for error in errors]
    assert found.within(0) == found.within(-7.5) == lowest


@pytest.mark.parametrize("boundary", [0, 1, 17, 40])
@pytest.mark.parametrize("rise, most", [(1.3, 7), (1e9, 8)])
def test_the_search_finds_the_boundary(boundary, rise, most):
    tried = []

    def value(number):
        tried.append(number)
        return rise ** (number - boundary - 0.5)

    found = secant.last_within(value, 1, 20, 40, 10)
    assert found == boundary
    # That of 0 is known.
    assert len(set(tried)) == len(tried) <= most + 1
    assert all(0 <= number <= 40 for number in tried)


def test_the_search_goes_where_a_rising_loss_meets_the_limit():
    # What a ResNet-20 lost; halving took 23, 12, 1, 6, 9, 7 and 8.
    lost = {0: 0.005, 5: 0.006, 7: 0.0099, 8: 0.013, 9: 0.0152, 23: 0.17}
    assert secant.last_within(lost.__getitem__, 0.01, 23, 46, 4) == 7


@pytest.mark.parametrize("limit, least", [(0, 0), (0, -1), (-1, 0)])
def test_the_search_takes_values_that_have_no_logarithm(limit, least):
    def value(number):
        return least if number <= 17 else 1.0

    assert secant.last_within(value, limit, 20, 40, 9) == (
        17 if least <= limit else 0
    )
