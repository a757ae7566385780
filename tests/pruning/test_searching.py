"""Pruning with sparsities that a search on data finds."""

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tests import conftest
from tf_lottery.criteria import layer_inputs

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 12)).astype("float32")


def net():
    """A network whose first layer is redundant, and whose last is not."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((12,)),
        keras.layers.Dense(30, "tanh", name="wide"),
        keras.layers.Dense(10, name="narrow"),
        keras.layers.Dense(4, name="logits"),
    ])
    wide = model.get_layer("wide")
    kernel, bias = wide.get_weights()
    kernel[:, 6:] *= 0.01
    wide.set_weights([kernel, bias])
    model.compile("sgd", conftest.loss())
    return model


def moved(model, reference):
    return float(np.square(model(X) - reference(X)).mean())


@pytest.mark.parametrize("criterion", ["magnitude", "obc"])
def test_a_search_moves_the_outputs_less_at_the_same_number(criterion):
    found = {}
    for scope in ("layer", "global", "search"):
        model = net()
        masks = tfl.prune(
            model, 0.5, criterion, scope=scope, data=(X, np.zeros(64))
        )
        assert tfl.masks.count(masks) == tfl.masks.size(masks) // 2
        found[scope] = moved(model, net())
    assert found["search"] <= 1.05 * min(found["global"], found["layer"])
    assert found["search"] < 0.8 * max(found["global"], found["layer"])


def test_what_is_pruned_stays_so_and_no_weight_is_emptied():
    model = net()
    before = tfl.prune(model, 0.3)
    for sparsity in (0.6, 0.9):
        masks = tfl.prune(model, sparsity, scope="search", data=X)
        kept = tfl.masks.size(masks) - round(sparsity * tfl.masks.size(masks))
        assert tfl.masks.count(masks) == kept
        assert all(mask.any() for mask in masks.values())
        assert all((masks[key] <= before[key]).all() for key in masks)
    held = tfl.masks_of(model)
    assert all(np.array_equal(held[key], masks[key]) for key in masks)


def test_each_group_of_sparsities_keeps_its_own_number():
    masks = tfl.prune(
        net(), {"*": 0.8, "logits": 0.25, "wide": 0.0}, scope="search", data=X
    )
    assert masks["logits/kernel"].sum() == 30
    assert masks["narrow/kernel"].sum() == 60
    assert masks["wide/kernel"].all()


@pytest.mark.parametrize("pattern", ["2:4", "channel"])
def test_patterns_without_free_densities_are_refused(pattern):
    with pytest.raises(ValueError, match="a density of its own"):
        tfl.prune(net(), 0.5, scope="search", pattern=pattern, data=X)


def test_data_that_do_not_fit_are_refused_and_nothing_changes():
    model = net()
    before = model.get_weights()
    for data, said in (
        (None, "must be data"), (X[:, :3], "does not fit model"),
        (np.full_like(X, np.nan), "finite"),
    ):
        with pytest.raises(ValueError, match=said):
            tfl.prune(model, 0.5, scope="search", data=data)
    for now, then in zip(model.get_weights(), before):
        np.testing.assert_array_equal(now, then)


def test_rounds_know_no_search():
    with pytest.raises(ValueError, match="must be one of 'global', 'layer'"):
        tfl.IterativeMagnitudePruning(1, 1, scope="search")


def test_gram_matrices_are_measured_once(monkeypatch):
    made = []
    plain = layer_inputs.LayerInputs.sums

    def sums(self, *args):
        made.append(self)
        return plain(self, *args)

    monkeypatch.setattr(layer_inputs.LayerInputs, "sums", sums)
    tfl.prune(net(), 0.5, "obc", "search", data=X)
    assert len(made) == 1
