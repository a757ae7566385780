"""EarlyBird: a round ends when its masks have stopped changing."""

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tests import conftest


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 10)).astype("float32")
    return x, rng.integers(0, 4, 64)


def compiled(rate=1e-5):
    model = conftest.functional()
    model.compile(keras.optimizers.SGD(rate), conftest.loss())
    return model


def test_stops_when_masks_are_stable(data):
    stop = tfl.callbacks.EarlyBird(rate=0.5, window=3, pattern="unstructured")
    history = compiled().fit(*data, epochs=9, callbacks=[stop], verbose=0)
    assert len(history.epoch) == 4
    assert stop.distances == [0.0, 0.0, 0.0]


def test_goes_on_while_masks_change(data):
    stop = tfl.callbacks.EarlyBird(
        rate=0.5, window=2, threshold=1e-6, pattern="unstructured"
    )
    history = compiled(0.5).fit(*data, epochs=5, callbacks=[stop], verbose=0)
    assert len(history.epoch) == 5
    assert all(distance > 0 for distance in stop.distances)


def test_distances_are_those_of_the_masks(data):
    model, seen = compiled(0.1), []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            scores = tfl.criteria.score(model)
            size = sum(score.size for score in scores.values())
            keep = size - round(0.3 * size)
            seen.append(tfl.masks.select(scores, keep))

    stop = tfl.callbacks.EarlyBird(
        rate=0.3, threshold=1e-9, pattern="unstructured"
    )
    model.fit(*data, epochs=4, callbacks=[stop, Watch()], verbose=0)
    expected = [
        np.mean(np.concatenate([(a[k] != b[k]).ravel() for k in a]))
        for a, b in zip(seen[1:], seen)
    ]
    np.testing.assert_allclose(stop.distances, expected)


def test_ends_rounds(data):
    imp = tfl.IterativeMagnitudePruning(
        rounds=2, epochs_per_round=6, rate=0.3, pattern="channel",
        monitor="loss", verbose=0,
        round_callbacks=lambda: [tfl.callbacks.EarlyBird(0.3, window=1)],
    )
    history = compiled().fit(
        *data, epochs=imp.epochs, callbacks=[imp], verbose=0
    )
    assert history.history["round"] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    "name, value",
    [
        ("rate", 1.5), ("threshold", 0), ("window", 0), ("pattern", "stripe"),
        ("criterion", "magic"),
    ],
)
def test_invalid_arguments(name, value):
    with pytest.raises(ValueError, match=name):
        tfl.callbacks.EarlyBird(**{"rate": 0.5, name: value})
