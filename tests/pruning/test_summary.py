"""The summary names every weight, its density, or why it is not pruned."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_lottery as tfl
from tests import conftest


def test_summary_counts_and_reasons():
    model = conftest.functional()
    model.get_layer("fc2").trainable = False
    model.compile("adam", "mse")
    masks = tfl.prune(model, 0.5, exclude=("logits",))
    summary = tfl.summary(model, exclude=("logits",))
    rows = {row.key: row for row in summary.rows}
    assert rows["fc1/kernel"].kept == masks["fc1/kernel"].sum() == 60
    assert rows["fc1/kernel"].note == "held"
    assert rows["fc2/kernel"].note == "frozen"
    assert rows["logits/kernel"].note == "excluded by 'logits'"
    assert rows["norm/gamma"].note == "normalisation"
    assert rows["fc1/bias"].note == "bias or vector"
    assert summary.density == summary.to_dict()["density"] == 0.5
    assert rows["fc2/kernel"].density == 1.0


def test_summary_prints_as_a_table(compiled):
    tfl.prune(compiled, 0.75)
    text = str(tfl.summary(compiled))
    assert "fc1/kernel" in text and "25.00%" in text and "10x12" in text


def test_summary_of_a_model_that_is_not_built():
    model = keras.Sequential([keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="not built"):
        tfl.summary(model)


def chain():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(4, name="a"),
            keras.layers.Dense(2, name="b"),
        ]
    )
    model.compile("sgd", "mse")
    return model


def test_effective_density_stands_beside_the_density():
    model = chain()
    assert tfl.summary(model).effective == 1.0
    assert tfl.summary(model).rows[0].effective is None
    mask = np.ones((4, 4), bool)
    mask[:, :3] = False
    tfl.hold(model, {"a/kernel": mask, "b/kernel": np.ones((4, 2), bool)})
    summary = tfl.summary(model)
    rows = {row.key: row for row in summary.rows}
    assert rows["b/kernel"].density == 1.0
    assert rows["b/kernel"].live == 2 and rows["b/kernel"].effective == 0.25
    assert rows["a/kernel"].effective == rows["a/kernel"].density == 0.25
    assert rows["a/bias"].effective is None
    assert summary.density == 12 / 24 and summary.effective == 6 / 24
    as_dict = summary.to_dict()
    assert as_dict["effective"] == 0.25 and as_dict["reason"] == ""
    assert [row["effective"] for row in as_dict["rows"]] == [
        0.25, None, 0.25, None
    ]
    assert "25.00%" in str(summary)


def test_masks_of_biases_are_no_part_of_the_effective_density():
    model = chain()
    mask = np.array([True, False, False, False])
    masks = {
        "a/kernel": mask * np.ones((4, 1), bool), "a/bias": mask,
        "b/kernel": mask[:, None] * np.ones((1, 2), bool),
    }
    tfl.hold(model, masks)
    summary = tfl.summary(model)
    assert [row.effective for row in summary.rows] == [0.25, None, 0.25, None]
    assert summary.density == summary.effective == 0.25
    assert tfl.paths.effective_density(model) == 0.25
    assert "a/bias" not in tfl.paths.effective_masks(model)


class Eigenvalues(keras.layers.Layer):
    def call(self, inputs):
        return inputs + tf.linalg.eigvalsh(inputs @ tf.transpose(inputs))[0]


def test_effective_density_that_is_not_known():
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(2, name="a")(Eigenvalues(name="odd")(inputs))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    tfl.prune(model, 0.5)
    summary = tfl.summary(model)
    assert summary.density == 0.5
    assert summary.effective is None and summary.rows[0].effective is None
    assert "odd" in summary.reason
    assert "n/a" in str(summary) and "SelfAdjointEigV2" in str(summary)
