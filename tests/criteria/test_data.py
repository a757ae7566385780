"""What data criteria read, and how."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_lottery as tfl
from tests.conftest import loss
from tests.conftest import sequential
from tf_lottery.criteria.batches import batches_of
from tf_lottery.criteria.taylor import SNIP


class Dataset(keras.utils.PyDataset):
    def __init__(self, x, y, number=4):
        super().__init__()
        self.x, self.y, self.number = x, y, number

    @property
    def num_batches(self):
        return self.number

    def __getitem__(self, index):
        part = slice(24 * index % 96, 24 * index % 96 + 24)
        return self.x[part], self.y[part]


def kinds(x, y):
    dataset = tf.data.Dataset.from_tensor_slices((x, y))
    return {
        "arrays": (x, y),
        "list": [x, y],
        "tensors": (tf.constant(x), tf.constant(y)),
        "numbers": (x, y.tolist()),
        "tf.data": dataset.batch(24),
        "shuffled": dataset.shuffle(96).batch(24),
        "PyDataset": Dataset(x, y),
        "Replay": tfl.data.Replay(x, y, batch_size=24),
    }


def loader(x, y):
    torch = pytest.importorskip("torch")
    tensors = torch.utils.data.TensorDataset(*map(torch.from_numpy, (x, y)))
    return torch.utils.data.DataLoader(tensors, 24)


@pytest.mark.parametrize("kind", [
    "arrays", "list", "tensors", "numbers", "tf.data", "shuffled",
    "PyDataset", "Replay", "DataLoader",
])
def test_every_kind_of_data(kind, data):
    model = sequential()
    criterion = SNIP(loss=loss(), batch_size=24)
    wanted = tfl.criteria.score(model, criterion, data=data)
    if kind == "numbers":
        given = (data[0], np.array(data[1].tolist()))
    elif kind == "DataLoader":
        given = loader(*data)
    else:
        given = kinds(*data)[kind]
    found = tfl.criteria.score(model, criterion, data=given)
    for key in wanted:
        np.testing.assert_allclose(
            found[key], wanted[key], 1e-3, 1e-4 * wanted[key].max())


@pytest.mark.parametrize("kind", ["arrays", "tf.data", "PyDataset", "Replay"])
def test_as_many_batches_as_asked_and_the_same_again(kind, data):
    batches = batches_of(kinds(*data)[kind], batches=3, batch_size=24)
    first = [np.array(x) for x, _, _ in batches]
    assert [len(x) for x in first] == [24] * 3
    np.testing.assert_array_equal(first, [np.array(x) for x, _, _ in batches])


def test_a_shuffled_dataset_is_read_once_where_batches_are_asked(data):
    batches = batches_of(kinds(*data)["shuffled"], batches=2)
    first = [np.array(y) for _, y, _ in batches]
    np.testing.assert_array_equal(first, [np.array(y) for _, y, _ in batches])


def test_replay_stays_where_it_is(data):
    replay = tfl.data.Replay(*data, batch_size=24)
    replay.start(round=1, step=2)
    replay.on_epoch_begin()
    list(batches_of(replay))
    np.testing.assert_array_equal(replay[0][1], replay.batch(1, 2)[1])


def test_structures_of_inputs(data):
    x = {"a": data[0], "b": [data[0], data[0]]}
    (batch, y, weight), = batches_of((x, data[1], data[1]), batch_size=96)
    assert batch["b"][1].shape == (96, 10) and weight.shape == y.shape


@pytest.mark.parametrize("endless", ["tf.data", "PyDataset"])
def test_endless_data_need_a_number(endless, data):
    given = {
        "tf.data": kinds(*data)["tf.data"].repeat(),
        "PyDataset": Dataset(*data, number=None),
    }[endless]
    with pytest.raises(ValueError, match="never ends.*batches=None"):
        batches_of(given, criterion="snip")
    assert len(list(batches_of(given, batches=6))) == 6


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda x, y: None, ValueError, "'snip' needs data"),
        (lambda x, y: x, TypeError, "cannot read this data.*ndarray"),
        (lambda x, y: iter([(x, y)]), TypeError, "cannot read this data"),
        (lambda x, y: (x,), ValueError, "needs inputs and labels"),
        (lambda x, y: (x, None), ValueError, "no labels"),
        (lambda x, y: (x, y[:5]), ValueError, "equal length.*'5', '96'"),
        (lambda x, y: (x[:0], y[:0]), ValueError, "without a single example"),
        (lambda x, y: tf.data.Dataset.from_tensor_slices(x).batch(9),
         ValueError, "needs inputs and labels"),
        (lambda x, y: tf.data.Dataset.from_tensor_slices((x, y)),
         ValueError, "must come in batches"),
        (lambda x, y: kinds(x, y)["tf.data"].take(0),
         ValueError, "without a single example"),
        (lambda x, y: tfl.data.Replay(x), ValueError, "inputs and labels"),
    ],
)
def test_bad_data(make, error, message, data):
    with pytest.raises(error, match=f"(?s){message}"):
        list(batches_of(make(*data), criterion="snip"))


def test_bad_numbers(data):
    with pytest.raises(ValueError, match="batches=0"):
        batches_of(data, batches=0)
    with pytest.raises(ValueError, match="batch_size=True"):
        batches_of(data, batch_size=True)
    with pytest.raises(ValueError, match="batches=9, data with 4 batches"):
        list(batches_of(data, batches=9, batch_size=24))
