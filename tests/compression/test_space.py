"""What can be removed: errors and costs as they are said to be."""

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tf_lottery.compression import channels
from tf_lottery.compression import costs
from tf_lottery.compression import refits
from tf_lottery.compression import space as space_lib
from tf_lottery.compression import weights
from tf_lottery.search import measuring

RNG = np.random.default_rng(0)
MIX = RNG.normal(size=(4, 12))
X = (RNG.normal(size=(200, 4)) @ MIX + 0.5).astype("float32")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential([
        keras.Input((12,)), keras.layers.Dense(10, "relu", name="fc1"),
        keras.layers.Dense(10, "relu", name="fc2"),
        keras.layers.Dense(3, name="logits"),
    ])


@pytest.mark.parametrize("examples", [1, 200])
def test_inputs_that_hardly_change(model, examples):
    """Years, among others: what sums in float32 leave is no variance."""
    x = X[:examples].copy()
    x[:, 3] = 1e4 + x[:, 3]
    kernel = model.layers[0].kernel
    refit = refits.Refits(model, {"fc1/kernel": kernel}, x)["fc1/kernel"]
    mask = np.ones(tuple(kernel.shape), bool)
    mask[0] = False
    (_, value), _ = refit.values(mask)
    assert np.isfinite(refit.costs(mask)).all() and np.isfinite(value).all()


@pytest.fixture(scope="module")
def space(model):
    cost = costs.Cost("size", "int8")
    made = space_lib.Space(
        model, X, channels.Channels(model, ()),
        weights.Weights(model, {}, cost.nbytes, (), ()),
    )
    made.use(*made.measure(lambda text: None))
    return made


def test_nothing_removed_is_the_model(model, space):
    same = space.model_at([0] * len(space.names))
    np.testing.assert_array_equal(same.predict(X), model.predict(X))
    assert set(space.removed([0] * len(space.names)).values()) == {0}
    assert all(errors[0] == 0 for errors in space.errors)


@pytest.mark.parametrize("part, level", [(0, 5), (1, 3), (3, 3), (4, 5)])
def test_an_error_is_what_the_outputs_change_by(model, space, part, level):
    levels = [0] * len(space.names)
    levels[part] = level
    expected, found = model.predict(X), space.model_at(levels).predict(X)
    change = np.square(found - expected).sum()
    spread = np.square(expected - expected.mean(0)).sum()
    assert space.errors[part][level] == pytest.approx(change / spread, 1e-3)
    assert space.cost(levels) < space.cost([0] * len(levels))
    assert space.removed(levels)[space.names[part]] > 0


def test_what_goes_first_of_few_channels_or_weights_costs_something():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((12,)), keras.layers.Dense(4, name="fc1"),
        keras.layers.Dense(3, name="logits"),
    ])
    key, kernel = "fc1/kernel", model.layers[0].kernel
    before = RNG.random(kernel.shape) < 0.45
    kernel.assign(kernel * before)
    made = space_lib.Space(
        model, X, channels.Channels(model, ()),
        weights.Weights(model, {key: before}, lambda w: w.size, (), ()),
    )
    made.use(*made.measure(lambda text: None))
    whole = made.removed([0] * len(made.names))
    for part, name in enumerate(made.names):
        for level, error in enumerate(made.errors[part]):
            levels = [0] * len(made.names)
            levels[part] = level
            gone = made.removed(levels)[name] > whole[name]
            assert (error > 1e-6) == gone, (name, level)


def test_distances_of_heavy_models_are_of_few_examples(space, monkeypatch):
    assert len(space._some()) == 200
    monkeypatch.setattr(space_lib, "_WORK", 250 * 100)
    assert len(space._some()) == 100
    np.testing.assert_array_equal(space._some()[[0, -1]], X[[0, -1]])
    monkeypatch.setattr(space_lib, "_WORK", 1)
    assert len(space._some()) == 64


def test_what_stays_makes_up_for_what_goes(model, space):
    levels = [0, 0, 4, 0, 0]
    small = space.model_at(levels)
    mask = small.get_layer("fc1").kernel.numpy() != 0
    kernel = model.get_layer("fc1").kernel.numpy()

    def error(value, bias=0):
        return np.square(X @ value + bias - X @ kernel).sum()

    assert 0.3 < mask.mean() < 0.5
    found = small.get_layer("fc1")
    assert error(found.kernel.numpy(), found.bias.numpy()) < (
        0.2 * error(kernel * mask)
    )


def test_biases_keep_the_means_of_outputs(model, space):
    small = space.model_at([0, 0, 6, 0, 0])
    kernel = model.get_layer("fc1").kernel.numpy()
    change = X @ (small.get_layer("fc1").kernel.numpy() - kernel)
    assert np.abs(change.mean(0)).max() > 0.05
    shift = (small.get_layer("fc1").bias - model.get_layer("fc1").bias).numpy()
    np.testing.assert_allclose(change.mean(0) + shift, 0, atol=1e-4)
    least = np.square(change + shift).sum()
    solved = X - X.mean(0)
    for column in range(10):
        kept = small.get_layer("fc1").kernel.numpy()[:, column] != 0
        fit = np.linalg.lstsq(
            solved[:, kept], solved @ kernel[:, column], rcond=None
        )[0]
        least -= np.square(
            solved[:, kept] @ fit - solved @ kernel[:, column]
        ).sum()
    assert 0 <= least < 0.05 * np.square(change + shift).sum() + 1e-3


def test_fewer_bits_are_levels_too(model):
    cost, widths = costs.Cost("size", "int8"), (None, 6, 4, 3)
    made = space_lib.Space(
        model, X, channels.Channels(model, ()),
        weights.Weights(model, {}, cost.nbytes, (), (), widths),
    )
    made.use(*made.measure(lambda text: None))
    step = len(measuring.DENSITIES)
    part = made.names.index("fc1/kernel")
    errors, taken = made.errors[part], made.costs["fc1/kernel"]
    assert len(errors) == len(taken) == 4 * step
    assert (np.diff(errors[::step]) > 0).all()
    assert taken[3 * step] < taken[2 * step] < taken[0]
    levels = [0] * len(made.names)
    for level, width in ((2 * step, 4), (3 * step + 3, 3)):
        levels[part] = level
        assert made.bits(levels) == {"fc1/kernel": width}
        found = made.model_at(levels)
        assert made.round(found, levels)
        value = found.get_layer("fc1").kernel.numpy()
        assert (value == 0).mean() >= 1 - measuring.DENSITIES[level % step]
        for column in value.T:
            # Both signs of what is left of a sign bit, and zero.
            assert len(np.unique(column)) <= 2**width - 1
    levels[part] = 2 * step
    found = made.model_at(levels)
    made.round(found, levels)
    expected = model.predict(X)
    change = np.square(found.predict(X) - expected).sum()
    spread = np.square(expected - expected.mean(0)).sum()
    assert errors[2 * step] == pytest.approx(change / spread, 1e-3)
    assert not made.round(found, [0] * len(made.names))
    assert made.cost(levels) < made.cost([0] * len(levels))


def test_channels_and_weights_at_once(model, space):
    levels = [4, 0, 3, 3, 0]
    small = space.model_at(levels)
    assert small.get_layer("fc1").kernel.shape == (12, 5)
    assert small.get_layer("fc2").kernel.shape == (5, 10)
    assert not small.get_layer("fc2").kernel.numpy().all()
    empty = space.empty_at(levels)
    assert [w.shape for w in empty.weights] == [w.shape for w in small.weights]
    before = model.predict(X)
    np.testing.assert_array_equal(model.predict(X), before)


def test_the_cost_of_a_weight_is_what_files_store():
    kernel = RNG.normal(size=(64, 64)) * (RNG.random((64, 64)) < 0.1)
    dense, flash = RNG.normal(size=(64, 64)), costs.Cost("flash", "int8")
    assert flash.nbytes(dense) == 64 * 64
    assert flash.nbytes(kernel) < 0.5 * 64 * 64
    assert costs.Cost("flash", None).nbytes(dense) == 4 * 64 * 64
    size = costs.Cost("size", "int8")
    assert size.nbytes(kernel) < flash.nbytes(kernel) < size.nbytes(dense) * 2
    assert size.budget({"size": "64 KiB"}) == 65536


def test_all_positions_of_a_kernel_have_one_scale():
    model = keras.Sequential([
        keras.Input((8, 8, 16)), keras.layers.Conv2D(16, 3, name="conv"),
    ])
    found = weights.Weights(
        model, {}, costs.Cost("size", "int8").nbytes, (), (), (None, 4)
    )
    kernel = RNG.normal(size=(3, 3, 16, 16))
    found.variables["conv/kernel"].assign(kernel)
    even = found.costs("conv/kernel")
    # Next to the middle the others are rounded to nothing.
    kernel[:1] *= 0.01
    kernel[2:] *= 0.01
    found.variables["conv/kernel"].assign(kernel)
    whole, rounded = found.costs("conv/kernel")
    assert whole < 0.8 * even[0] and rounded < 0.5 * even[1]


def test_a_distance_needs_finite_outputs(model):
    broken = keras.models.clone_model(model)
    broken.layers[-1].bias.assign([np.nan, 0, 0])
    with pytest.raises(ValueError, match="not finite"):
        measuring.Distance(broken, X)
    assert measuring.Distance(model, X)() == 0


def test_a_model_without_channels_says_so():
    lone = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="no channels"):
        tfl.compress(lone, (X[:, :4], X[:, 0] > 0), (X[:, :4], X[:, 0] > 0),
                     "macs", 0.5)
