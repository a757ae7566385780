"""`--data`: a file, a directory, a function or a name."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_lottery.commands import data


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model():
    return keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )


X = np.random.default_rng(0).random((6, 4, 4, 1), "float32")
Y = np.arange(6) % 2


def test_names(model):
    eight = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    found = data.load("digits", eight)
    assert [len(part[0]) for part in (found.train, found.val, found.test)] == [
        1000, 350, 447
    ]
    inputs, labels = data.first(found.train, 3)
    assert inputs.shape == (3, 8, 8, 1) and labels.shape == (3,)
    with pytest.raises(ValueError, match=r"Expected: \[\(None, 4, 4, 1\)\]"):
        data.load("digits", model)


def test_files(model):
    np.savez("one.npz", x=X, y=Y)
    found = data.load("one.npz", model)
    for part in (found.train, found.val, found.test):
        np.testing.assert_array_equal(part[0], X)
    rest, held, note = found.split()
    np.testing.assert_array_equal(held[0], X[[4]])
    np.testing.assert_array_equal(rest[1], np.delete(Y, 4))
    assert "1 of its 6 examples" in note
    np.savez("two.npz", x_train=X, y_train=Y, x_test=X[:2], y_test=Y[:2])
    found = data.load("two.npz", model)
    assert [len(part[0]) for part in (found.train, found.val, found.test)] == [
        6, 2, 2
    ]
    assert found.split() == (found.train, found.val, None)


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"images": X}, "x_train, y_train"),
        ({"x": X, "y": Y[:3]}, "as many inputs as labels"),
        ({"x": X[:, :2], "y": Y}, "does not fit the model"),
        ({"x": np.array([None]), "y": Y}, "cannot be read"),
    ],
)
def test_bad_files(model, arrays, words):
    np.savez("bad.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        data.load("bad.npz", model)


@pytest.mark.parametrize("text", ["nothing", "none.npz", "a b:c d", ":f"])
def test_what_is_no_data(text):
    with pytest.raises(ValueError, match="Expected: one of .*module:function"):
        data.kind(text)


def test_functions(model, tmp_path):
    (tmp_path / "own_module.py").write_text(
        "import numpy as np, tensorflow as tf\n"
        "x, y = np.ones((6, 4, 4, 1), 'float32'), np.zeros(6)\n"
        "def pair(): return x, y\n"
        "def parts(): return (x, y), (x[:2], y[:2])\n"
        "def batches():\n"
        "    return tf.data.Dataset.from_tensor_slices((x, y)).batch(4)\n"
        "def three(): return x, y, y\n"
        "def empty(): return ()\n"
        "def word(): return 'digits'\n"
    )
    for name, sizes in (
        ("pair", [6, 6]), ("parts", [6, 2]), ("batches", [6, 6])
    ):
        found = data.load(f"own_module:{name}", model)
        assert [len(found.train[0]), len(found.test[0])] == sizes
    for name in ("three", "empty", "word", "no"):
        words = "imported" if name == "no" else "returned no data"
        with pytest.raises(ValueError, match=words):
            data.load(f"own_module:{name}", model)


def test_directories(model, tmp_path):
    whole = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)
    whole.save(str(tmp_path / "saved"))
    np.testing.assert_array_equal(data.load("saved", model).train[0], X)
    for part in ("train", "test"):
        for label in ("cat", "dog"):
            place = tmp_path / "images" / part / label
            place.mkdir(parents=True)
            keras.utils.save_img(place / "one.png", X[0])
    found = data.load("images", model)
    assert found.test[0].shape == (2, 4, 4, 1)
    assert sorted(found.train[1].tolist()) == [0, 1]
    flat = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="height, width"):
        data.load("images", flat)
