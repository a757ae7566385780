"""What the companion is asked, and what comes back of it."""

import os
import warnings

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tests import conftest
from tf_lottery import paths
from tf_lottery.utils import backends
from tf_lottery.utils import companion


class Scaled(keras.layers.Layer):
    """Dense layers inside; known to Keras by no registration."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.inner = keras.layers.Dense(units, name="inner")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, inputs):
        return 2.0 * self.inner(inputs)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def custom():
    model = keras.Sequential([
        keras.Input((4,)), Scaled(3, name="scaled"),
        keras.layers.Dense(2, name="logits"),
    ])
    model.compile("adam", lambda y_true, y_pred: y_pred)
    return model


def local():
    class Local(keras.Model):
        """Takes nothing, as classes in scripts do."""

        def __init__(self):
            super().__init__()
            self.scaled = Scaled(3, name="scaled")
            self.logits = keras.layers.Dense(2, name="logits")

        def call(self, inputs):
            return self.logits(self.scaled(inputs))

    model = Local()
    model(np.zeros((1, 4), "float32"))
    return model


# What the companion does here.


def called(function, value):
    return function(value + 1)


def warned():
    warnings.warn("seen")
    warnings.warn("not of the user's", DeprecationWarning)
    print("between the answers")
    return os.environ["KERAS_BACKEND"]


class Failure(ValueError):
    def __init__(self, number, name):
        super().__init__(f"{name} {number}")
        self.number = number


def failed(foreign):
    if foreign:
        raise Failure(3, "failed with")
    raise KeyError("a", "b")


def ended():
    os._exit(3)


@pytest.mark.parametrize("build", [custom, local])
def test_paths_are_those_of_the_masks(build):
    first = np.array([[1, 0, 1]] * 4, bool)
    masks = {
        "scaled/inner/kernel": first,
        "logits/kernel": np.array([[0, 1], [1, 1], [0, 0]], bool),
    }
    model = build()
    weights = model.get_weights()
    found = companion.ask(paths.effective_masks, model, masks, None)
    np.testing.assert_array_equal(
        found["scaled/inner/kernel"], first & [True, False, False]
    )
    np.testing.assert_array_equal(
        found["logits/kernel"], [[0, 1], [0, 0], [0, 0]]
    )
    for before, after in zip(weights, model.get_weights()):
        np.testing.assert_array_equal(before, after)


def test_functions_here_are_called():
    tensor = keras.ops.convert_to_tensor([1.0, 2.0])
    seen = []

    def function(value):
        seen.append(value)
        return value.sum()

    assert companion.ask(called, companion.Here(function), tensor) == 5
    np.testing.assert_array_equal(seen, [[2, 3]])


def test_warnings_and_errors_come_back():
    with pytest.warns(UserWarning, match="seen"):
        assert companion.ask(warned) == "tensorflow"
    with pytest.raises(KeyError) as raised:
        companion.ask(failed, False)
    assert raised.value.args == ("a", "b")
    # Classes of others may not be there.
    with pytest.raises(RuntimeError, match="Failure: failed with 3"):
        companion.ask(failed, True)


def test_an_error_of_a_function_here_comes_back():
    def broken(value):
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        companion.ask(called, companion.Here(broken), 1)


@pytest.mark.slow
def test_an_interrupt_leaves_the_next_answer_right():
    def interrupted(value):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        companion.ask(called, companion.Here(interrupted), 1)
    assert companion.ask(called, companion.Here(float), 1) == 2


@pytest.mark.slow
def test_one_that_ended_is_started_again():
    with pytest.raises(RuntimeError, match="ended by itself"):
        companion.ask(ended)
    assert companion.ask(called, companion.Here(float), 1) == 2


def test_what_cannot_be_brought_there_is_refused():
    class Secret(keras.layers.Layer):
        def __init__(self, code):
            super().__init__()

    model = keras.Sequential([keras.Input((2,)), Secret(3)])
    with pytest.raises(ValueError) as raised:
        companion.ask(paths.effective_masks, model, {}, None)
    message = str(raised.value)
    assert f"Received: backend {conftest.BACKEND!r}" in message
    assert "Secret" in message and "`get_config`" in message


def test_a_latency_is_measured_elsewhere(monkeypatch):
    monkeypatch.setattr(backends, "is_tensorflow", lambda: False)
    model = keras.Sequential([
        keras.Input((64,)), keras.layers.Dense(512),
        keras.layers.Dense(512), keras.layers.Dense(4),
    ])
    plan = tfl.structured.plan(model, latency_ms=1e6)
    assert plan.removed == 0 and plan.after["latency_ms"] > 0
    with pytest.raises(ValueError, match="the whole one .* ms. Received: lat"):
        tfl.structured.plan(model, latency_ms=1e-7)
