"""Representative data of every kind are the same arrays."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_lottery.export import feeding

X = np.arange(40, dtype="float32").reshape(20, 2)
BATCHES = [X[:8], X[8:16], X[16:]]


class Sequence(keras.utils.PyDataset):
    @property
    def num_batches(self):
        return 3

    def __getitem__(self, index):
        return BATCHES[index], np.zeros(len(BATCHES[index]))


@pytest.mark.parametrize(
    "data",
    [
        X,
        tf.data.Dataset.from_tensor_slices(X).batch(8),
        tf.data.Dataset.from_tensor_slices((X, X)).batch(8),
        Sequence(),
        iter(BATCHES),
        lambda: ((batch, batch) for batch in BATCHES),
    ],
    ids=["array", "tf.data", "labels", "PyDataset", "generator", "callable"],
)
def test_every_kind(data):
    np.testing.assert_array_equal(feeding.arrays(data), X)


def test_the_converters_own_form_for_several_inputs():
    found = feeding.arrays(lambda: ([row[None], -row[None]] for row in X))
    np.testing.assert_array_equal(found, [X, -X])


def test_endless_data_are_read_in_part():
    def endless():
        while True:
            yield {"a": X}

    assert len(feeding.arrays(endless)["a"]) == 500


@pytest.mark.parametrize(
    "wrong, message",
    [(lambda: None, "arrays or batches"), (iter([]), "without a batch"),
     (iter([1.0]), "batch dimension")],
)
def test_what_is_no_data_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        feeding.arrays(wrong)
