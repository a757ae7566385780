"""Stability, movement, overlap and layer densities: arrays only."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import tf_lottery as tfl
from tests import conftest
from tf_lottery import analysis
from tf_lottery.weights import snapshots


def weights(seed, shape=(7, 5)):
    rng = np.random.default_rng(seed)
    return {"a/kernel": rng.normal(size=shape), "b/kernel": rng.normal(size=9)}


def masks(seed, density=0.5, shape=(7, 5)):
    rng = np.random.default_rng(seed)
    return {
        "a/kernel": rng.random(shape) < density,
        "b/kernel": rng.random(9) < density,
    }


def test_stability_by_hand():
    found = analysis.stability(
        {"w": np.array([3.0, 0.0])}, {"w": np.array([0.0, 4.0])}
    )
    assert found.distance == 5.0
    assert found.angle == pytest.approx(90.0)
    assert found.distance_per_weight == pytest.approx(5 / math.sqrt(2))
    assert found.number == 2 and found.layers == {"w": 5.0}
    assert found.baseline is None and found.ratio is None


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.2, 1.0))
def test_stability_is_that_of_the_definition(seed, density):
    a, b, m = weights(seed), weights(seed + 1), masks(seed, density)
    m["a/kernel"][0, 0] = True
    x = np.concatenate([a[key][m[key]] for key in m])
    y = np.concatenate([b[key][m[key]] for key in m])
    found = analysis.stability(a, b, m)
    assert found.distance == pytest.approx(np.sqrt(((x - y) ** 2).sum()))
    cosine = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    assert found.angle == pytest.approx(math.degrees(math.acos(cosine)))
    assert found.number == sum(int(mask.sum()) for mask in m.values())
    other = analysis.stability(b, a, m)
    assert (other.distance, other.angle) == pytest.approx(
        (found.distance, found.angle)
    )


@pytest.mark.parametrize("degrees", (1e-5, 30.0, 179.99999, 180.0))
def test_angles_are_exact_near_the_ends(degrees):
    radians = math.radians(degrees)
    found = analysis.stability(
        {"w": np.array([1.0, 0.0])},
        {"w": 7 * np.array([math.cos(radians), math.sin(radians)])},
    )
    assert found.angle == pytest.approx(degrees, rel=1e-6)


def test_the_angle_of_nothing():
    found = analysis.stability({"w": np.zeros(2)}, {"w": np.ones(2)})
    assert math.isnan(found.angle)
    assert found.distance == pytest.approx(math.sqrt(2))


def test_pruned_weights_do_not_count():
    """The whole network against its subnetwork: both under the mask."""
    a, m = weights(0), masks(1)
    b = {key: np.where(m[key], a[key], 0.0) for key in a}
    assert analysis.stability(a, b, m).distance == 0.0
    assert analysis.stability(a, b).distance > 0.0


def test_stability_with_a_baseline():
    a, b, m = weights(0), weights(1), masks(2)
    far = {key: a[key] + 2 * (b[key] - a[key]) for key in a}
    found = analysis.stability(a, b, m, baseline=(a, far, m))
    assert found.ratio == pytest.approx(2.0)
    again = analysis.stability(a, b, m, baseline=found.baseline)
    assert again.ratio == found.ratio
    assert analysis.stability(a, a, m, found).ratio == math.inf


def test_stability_of_tickets_models_and_snapshots():
    model = conftest.functional()
    model.compile("adam", conftest.loss())
    kept = conftest.random_masks(model)
    ticket = tfl.Ticket.of(model, kept)
    changed = {k: v + 1 for k, v in ticket.snapshot.weights.items()}
    number = sum(int(mask.sum()) for mask in kept.values())
    found = analysis.stability(ticket, changed)
    assert found.number == number
    assert found.distance == pytest.approx(math.sqrt(number), rel=1e-6)
    prunable = sum(mask.size for mask in kept.values())
    assert analysis.stability(model, model).number == prunable
    snapshot = snapshots.Snapshot(0, ticket.snapshot.weights)
    assert analysis.stability(snapshot, snapshot).number == prunable


def test_masks_of_both_are_joined():
    model = conftest.sequential()
    first, second = (
        tfl.Ticket.of(model, conftest.random_masks(model, seed=seed))
        for seed in (0, 1)
    )
    both = sum(
        int((mask & second.masks[key]).sum())
        for key, mask in first.masks.items()
    )
    assert analysis.stability(first, second).number == both


@pytest.mark.parametrize(
    "arguments, error, said",
    [
        (({"w": np.ones(2)}, {"v": np.ones(2)}), ValueError, "same keys"),
        (({"w": np.ones(2)}, {"w": np.ones(3)}), ValueError, "same shapes"),
        (({"w": np.ones(2)}, 3), TypeError, "Argument `b`"),
        (({"w": np.ones(2)}, {"w": np.ones(2)}, {"v": np.ones(2, bool)}),
         ValueError, "no weights for some masks"),
        (({"w": np.ones(2)}, {"w": np.ones(2)}, {"w": np.ones(2)}),
         ValueError, "boolean"),
        (({"w": np.ones(2)}, {"w": np.ones(2)}, {"w": np.zeros(2, bool)}),
         ValueError, "no weight to compare"),
        (({"w": np.ones(2)}, {"w": np.ones(2)}, None, 0.5),
         TypeError, "baseline"),
    ],
)
def test_stability_refuses(arguments, error, said):
    with pytest.raises(error, match=said):
        analysis.stability(*arguments)


def test_movement_by_hand():
    found = analysis.weight_movement(
        {"w": np.zeros(4)},
        {"w": np.array([3.0, -4.0, 1.0, 0.0])},
        {"w": np.array([True, True, False, False])},
        quantiles=(0, 0.5, 1),
    )
    assert found.kept.number == 2 and found.kept.distance == 5.0
    assert found.kept.mean == 3.5
    assert found.kept.quantiles == {0.0: 3.0, 0.5: 3.5, 1.0: 4.0}
    assert found.pruned.quantiles == {0.0: 0.0, 0.5: 0.5, 1.0: 1.0}
    assert found.layers["w"] == (found.kept, found.pruned)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0.0, 1.0))
def test_movement_adds_up(seed, density):
    a, b, m = weights(seed), weights(seed + 1), masks(seed, density)
    found = analysis.weight_movement(a, b, m)
    moved = sum(((a[key] - b[key]) ** 2).sum() for key in a)
    total = found.kept.distance ** 2 + found.pruned.distance ** 2
    assert total == pytest.approx(moved)
    assert found.kept.number + found.pruned.number == 44
    for travel in (found.kept, found.pruned):
        if travel.number:
            values = list(travel.quantiles.values())
            assert values == sorted(values)
        else:
            assert math.isnan(travel.mean) and travel.distance == 0.0


def test_movement_refuses():
    with pytest.raises(ValueError, match=r"fractions in \[0, 1\]"):
        analysis.weight_movement(weights(0), weights(1), masks(0), [50])
    with pytest.raises(ValueError, match="no weights for some masks"):
        analysis.weight_movement({"w": np.ones(3)}, weights(1), masks(0))
    chart = analysis.weight_movement(weights(0), weights(1), masks(0)).chart()
    records = chart["data"]["values"]
    assert [r["x"] for r in records] == 2 * [0.05, 0.25, 0.5, 0.75, 0.95]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.0, 1.0))
def test_the_overlap_of_nested_masks_is_the_ratio_of_densities(seed, share):
    outer = masks(seed, 0.8)
    outer["b/kernel"][0] = True
    rng = np.random.default_rng(seed)
    inner = {k: m & (rng.random(m.shape) < share) for k, m in outer.items()}
    found = analysis.mask_overlap({"outer": outer, "inner": inner})
    assert found.names == ["outer", "inner"]
    ratio = tfl.masks.density(inner) / tfl.masks.density(outer)
    assert found.matrix == pytest.approx(np.array([[1, ratio], [ratio, 1]]))
    for key in outer:
        one = analysis.mask_overlap([{key: outer[key]}, {key: inner[key]}])
        assert (found.layers[key] == one.matrix).all()


@pytest.mark.parametrize("kept", [(3, 2), (6, 6), (12, 5), (0, 4)])
def test_the_expected_overlap_is_what_random_masks_have(kept):
    first = {"a": np.arange(12) < kept[0], "b": np.arange(30) < 20}
    second = {"a": np.arange(12) < kept[1], "b": np.arange(30) < 9}
    drawn = [
        tfl.masks.overlap(
            tfl.masks.shuffle(first, seed), tfl.masks.shuffle(second, 9 + 7919
                                                              * seed)
        )
        for seed in range(3000)
    ]
    error = 4 * np.std(drawn) / math.sqrt(len(drawn))
    found = analysis.expected_overlap(first, second)
    assert found == pytest.approx(np.mean(drawn), abs=error + 5e-4)


def test_the_expected_overlap_of_small_masks():
    """Three and two of six: 0, 1 or 2 in common, 3, 9, 3 times of 15."""
    a, b = {"w": np.arange(6) < 3}, {"w": np.arange(6) < 2}
    exact = 9 / 15 * 1 / 4 + 3 / 15 * 2 / 3
    found = analysis.expected_overlap(a, b)
    assert found == pytest.approx(exact, abs=0.005)
    # The ratio of the mean counts alone is farther off.
    assert abs(1 / 4 - exact) > 5 * abs(found - exact)


def test_the_expected_overlap_of_large_masks_has_a_closed_form():
    a = {"w": np.arange(100_000) < 30_000}
    b = {"w": np.arange(100_000) < 20_000}
    assert analysis.expected_overlap(a, b) == pytest.approx(
        0.06 / (0.3 + 0.2 - 0.06), rel=1e-4
    )
    nothing = {"w": np.zeros(5, bool)}
    assert analysis.expected_overlap(nothing, nothing) == 1.0
    found = analysis.mask_overlap([a, b])
    assert found.expected[0, 1] == found.expected_layers["w"][1, 0]


def test_overlap_of_tickets_and_what_it_refuses():
    model = conftest.sequential()
    ticket = tfl.Ticket.of(model, conftest.random_masks(model))
    shuffled = tfl.controls.random_masks(ticket, seed=1)
    found = analysis.mask_overlap([ticket, shuffled])
    assert found.names == ["0", "1"] and found.matrix[0, 1] < 0.5
    cells = [r["value"] for r in found.chart()["data"]["values"]]
    assert cells == found.matrix.ravel().tolist()
    with pytest.raises(ValueError, match="must not be empty"):
        analysis.mask_overlap([])
    with pytest.raises(TypeError, match="list of tickets"):
        analysis.mask_overlap(ticket)
    with pytest.raises(TypeError, match="tf_lottery.Ticket"):
        analysis.mask_overlap([3])
    with pytest.raises(ValueError, match="same keys"):
        analysis.mask_overlap([ticket, {"w": np.ones(2, bool)}])


def test_layer_densities():
    one = {"a": np.array([True, False]), "b": np.ones(3, bool)}
    expected = {"a": 0.5, "b": 1.0}
    assert analysis.layer_densities(one) == expected
    assert analysis.layer_densities([one, one]) == [expected, expected]
    assert analysis.layer_densities({"t": one}) == {"t": expected}
    model = conftest.sequential()
    ticket = tfl.Ticket.of(model, conftest.random_masks(model))
    assert analysis.layer_densities(ticket) == tfl.masks.densities(ticket.masks)
    model.compile("sgd", "mse")
    ticket.apply(model)
    assert analysis.layer_densities(model) == tfl.masks.densities(ticket.masks)


def test_effective_density_is_that_of_paths():
    assert analysis.effective_density is tfl.paths.effective_density
