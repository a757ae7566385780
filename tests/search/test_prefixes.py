"""What is computed once, and from where on a model is run again."""

import keras
import numpy as np
import pytest

from tf_lottery.graph import steps
from tf_lottery.search import prefixes

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(12, 8, 8, 2)).astype("float32")
WORDS = RNG.integers(0, 9, size=(12, 6)) * (np.arange(6) < 4)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(prefixes, "_LAYERS", 1)


def images():
    inputs = keras.Input((8, 8, 2), name="image")
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(inputs)
    x = keras.layers.BatchNormalization()(x)
    y = keras.layers.Conv2D(4, 3, padding="same", name="inner")(x)
    x = keras.layers.ReLU()(x + keras.layers.Dropout(0.5)(y))
    x = keras.layers.Flatten()(x)
    return keras.Model(
        {"image": inputs}, {
            "a": keras.layers.Dense(3, name="last")(x),
            "b": keras.layers.Dense(2)(x),
        },
    )


def words():
    return keras.Sequential([
        keras.Input((6,)),
        keras.layers.Embedding(9, 4, mask_zero=True),
        keras.layers.Dense(4, name="first"),
        keras.layers.LSTM(4, name="inner"), keras.layers.Dense(2, name="last"),
    ])


def joined(parts):
    return [
        np.concatenate(list(map(keras.ops.convert_to_numpy, each)))
        for each in zip(*map(keras.tree.flatten, parts))
    ]


def expected(model, batches):
    return joined(model(x, training=False) for x in batches)


def outputs(prefix):
    return joined(prefix.outputs())


@pytest.mark.parametrize("build, data", [
    (images, {"image": IMAGES}), (words, WORDS),
])
def test_outputs_are_those_of_the_whole_model(build, data):
    keras.utils.set_random_seed(0)
    model = build()
    batches = [
        keras.tree.map_structure(lambda a: a[i:i + 6], data) for i in (0, 6)
    ]
    prefix = prefixes.Prefix(model, batches)
    for name in ("first", "inner", "last", "inner"):
        layer = model.get_layer(name)
        before = layer.get_weights()
        prefix.start_at(layer.trainable_variables)
        layer.set_weights([0.5 * w for w in before])
        for found, whole in zip(outputs(prefix), expected(model, batches)):
            np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-5)
        layer.set_weights(before)


def test_what_is_before_runs_once():
    model, batches = images(), [{"image": IMAGES}]
    prefix, whole = prefixes.Prefix(model, batches), expected(model, batches)
    prefix.start_at(model.get_layer("last").trainable_variables)
    layer = model.get_layer("first")
    # Against the rule, to see what is not computed again.
    layer.kernel.assign(0 * layer.kernel)
    np.testing.assert_allclose(outputs(prefix)[0], whole[0], rtol=1e-4)
    prefix.start_at(layer.trainable_variables)
    now = outputs(prefix)[0]
    assert np.abs(now - whole[0]).max() > 0.1
    np.testing.assert_allclose(now, expected(model, batches)[0], rtol=1e-4)


def test_models_inside_are_cut_as_well():
    inner = keras.Sequential([
        keras.Input((8,)), keras.layers.Dense(8, "relu", name="in"),
        keras.layers.Dense(8, "relu", name="out"),
    ])
    x = np.array(RNG.normal(size=(12, 8)), "float32")
    inputs = keras.Input((8,))
    model = keras.Model(inputs, keras.layers.Dense(2)(
        inner(keras.layers.Dense(8, name="first")(inner(inputs)))
    ))
    prefix, whole = prefixes.Prefix(model, [x]), expected(model, [x])
    prefix.start_at(model.layers[-1].trainable_variables)
    assert prefix._at == len(prefix._steps) - 1 == 5
    np.testing.assert_allclose(outputs(prefix)[0], whole[0], rtol=1e-4)
    # It is called twice, first of all.
    prefix.start_at(inner.get_layer("out").trainable_variables)
    assert prefix._at == 1
    inner.get_layer("out").kernel.assign(inner.get_layer("out").kernel * 0.5)
    np.testing.assert_allclose(
        outputs(prefix)[0], expected(model, [x])[0], rtol=1e-4
    )


def test_models_that_are_no_graph_are_run_whole():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = keras.layers.Dense(2)

        def call(self, x):
            return self.inner(x)

    model, x = Own(), IMAGES[:, 0, 0]
    model(x)
    prefix = prefixes.Prefix(model, [x])
    prefix.start_at(model.trainable_variables)
    np.testing.assert_allclose(
        outputs(prefix)[0], expected(model, [x])[0], rtol=1e-5
    )


def test_few_layers_are_not_cut(monkeypatch):
    monkeypatch.undo()
    model = words()
    prefix = prefixes.Prefix(model, [WORDS])
    prefix.start_at(model.get_layer("last").trainable_variables)
    assert not prefix._cuts and len(outputs(prefix)) == 1


def test_batches_go_through_in_pieces_of_one_size(monkeypatch):
    monkeypatch.setattr(steps, "_BYTES", 4 * 5 * 200)
    monkeypatch.setattr(steps, "_SHARE", 0)
    model = keras.Sequential([
        keras.Input((8,)), keras.layers.Dense(200), keras.layers.Dense(8),
        keras.layers.Dense(8), keras.layers.Dense(2, name="last"),
    ])
    x = RNG.normal(size=(12, 8)).astype("float32")
    batches = [x[:7], x[7:]]
    prefix, whole = prefixes.Prefix(model, batches), expected(model, batches)
    sizes = set()

    def seen(run):
        def noted(state):
            sizes.add(len(state))
            return run(state)

        return noted

    prefix._run = seen(prefix._run)
    for found, right in zip(outputs(prefix), whole):
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5)
    assert sizes == {4}
    # What is later makes less of each example.
    prefix.start_at(model.get_layer("last").trainable_variables)
    assert prefix._size == 7


def test_a_batch_size_that_is_fixed_stays(monkeypatch):
    monkeypatch.setattr(steps, "_BYTES", 0)
    model = keras.Sequential([
        keras.Input((6, 4), batch_size=8), keras.layers.LSTM(3, stateful=True),
    ])
    x = RNG.normal(size=(8, 6, 4)).astype("float32")
    prefix = prefixes.Prefix(model, [x])
    assert prefix._size == 8 and len(outputs(prefix)[0]) == 8


def test_rows_that_are_no_examples_are_not_cut_off(monkeypatch):
    monkeypatch.setattr(steps, "_BYTES", 0)
    inputs = keras.Input((6, 4))
    x = keras.layers.Dense(4)(keras.ops.reshape(inputs, (-1, 4)))
    rows = keras.layers.Dense(4, activation="relu")(x)
    x = keras.layers.Dense(2)(keras.ops.reshape(rows, (-1, 24)))
    last = keras.layers.Dense(2, name="last")
    model = keras.Model(inputs, [rows, last(x)])
    x = RNG.normal(size=(13, 6, 4)).astype("float32")
    prefix, whole = prefixes.Prefix(model, [x]), expected(model, [x])
    for variables in ([], last.trainable_variables):
        prefix.start_at(variables)
        for found, right in zip(outputs(prefix), whole, strict=True):
            np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5)
