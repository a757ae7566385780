"""Sensitivity: one part pruned at a time, against doing it by hand."""

import json
import math

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tests import conftest

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6, 6, 2)).astype("float32")
Y = RNG.integers(0, 3, 40)


def cnn():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(8, 3, use_bias=False, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(8, 3, padding="same", name="inner")(x) + x
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(x))
    model.compile("sgd", conftest.loss(), metrics=["accuracy"])
    return model


def loss_of(model):
    return model.evaluate(X, Y, verbose=0)[0]


@pytest.fixture(scope="module")
def found():
    model = cnn()
    before = [w.copy() for w in model.get_weights()]
    table = tfl.sensitivity(model, (X, Y), [0.5, 0.25], batch_size=16)
    for now, then in zip(model.get_weights(), before):
        np.testing.assert_array_equal(now, then)
    return table


def readings(found, kind):
    return [r for r in found.readings if r.kind == kind]


@pytest.mark.slow
def test_weights_cost_what_pruning_them_alone_costs(found):
    names = [(r.name, r.sparsity) for r in readings(found, "weights")]
    assert names == [
        (f"{name}/kernel", sparsity)
        for name in ("conv", "inner", "logits") for sparsity in (0.25, 0.5)
    ]
    for reading in readings(found, "weights"):
        model = cnn()
        name = reading.name.removesuffix("/kernel")
        masks = tfl.prune(model, {name: reading.sparsity}, scope="layer")
        assert reading.loss == pytest.approx(loss_of(model), abs=1e-5)
        size = masks[reading.name].size
        assert reading.size == size
        assert reading.removed == pytest.approx(reading.sparsity, abs=1 / size)


def test_channels_cost_what_shrinking_them_costs(found):
    (half,) = [r for r in readings(found, "channels") if r.sparsity == 0.5]
    assert (half.name, half.size, half.removed) == ("conv", 8, 0.5)
    model = cnn()
    plan = tfl.structured.plan(model, ratio=0.5)
    small = tfl.structured.shrink(model, plan)
    small.compile("sgd", conftest.loss(), metrics=["accuracy"])
    assert half.loss == pytest.approx(loss_of(small), abs=1e-5)


def test_bits_cost_what_rounding_costs(found):
    rounded = readings(found, "bits")
    assert [(r.name, r.bits) for r in rounded][:2] == [
        ("conv/kernel", 8), ("conv/kernel", 4),
    ]
    assert [r.removed for r in rounded[:2]] == [0.75, 0.875]
    for reading in rounded:
        model = cnn()
        layer = model.get_layer(reading.name.removesuffix("/kernel"))
        kernel, *rest = layer.get_weights()
        largest = np.abs(kernel).max(tuple(range(kernel.ndim - 1)))
        step = largest / (2 ** (reading.bits - 1) - 1)
        layer.set_weights([np.round(kernel / step) * step, *rest])
        assert reading.loss == pytest.approx(loss_of(model), abs=1e-5)
    fewest = found.fewest_bits(10.0)
    assert fewest == dict.fromkeys(fewest, 4)
    assert set(found.fewest_bits(0.0).values()) <= {None, 4, 8}
    assert "4 bits" in str(found)


def test_what_is_not_measured_has_a_reason(found):
    assert found.skipped["norm/gamma"] == "normalisation"
    assert found.skipped["logits"] == "model output"
    assert found.examples == 40
    assert found.loss == pytest.approx(loss_of(cnn()), abs=1e-5)


def test_largest_stops_where_the_loss_is_higher():
    def reading(sparsity, loss):
        return tfl.compression.Reading(
            "weights", "a/kernel", 8, sparsity, sparsity, loss, None
        )

    found = tfl.compression.Sensitivity(
        "net", 1.0, None, 4,
        (reading(0.9, 1.05), reading(0.25, 1.05), reading(0.5, float("inf"))),
        {},
    )
    assert found.largest(0.1) == {"a/kernel": 0.25}
    assert found.largest(0.01) == {"a/kernel": 0.0}
    assert found.largest(0.1, "channels") == {}
    losses = [r["loss"] for r in json.loads(found.to_json())["readings"]]
    assert losses == [1.05, 1.05, None]
    assert "+inf" in str(found)


def test_largest_is_a_sparsity_for_prune(found):
    model = cnn()
    found = found.largest(10.0)
    masks = tfl.prune(model, found, scope="layer")
    assert tfl.masks.density(masks) == pytest.approx(0.5, abs=0.01)


def test_allocation_spares_what_is_sensitive():
    def reading(name, sparsity, loss, size):
        return tfl.compression.Reading(
            "weights", name, size, sparsity, sparsity, loss, None
        )

    found = tfl.compression.Sensitivity(
        "net", 1.0, None, 4, (
            reading("a", 0.5, 0.9, 300), reading("a", 0.8, 1.1, 300),
            reading("b", 0.5, 2.0, 100), reading("b", 0.8, math.inf, 100),
        ), {},
    )
    for sparsity, a, b in (
        (0.3, 0.4, 0), (0.6, 0.8, 0), (0.7, 0.8, 0.4), (0.8, 0.8, 0.8),
    ):
        given = found.allocate(sparsity)
        assert given == pytest.approx({"a": a, "b": b}, abs=0.03)
        assert 0.75 * given["a"] + 0.25 * given["b"] > sparsity - 1e-9
    with pytest.raises(ValueError, match="measured of all weights, 0.8"):
        found.allocate(0.81)
    with pytest.raises(ValueError, match="all channels"):
        found.allocate(0.1, "channels")


def test_what_is_allocated_can_be_pruned(found):
    model = cnn()
    masks = tfl.prune(model, found.allocate(0.4), scope="layer")
    assert tfl.masks.density(masks) == pytest.approx(0.6, abs=0.05)
    ratio = found.allocate(0.4, "channels")
    plan = tfl.structured.plan(model, ratio=ratio)
    assert plan.removed >= 0.3 * sum(r.size for r in {
        r.name: r for r in found.readings if r.kind == "channels"
    }.values())


def test_table_chart_and_json(found, tmp_path):
    text = str(found)
    assert "conv/kernel" in text and "8 channels" in text
    assert "of 40 examples" in " ".join(text.split())
    tfl.analysis.save_plot(found, tmp_path / "sensitivity.svg")
    fields = json.loads(found.to_json())
    assert len(fields["readings"]) == len(found.readings)


def test_a_criterion_that_moves_weights_and_a_pattern_of_one_density():
    def losses(criterion):
        found = tfl.sensitivity(
            cnn(), (X, Y), [0.25, 0.75], criterion, "2:4", channels=False
        )
        # Two channels are no group of four.
        assert [r.removed for r in found.readings[:4]] == [0, 0, 0.25, 0.5]
        return np.array([r.loss - found.loss for r in found.readings])

    moved, plain = losses("obc"), losses("magnitude")
    assert np.abs(moved).sum() < 0.5 * np.abs(plain).sum()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"sparsities": [1.0]}, "numbers in \\(0, 1\\)"),
        ({"sparsities": 0.5}, "a list of floats"),
        ({"exclude": ["none"]}, "names 'none'"),
        ({"data": (np.full_like(X, np.nan), Y)}, "`data` must hold finite"),
        ({"data": (X[:, 1:], Y)}, "^Input 0 .*expected shape=.*found shape"),
        ({"data": (X, Y + 9)}, "cannot be run.* label value of .* outside"),
    ],
)
def test_what_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        tfl.sensitivity(cnn(), **{"data": (X, Y), **arguments})


def test_a_model_without_a_loss():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="Compile the model, or pass `loss=`"):
        tfl.sensitivity(model, (np.ones((4, 2)), np.ones((4, 2))))
