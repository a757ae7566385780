"""Prices: what is dear goes first."""

import keras
import numpy as np
import pytest

from tf_lottery.compression import channels
from tf_lottery.compression import prices
from tf_lottery.compression import space as space_lib
from tf_lottery.compression import weights
from tf_lottery.export.shares import Share
from tf_lottery.search import allocation

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(200, 4)) @ RNG.normal(size=(4, 12))).astype("float32")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential([
        keras.Input((12,)), keras.layers.Dense(16, "relu", name="fc1"),
        keras.layers.Dense(16, "relu", name="fc2"),
        keras.layers.Dense(3, name="logits"),
    ])


def quiet(text):
    """Says nothing."""


def test_a_layer_that_is_ten_times_as_dear_is_cut_more(model):
    space = space_lib.Space(model, X, channels.Channels(model, ()), None)
    tables, gone = space.measure(quiet)

    def removed(shares):
        found = tables if shares is None else tables | {
            "prices": vars(space._priced(shares, 100.0))
        }
        space.use(found, gone)
        allocator = allocation.Allocator(space.errors, space.cost)
        levels = allocator.within(0.5 * allocator.whole)
        assert space.cost(levels) <= 0.5 * allocator.whole
        return space.removed(levels)

    # 12 * 16, 16 * 16 and 16 * 3 weights.
    first = removed([Share(192, 0.8), Share(256, 0.1), Share(48, 0.02)])
    last = removed([Share(192, 0.08), Share(256, 0.1), Share(48, 0.8)])
    evenly = removed(None)
    assert first["fc1"] > evenly["fc1"] > last["fc1"]
    assert first["fc2"] < last["fc2"]


def test_multiplications_are_all_of_one_price(model):
    space = space_lib.Space(model, X, channels.Channels(model, ()), None)
    space.use(*space.measure(quiet))
    assert space.cost([0, 0]) == 192 + 256 + 48
    assert sum(space.least.values()) == space.cost([9, 9]) < 50


def test_zeros_are_searched_for_where_memory_is_waited_for(model):
    space = space_lib.Space(
        model, X, channels.Channels(model, (), 8),
        weights.Weights(model, {}, np.count_nonzero, (), ()),
    )
    space.use(*space.measure(quiet, [
        Share(192, 0.1), Share(256, 0.2, 0.8), Share(48, 0.05),
    ], 1000.0))
    assert space.names == ["fc1", "fc2", "fc2/kernel"]
    whole = space.cost([0, 0, 0])
    assert whole == pytest.approx(950)
    # Fewer bytes are read faster, until it multiplies all the time.
    assert space.cost([0, 0, 1]) < whole
    assert space.cost([0, 0, 11]) == pytest.approx(350)
    # Of 16 channels 8 are kept, or all.
    assert set(np.round(list(space.removed([4, 9, 0]).values()), 1)) == {
        0, 0.5
    }


def test_what_no_operator_is_found_for_has_the_mean_price():
    macs = {"a/kernel": 100, "b/kernel": 300, "attention": 50, "c/kernel": 20}
    found = prices.of_shares(
        [Share(10, 0.5), Share(10, 0.1), Share(7, 0.2)], 10.0,
        {"a/kernel": 10, "b/kernel": 10, "c/kernel": 5}, macs, {},
    )
    assert found.macs == pytest.approx({
        "a/kernel": 0.015, "b/kernel": 0.015, "attention": 0.015,
        "c/kernel": 0.015,
    })
    alone = prices.of_shares([], 47.0, {}, macs, {})
    assert sum(alone.of(macs, {}).values()) == pytest.approx(47)
