"""Clusters: few values, found well, kept by training and files, with zeros."""

import json

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tf_lottery import clusters as clusters_lib
from tf_lottery.holding import carrier
from tf_lottery.quantize import kmeans


def small_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((6, 6, 2)),
        keras.layers.Conv2D(5, 3, name="conv"),
        keras.layers.Flatten(),
        keras.layers.Dense(20, activation="relu", name="fc"),
        keras.layers.Dense(3, name="logits"),
    ])
    # Most of the time of these tests would be tracing.
    model.compile("adam", "mse", run_eagerly=True)
    return model


def fit(model, epochs=2):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 6, 6, 2)).astype("float32")
    y = rng.normal(size=(32, 3)).astype("float32")
    model.fit(x, y, batch_size=8, epochs=epochs, verbose=0)


def kernel(model, name):
    return np.asarray(model.get_layer(name).kernel)


@pytest.mark.parametrize("kind", ["normal", "laplace", "trimmed"])
@pytest.mark.parametrize("size", [300, 20000])
def test_kmeans_is_no_worse_than_scikit_learn(kind, size):
    sklearn_cluster = pytest.importorskip("sklearn.cluster")
    rng = np.random.default_rng(0)
    values = rng.laplace(size=size) if kind == "laplace" else (
        rng.normal(size=size)
    )
    if kind == "trimmed":
        values = values[np.abs(values) > 1.2]
    found = kmeans.centroids(values, 16)
    error = np.square(values - found[kmeans.nearest(values, found)]).sum()
    theirs = sklearn_cluster.KMeans(16, n_init=1, random_state=0)
    assert len(found) == 16
    assert error <= 1.01 * theirs.fit(values[:, None]).inertia_


def test_values_that_are_few_are_found_exactly():
    values = np.array([3.0, -1.0, 3.0, 0.5])
    np.testing.assert_array_equal(kmeans.centroids(values, 4), [-1, 0.5, 3])


@pytest.mark.parametrize("optimizer", [
    "adam", *(pytest.param(name, marks=pytest.mark.slow)
              for name in ("sgd", "muon")),
])
def test_training_moves_values_and_keeps_clusters_and_masks(optimizer):
    model = small_model()
    model.compile(optimizer, "mse")
    masks = tfl.prune(model, sparsity=0.5)
    values = tfl.cluster(model, clusters=4)
    groups = {
        name: np.unique(kernel(model, name), return_inverse=True)[1]
        for name in ("conv", "fc", "logits")
    }
    fit(model)
    for name, group in groups.items():
        found = kernel(model, name)
        unique, after = np.unique(found, return_inverse=True)
        assert len(unique) <= 4 and 0 in unique
        np.testing.assert_array_equal(found != 0, masks[f"{name}/kernel"])
        assert not np.array_equal(unique, values[f"{name}/kernel"])
        assert (group.ravel() == after.ravel()).mean() > 0.9


def test_gradients_of_a_cluster_are_one():
    model = small_model()
    model.compile(keras.optimizers.Adam(0.01), "mse", run_eagerly=True)
    tfl.prune(model, sparsity=0.5)
    tfl.cluster(model, clusters=4)
    fit(model)
    trained = kernel(model, "fc")
    slots = {v.path.split("/")[-1]: v for v in model.optimizer.variables}
    momentum = next(
        np.asarray(v) for name, v in slots.items()
        if "fc_kernel_momentum" in name
    )
    for value in np.unique(trained):
        assert len(np.unique(momentum[trained == value])) == 1
    assert not momentum[trained == 0].any()


def test_each_channel_has_values_of_its_own():
    model = small_model()
    values = tfl.cluster(model, clusters=3, per="channel")
    assert values["conv/kernel"].shape == (5, 3)
    fit(model)
    for channel in range(5):
        assert len(np.unique(kernel(model, "conv")[..., channel])) <= 3
    assert len(np.unique(kernel(model, "conv"))) > 3


def test_zeros_without_a_mask_stay_zero():
    model = small_model()
    tfl.prune(model, sparsity=0.5)
    plain = tfl.strip(model)
    plain.run_eagerly = True
    zeros = kernel(plain, "fc") == 0
    tfl.cluster(plain, clusters=4)
    fit(plain)
    assert not kernel(plain, "fc")[zeros].any()


def test_pruning_after_clustering_moves_no_value_towards_zero():
    model = small_model()
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    tfl.cluster(model, clusters=4)
    before = np.unique(kernel(model, "fc"))
    # A part of a cluster.
    tfl.prune(model, sparsity=0.2)
    fit(model, 1)
    after = np.setdiff1d(kernel(model, "fc"), [0.0])
    assert len(after) == len(before)
    assert np.isclose(after[:, None], before, rtol=1e-6).any(1).all()


@pytest.mark.parametrize("per", ["layer", "channel"])
def test_files_carry_clusters(per, tmp_path):
    model = small_model()
    tfl.prune(model, sparsity=0.5)
    tfl.cluster(model, clusters=4, per=per, exclude="logits")
    fit(model)
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    other = small_model()
    other.optimizer.build(other.trainable_variables)
    tfl.load_weights(other, tmp_path / "m.weights.h5")
    before = kernel(model, "fc")
    for made in (loaded, other):
        np.testing.assert_array_equal(kernel(made, "fc"), before)
        assert clusters_lib.clusters_of(made.get_layer("logits").kernel) is None
        made.run_eagerly = True
        fit(made, 1)
        after = kernel(made, "fc")
        rows = range(20) if per == "channel" else [slice(None)]
        for row in rows:
            pairs = {*zip(before[:, row].flat, after[:, row].flat)}
            assert len(pairs) == len(np.unique(before[:, row])) <= 4
        assert not np.array_equal(after, before)


def test_shrinking_carries_clusters():
    model = small_model()
    tfl.prune(model, sparsity=0.5)
    tfl.cluster(model, clusters=4)
    small = tfl.structured.shrink(model, tfl.structured.plan(model, 0.5))
    small.run_eagerly = True
    for _ in range(2):
        assert len(np.unique(kernel(small, "fc"))) == 4
        fit(small, 1)


def test_a_wrapped_copy_says_that_it_holds_no_clusters():
    model = small_model()
    tfl.cluster(model, clusters=4, exclude="conv")
    with pytest.warns(UserWarning, match="no clusters.* fc/kernel, logits/k"):
        copy = tfl.layers.wrap(model)
    np.testing.assert_array_equal(
        np.asarray(copy.get_layer("fc").layer.kernel), kernel(model, "fc")
    )


@pytest.mark.parametrize("number", [0, 1, 3, 258, -1, "four", [4], 10**30])
def test_clusters_of_a_file_that_do_not_fit_are_refused(number, tmp_path):
    model = small_model()
    tfl.cluster(model, clusters=4, exclude="logits")
    stored = {}
    carrier.of(model).save_own_variables(stored)
    header = json.loads(stored["header"].tobytes())
    header["clusters"]["logits/kernel"] = number
    stored["header"] = np.frombuffer(json.dumps(header).encode(), "uint8")
    with pytest.raises(ValueError, match="of this file are damaged"):
        carrier.read(stored)


def test_a_constraint_of_the_user_stays():
    model = keras.Sequential([
        keras.Input((4,)),
        keras.layers.Dense(6, kernel_constraint="non_neg", name="fc"),
    ])
    tfl.cluster(model, clusters=3)
    tfl.cluster(model, clusters=2)
    shared = clusters_lib.clusters_of(model.get_layer("fc").kernel)
    assert isinstance(shared.constraint, keras.constraints.NonNeg)


def test_weights_that_are_not_finite_are_refused():
    model = small_model()
    model.get_layer("fc").kernel.assign(np.full((80, 20), np.nan))
    with pytest.raises(ValueError, match="'fc/kernel'.*not finite"):
        tfl.cluster(model)
