"""Rounds that take whole groups of units away, as plans say."""

import functools

import keras
import numpy as np
import pytest
from keras import layers

import tf_lottery as tfl
from tests import conftest
from tests.conftest import loss
from tf_lottery import graph as graph_lib
from tf_lottery import structured

HALF_IN_TWO = 1 - 0.5 ** 0.5
# Of normalisations that are rescaled, which no test here trains on.
pytestmark = pytest.mark.filterwarnings("ignore:The small model computes the")


def transformer():
    """A block with heads, an MLP, normalisation and a residual width."""
    inputs = keras.Input((4,), dtype="int32")
    x = layers.Embedding(9, 8, name="width")(inputs)
    y = layers.RMSNormalization(name="norm1")(x)
    x = x + layers.MultiHeadAttention(4, 2, name="attention")(y, y)
    y = layers.RMSNormalization(name="norm2")(x)
    y = layers.Dense(6, name="up")(y)
    y = layers.ReLU()(layers.BatchNormalization(name="batch")(y))
    x = x + layers.Dense(8, name="down")(y)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


X = np.random.default_rng(0).integers(0, 9, (48, 4))
Y = X.sum(axis=1) % 3


class Ends(conftest.BatchEnds):
    """Which units are gone, whole, at every batch end."""

    def __init__(self):
        super().__init__()
        self.gone = []

    def on_train_begin(self, logs=None):
        self.graph = graph_lib.trace(self.model)

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        self.gone.append(gone(self.graph))


def gone(graph):
    """Ids of units whose weights are all pruned; those of others are not."""
    masks = tfl.masks_of(graph.model)
    whole, zero = np.ones(graph.size, bool), np.zeros(graph.size, bool)
    for binding in graph.bindings:
        if binding.key in masks:
            mask = np.moveaxis(masks[binding.key], binding.axis, 0)
            pruned = ~mask.reshape(len(mask), -1).any(axis=1)
            zero[binding.ids[pruned]] = True
            whole[binding.ids[~pruned]] = False
    np.testing.assert_array_equal(zero[graph.ids], whole[graph.ids])
    return set(graph.ids[whole[graph.ids]].tolist())


def fit(model, plan=structured.plan, rounds=2, rate=HALF_IN_TWO, **options):
    model.compile(keras.optimizers.SGD(0.01), loss(), metrics=["accuracy"])
    imp = tfl.IterativeMagnitudePruning(
        rounds=rounds, epochs_per_round=1, rate=rate, plan=plan,
        monitor="accuracy", **{"rewind": "none", "verbose": 0} | options,
    )
    ends = Ends()
    model.fit(
        X, Y, batch_size=16, epochs=imp.epochs, verbose=0,
        callbacks=[imp, ends],
    )
    assert ends.revived == 0
    return imp, ends.gone


def left(model):
    return [len(group) for group in graph_lib.trace(model).groups]


def flipping(score=1):
    """A criterion that scores the other way round at each call."""
    def flip(model, variables):
        nonlocal score
        score = -score
        return {
            key: score * np.arange(np.prod(v.shape)).reshape(v.shape)
            for key, v in variables.items()
        }

    return flip


@pytest.mark.parametrize("options, rewind", [
    ({"criterion": flipping(), "scope": "global"}, "none"),
    pytest.param({}, "none", marks=pytest.mark.slow),
    pytest.param(
        {"criterion": "taylor", "data": (X, Y), "scope": "isomorphic"},
        "weights", marks=pytest.mark.slow,
    ),
])
def test_groups_go_step_by_step_and_for_good(options, rewind):
    model = transformer()
    before = left(model)
    plan = functools.partial(structured.plan, **options)
    imp, at_batches = fit(model, plan, rewind=rewind)
    one, two = at_batches[3], at_batches[6]
    assert at_batches == 3 * [set()] + 3 * [one] + 3 * [two]
    assert one < two
    small = structured.compact(model)
    if options.get("scope") != "global":
        assert left(small) == [round(n / 2) for n in before]
    assert sum(before) - sum(left(small)) == len(two)
    assert structured.proof_of(small).weights_error < 1e-6
    np.testing.assert_allclose(
        small.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-5
    )
    assert imp.results[0].effective_density == 1
    assert imp.ticket(2).masks.keys() == tfl.masks_of(model).keys()


def test_rates_by_group_and_at_most():
    model = transformer()
    plan = functools.partial(structured.plan, max_ratio={"up": 0.4})
    fit(model, plan, rate={"attention:heads": HALF_IN_TWO, "up": 0.9})
    graph = graph_lib.trace(model)
    removed = gone(graph)
    found = {g.name: len(removed & {*g.classes}) for g in graph.groups}
    assert {k: n for k, n in found.items() if n} == {
        "attention:heads": 2, "up": 2
    }


@pytest.mark.slow
def test_any_budget_and_what_tensorboard_is_told():
    model = transformer()
    imp, _ = fit(
        model, lambda model, ratio: structured.plan(model, params=1 - ratio)
    )
    small = structured.compact(model)
    assert small.count_params() <= 0.5 * model.count_params()
    densities = [result.density for result in imp.results]
    assert densities[0] == 1 and densities[2] < densities[1] < 0.8
    assert {"params", "scope", "round_to"} < imp.protocol().keys()


@pytest.mark.parametrize("options, expected", [
    ({"plan": "magnitude"}, "a callable `f.model, ratio.`"),
    ({"plan": structured.Plan([], [], {}, {}, {})}, "plan=<Plan: 0 of 0 units"),
    ({"scope": "layer"}, "beside `plan`: .'scope': 'layer'"),
    ({"criterion": "taylor"}, "beside `plan`: .'criterion': 'taylor'"),
    ({"rate": lambda results: 0.1}, "`rate` must be a float or a dict where"),
    ({"plan": lambda model, ratio: {}}, "returns a `tf_lottery.structured.P"),
    ({"rate": {"nothing": 0.1}}, "names 'nothing', which is no"),
    ({"plan": lambda model, ratio: structured.plan(dense(6), ratio)},
     "does not fit model"),
])
def test_bad_input_shows_before_training(options, expected):
    model = transformer()
    before = model.get_weights()
    with pytest.raises((ValueError, TypeError), match=expected):
        fit(model, **options)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def dense(width):
    inputs = keras.Input((4,))
    x = layers.Dense(width, name="one")(inputs)
    x = layers.Dense(8, name="two")(x)
    return keras.Model(inputs, layers.Dense(3)(x))


@pytest.mark.parametrize("rate", [0.5, {"one": 0.5, "t*": 0.75}])
def test_rounds_go_on_from_units_that_are_gone(rate):
    model = dense(12)
    plan = structured.plan(model, ratio={"one": 0.5, "two": 0.25})
    tfl.hold(model, plan.masks(model))
    fit(model, rounds=1, rate=rate)
    # 8 of 20 are gone: 70% of each, or of the first 75% and 81%.
    assert left(structured.compact(model)) == (
        [4, 2] if rate == 0.5 else [3, 2]
    )


def test_a_round_that_removes_nothing_warns():
    with pytest.warns(UserWarning, match="Round 2 trains what round 1 did"):
        fit(dense(4), lambda model, ratio: structured.plan(model, 0.5))


def test_a_model_without_units_is_refused():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    with pytest.raises(ValueError, match="(?s)no units that .*model output"):
        fit(model)
