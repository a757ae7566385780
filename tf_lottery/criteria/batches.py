"""The data of criteria: arrays, datasets and `PyDataset`s as batches."""

import functools
import itertools
import sys
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tf_lottery import data as data_lib
from tf_lottery.utils import backends
from tf_lottery.utils import checks
from tf_lottery.utils.backends import tf

_KINDS = (
    "arrays `(x, y)` or `(x, y, sample_weight)`, a batched "
    "`tf.data.Dataset`, a `keras.utils.PyDataset` or a `DataLoader` of torch "
    "of such batches"
)


class Batches:
    """Batches that can be gone through more than once.

    The function returns an iterator of batches as the data has them.
    """

    def __init__(
        self, function: Callable[[], Iterator[Any]], criterion: str
    ) -> None:
        self.function = function
        self.criterion = criterion

    def __iter__(self) -> Iterator[tuple[Any, Any, Any]]:
        empty = True
        for batch in self.function():
            batch = _unpack(batch, self.criterion)
            if len_of(batch[0]):
                empty = False
                yield batch
        if empty:
            raise ValueError(
                f"Criterion '{self.criterion}' needs data. Received: data "
                "without a single example."
            )


def batches_of(data, batches=None, batch_size=128, criterion="criterion"):
    """Returns the `Batches` of any kind of data, `(x, y, sample_weight)`.

    All are read as often as needed; the weight may be `None`. A
    `tf_lottery.data.Replay` is read from its first step and stays at the step
    it is at.

    Args:
        data: Arrays `(x, y)` or `(x, y, sample_weight)`, where each may be a
            dict or a list of arrays; a batched `tf.data.Dataset`; a
            `keras.utils.PyDataset`; a `torch.utils.data.DataLoader`; or a
            `Replay`.
        batches: Integer, the number of batches to use. Defaults to `None`:
            all batches.
        batch_size: Integer, for arrays. Defaults to 128.
        criterion: String, the criterion's name for error messages.
    """
    checks.whole("batch_size", batch_size)
    checks.optional(checks.whole, "batches", batches)
    check_given(data, criterion)
    function, length = _source(data, batch_size, criterion)
    if batches is None:
        if length == float("inf"):
            raise ValueError(
                f"The data of criterion '{criterion}' never ends. Take some "
                "(`dataset.take(100)`), or say how many `batches` a criterion "
                "is to use. Received: batches=None"
            )
        return Batches(function, criterion)
    return Batches(_first(function, batches), criterion)


def check_given(data, criterion):
    """Raises a `ValueError` if there are no data."""
    if data is None:
        raise ValueError(
            f"Criterion '{criterion}' needs data. Expected: `data`, {_KINDS}. "
            "Received: data=None"
        )


def labelled(data):
    """Returns data with labels, zeros where they are an array of inputs."""
    if hasattr(data, "shape"):
        return data, np.zeros(len(data))
    return data


def len_of(structure):
    """Returns the number of examples in a batch of inputs."""
    return int(keras.tree.flatten(structure)[0].shape[0])


def _source(data, batch_size, criterion):
    """Returns a function that begins to read, and how many batches follow."""
    if isinstance(data, data_lib.Replay):
        # Not by index: that would move the order that `fit` goes on with.
        steps = range(data.num_batches)
        return (lambda: (data.batch(0, i) for i in steps)), len(steps)
    if isinstance(data, keras.utils.PyDataset):
        number = data.num_batches
        steps = itertools.count() if number is None else range(number)
        length = float("inf") if number is None else number
        return (lambda: (data[i] for i in steps)), length
    # Nobody has such data who has not imported the library.
    if "tensorflow" in sys.modules and isinstance(data, tf.data.Dataset):
        infinite = data.cardinality() == tf.data.INFINITE_CARDINALITY
        return (lambda: iter(data)), float("inf") if infinite else None
    torch = sys.modules.get("torch")
    if torch and isinstance(data, torch.utils.data.DataLoader):
        as_arrays = functools.partial(keras.tree.map_structure, np.asarray)
        return (lambda: map(as_arrays, data)), None
    if isinstance(data, (tuple, list)):
        return _arrays(data, batch_size, criterion)
    raise TypeError(
        f"Criterion '{criterion}' cannot read this data. Expected: {_KINDS}. "
        f"Received: data of type {type(data)}"
    )


def _arrays(data, batch_size, criterion):
    data = keras.tree.map_structure(_as_array, _unpack(data, criterion))
    lengths = {
        array.shape[0] if array.shape else None
        for array in keras.tree.flatten(data) if array is not None
    }
    if len(lengths) != 1 or None in lengths:
        raise ValueError(
            f"The arrays of criterion '{criterion}' must be of equal length. "
            f"Received: arrays of lengths {sorted(map(str, lengths))}"
        )
    (length,) = lengths

    def batch(begin):
        return keras.tree.map_structure(
            lambda a: None if a is None else a[begin:begin + batch_size], data
        )

    begins = range(0, length, batch_size)
    return (lambda: map(batch, begins)), len(begins)


def _unpack(batch, criterion):
    """Returns `(x, y, sample_weight)`; a batch must have labels."""
    if (
        not isinstance(batch, (tuple, list))
        or len(batch) not in (2, 3)
        or batch[1] is None
    ):
        number = len(batch) if isinstance(batch, (tuple, list)) else 1
        raise ValueError(
            f"Criterion '{criterion}' needs inputs and labels. Expected: "
            "`(x, y)` or `(x, y, sample_weight)`. Received: "
            f"{'no labels' if number > 1 else type(batch)}"
            f"{f' in a tuple of {number}' if number > 1 else ''}"
        )
    batch = keras.tree.map_structure(_as_array, tuple(batch))
    for array in keras.tree.flatten(batch):
        if array is not None and not len(array.shape):
            raise ValueError(
                f"The data of criterion '{criterion}' must come in batches: "
                "call `dataset.batch(batch_size)`, and make lists of numbers "
                "arrays. Received: an element without a batch dimension."
            )
    return batch if len(batch) == 3 else (*batch, None)


def _as_array(value):
    """What is neither an array nor a tensor of the backend becomes an array."""
    if backends.is_tensorflow():
        known = hasattr(value, "shape") and hasattr(value, "dtype")
    else:
        known = keras.ops.is_tensor(value)
    return value if value is None or known else np.asarray(value)


def _first(function, number):
    kept = []

    def read():
        # Once only: a dataset that shuffles would give others next time.
        if not kept:
            kept.extend(itertools.islice(function(), number))
            if len(kept) < number:
                received = len(kept)
                kept.clear()
                raise ValueError(
                    "There are not as many batches as asked for. Received: "
                    f"batches={number}, data with {received} batches"
                )
        return iter(kept)

    return read
