"""The summary names every weight, its density, or why it is not pruned."""

import conftest
import keras
import pytest

import tf_lottery as tfl


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
