"""Plans whose ratios a search on data finds."""

import functools

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tests import conftest

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 8, 8, 2)).astype("float32")


def net():
    """A network whose first convolution is redundant."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((8, 8, 2)),
        keras.layers.Conv2D(16, 3, activation="relu", name="wide"),
        keras.layers.Conv2D(16, 3, activation="relu", name="needed"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3, name="logits"),
    ])
    layer = model.get_layer("needed")
    kernel, bias = layer.get_weights()
    # What reads most of `wide` hardly does.
    kernel[:, :, 3:] *= 0.01
    layer.set_weights([kernel, bias])
    model.compile("sgd", conftest.loss())
    return model


def moved(plan):
    model = net()
    small = tfl.structured.shrink(model, plan)
    return float(np.square(small(X) - model(X)).mean())


@pytest.mark.parametrize("budget", [
    {"ratio": 0.4}, {"params": 0.5}, {"macs": 0.5}, {"bytes": 0.5},
])
def test_a_search_meets_the_budget_and_moves_the_outputs_less(budget):
    model = net()
    (name,) = budget
    plans = {
        scope: tfl.structured.plan(model, scope=scope, data=X, **budget)
        for scope in ("layer", "search")
    }
    counted = {"ratio": "units"}.get(name, name)
    found = plans["search"]
    share = 1 - budget[name] if name == "ratio" else budget[name]
    before = 32 if name == "ratio" else found.before[counted]
    assert found.after[counted] <= share * before + (
        found.before[counted] - before
    )
    assert moved(found) < 0.5 * moved(plans["layer"])
    kept = {group.name: len(group.kept) for group in found.groups}
    assert kept["wide"] < kept["needed"]


def test_nothing_is_removed_where_nothing_has_to_go():
    plan = tfl.structured.plan(net(), ratio=0, scope="search", data=X)
    assert plan.removed == 0


def test_what_stays_whatever_the_ratios():
    plan = tfl.structured.plan(
        net(), ratio=0.9, scope="search", data=X, round_to=4,
        exclude="needed", max_ratio={"wide*": 0.5},
    )
    kept = {group.name: len(group.kept) for group in plan.groups}
    assert kept == {"wide": 8, "needed": 16}


def test_rounds_take_a_search_as_any_plan():
    model = net()
    imp = tfl.IterativeMagnitudePruning(
        rounds=2, epochs_per_round=1, rate=0.3, rewind="none", monitor="loss",
        plan=functools.partial(
            tfl.structured.plan, scope="search", data=X
        ), verbose=0,
    )
    model.fit(X, np.zeros(48), epochs=imp.epochs, callbacks=[imp], verbose=0)
    small = tfl.structured.compact(model)
    assert small.count_params() < 0.7 * net().count_params()


@pytest.mark.parametrize("data, said", [
    (None, "must be data"), (X[..., :1], "does not fit model"),
])
def test_data_that_do_not_fit_are_refused(data, said):
    with pytest.raises(ValueError, match=said):
        tfl.structured.plan(net(), ratio=0.5, scope="search", data=data)
