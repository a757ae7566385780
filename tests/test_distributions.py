"""Distributions: exact totals, within bounds, as in the papers' codes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tf_lottery import distributions
from tf_lottery.distributions import distribute

HOWS = distributions.SCOPES[1:]
LENET = {"fc1": (784, 300), "fc2": (300, 100), "out": (100, 10)}
CONVS = {
    "conv1": (3, 3, 3, 16),
    "conv2": (3, 3, 16, 32),
    "conv3": (3, 3, 32, 64),
    "fc": (576, 64),
    "out": (64, 10),
}


def sizes(shapes):
    return {key: math.prod(shape) for key, shape in shapes.items()}


def erk(shapes, total, ends=None):
    """Densities by the published loop: whoever is above 1 becomes dense."""
    size = sizes(shapes)
    raw = {k: sum(s[-2:] if ends else s) / math.prod(s[-2:] if ends else s)
           for k, s in shapes.items()}
    dense = set()
    while True:
        left = total - sum(size[k] for k in dense)
        others = [k for k in shapes if k not in dense]
        epsilon = left / sum(raw[k] * size[k] for k in others)
        over = {k for k in others if epsilon * raw[k] > 1}
        if not over:
            return {k: 1.0 if k in dense else epsilon * raw[k] for k in shapes}
        dense |= over


def uniform_plus(shapes, total):
    """Counts, not rounded, by the rule of the LAMP paper's code."""
    size = sizes(shapes)
    first, *_, last = shapes
    fixed = {first: size[first]} if len(shapes[first]) == 4 else {}
    rest = [k for k in shapes if k not in fixed]
    density = (total - sum(fixed.values())) / sum(size[k] for k in rest)
    if round(density * size[last]) < round(0.2 * size[last]):
        fixed[last] = round(0.2 * size[last])
        rest.remove(last)
        density = (
            total - sum(fixed.values())
        ) / sum(size[k] for k in rest)
    return {k: fixed.get(k, density * size[k]) for k in shapes}


@pytest.mark.parametrize("shapes", [LENET, CONVS], ids=["lenet", "convs"])
@pytest.mark.parametrize("density", [0.03, 0.1, 0.3, 0.6, 0.9, 0.99])
def test_equals_the_definitions(shapes, density):
    size = sizes(shapes)
    total = round(density * sum(size.values()))
    expected = {
        "layer": {k: total / sum(size.values()) * n for k, n in size.items()},
        "erk": {k: d * size[k] for k, d in erk(shapes, total).items()},
        "er": {k: d * size[k] for k, d in erk(shapes, total, 1).items()},
        "uniform+": uniform_plus(shapes, total),
    }
    for how in HOWS:
        found = distribute(shapes, total, how)
        assert sum(found.values()) == total
        for key in shapes:
            assert abs(found[key] - expected[how][key]) < 1, (how, key)


def test_some_of_those_cases_have_dense_layers():
    found = distribute(CONVS, round(0.6 * sum(sizes(CONVS).values())), "erk")
    dense = [k for k, n in found.items() if n == math.prod(CONVS[k])]
    assert 0 < len(dense) < len(CONVS)


def test_erk_of_published_shapes():
    """Densities of a 90 % sparse ResNet-like pair, by hand.

    raw: (3+3+16+16)/2304 = 0.016493, (3+3+32+32)/9216 = 0.0075955;
    epsilon = 1152 / (38 + 70) = 10.6667.
    """
    shapes = {"a": (3, 3, 16, 16), "b": (3, 3, 32, 32)}
    found = distribute(shapes, 1152, "erk")
    assert found == {"a": round(38 * 1152 / 108), "b": round(70 * 1152 / 108)}
    # er: (16+16)/256 * 2304 = 288 and (32+32)/1024 * 9216 = 576.
    assert distribute(shapes, 1152, "er") == {"a": 384, "b": 768}


shapes_strategy = st.lists(
    st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple),
    min_size=1,
    max_size=7,
).map(lambda found: {f"k{i}": shape for i, shape in enumerate(found)})


@settings(max_examples=150, deadline=None)
@given(shapes_strategy, st.sampled_from(HOWS), st.floats(0, 1), st.data())
def test_totals_are_exact_and_within_bounds(shapes, how, part, data):
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    masks = {k: rng.random(s) < rng.random() * 1.5 for k, s in shapes.items()}
    most = {k: int(m.sum()) for k, m in masks.items()}
    least = {k: min(n, 1) for k, n in most.items()}
    if how == "uniform+":
        last, first = list(shapes)[-1], list(shapes)[0]
        fifth = round(0.2 * math.prod(shapes[last]))
        least[last] = min(max(least[last], fifth), most[last])
        if len(shapes[first]) == 4:
            least[first] = most[first]
    low, high = sum(least.values()), sum(most.values())
    keep = low + round(part * (high - low))
    found = distribute(shapes, keep, how, masks)
    assert list(found) == list(shapes)
    assert sum(found.values()) == keep
    for key in shapes:
        assert type(found[key]) is int
        assert least[key] <= found[key] <= most[key]
    for wrong in (low - 1, high + 1):
        with pytest.raises(ValueError, match="`keep`"):
            distribute(shapes, wrong, how, masks)


@settings(max_examples=60, deadline=None)
@given(shapes_strategy, st.sampled_from(["layer", "erk", "er"]), st.data())
def test_rounds_are_nested(shapes, how, data):
    """A smaller total never asks for more than a larger one has left."""
    total = sum(sizes(shapes).values())
    masks = {k: np.ones(s, bool) for k, s in shapes.items()}
    while total > len(shapes):
        total = data.draw(st.integers(len(shapes), total - 1))
        found = distribute(shapes, total, how, masks)
        masks = {
            k: (np.arange(mask.size) < found[k]).reshape(mask.shape)
            for k, mask in masks.items()
        }
        assert sum(int(m.sum()) for m in masks.values()) == total


def test_largest_remainder_gives_ties_to_the_first():
    shapes = {"a": (2, 5), "b": (2, 5), "c": (2, 5)}
    assert distribute(shapes, 11, "layer") == {"a": 4, "b": 4, "c": 3}


def test_what_masks_leave_out_the_others_take():
    shapes = {"a": (10, 10), "b": (10, 10), "c": (10, 10)}
    masks = {k: np.ones(s, bool) for k, s in shapes.items()}
    masks["b"][:] = False
    masks["b"][0, :4] = True
    found = distribute(shapes, 60, "layer", masks)
    assert found == {"a": 28, "b": 4, "c": 28}


def test_uniform_plus_says_when_it_cannot():
    shapes = {"conv": (3, 3, 1, 8), "fc": (200, 20), "out": (20, 10)}
    assert distribute(shapes, 500, "uniform+") == {
        "conv": 72, "fc": 388, "out": 40
    }
    with pytest.raises(ValueError, match=r"\[113, 4272\].*'uniform\+'.*fifth"):
        distribute(shapes, 112, "uniform+")
    assert distribute(shapes, 113, "uniform+")["fc"] == 1


@pytest.mark.parametrize("keep", [True, 2.0, "3", None])
def test_wrong_keep_is_refused(keep):
    with pytest.raises(ValueError, match="`keep` must be an integer"):
        distribute({"a": (3, 3)}, keep, "layer")


def test_wrong_scopes_are_refused():
    assert distributions.SCOPES == ("global", "layer", "uniform+", "erk", "er")
    for scope in distributions.SCOPES:
        distributions.check_scope(scope)
    with pytest.raises(ValueError, match="'erk'.*'ERK'"):
        distribute({"a": (3, 3)}, 3, "ERK")
    with pytest.raises(ValueError, match="how='global'"):
        distribute({"a": (3, 3)}, 3, "global")


def test_wrong_masks_are_refused_by_name():
    with pytest.raises(ValueError, match=r"\(3, 3\).*'a'.*none"):
        distribute({"a": (3, 3)}, 3, "layer", {})
    with pytest.raises(ValueError, match=r"\(3, 3\).*'a'.*\(3,\)"):
        distribute({"a": (3, 3)}, 3, "layer", {"a": np.ones(3, bool)})


def test_nothing_to_share():
    assert distribute({}, 0, "erk") == {}
    shapes = {"a": (0, 4), "b": (2, 2)}
    assert distribute(shapes, 3, "erk") == {"a": 0, "b": 3}
