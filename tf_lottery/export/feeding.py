"""Representative data of every kind as arrays."""

import itertools
from typing import Any

import keras
import numpy as np

from tf_lottery.utils import checks

# The converter calibrates on no more.
_MOST = 500


def arrays(data: Any) -> Any:
    """Returns inputs as an array, or a list or dict of arrays.

    Args:
        data: An array; a list or dict of arrays, one for each input; or
            batches of these: a `tf.data.Dataset`, a `keras.utils.PyDataset`,
            a generator, or a callable that returns batches, as TensorFlow's
            converter takes it. A tuple is `(inputs, labels)`, as in `fit`.
            At most 500 samples are read of batches.

    Raises:
        ValueError: If there is no sample.
    """
    if data is None or hasattr(data, "shape") or (
        isinstance(data, (list, tuple, dict))
    ):
        return data
    if callable(data) and not isinstance(data, keras.utils.PyDataset):
        data = data()
    if not hasattr(data, "__iter__") and not hasattr(data, "num_batches"):
        checks.refuse(
            "representative_data", data, "arrays or batches, or return them"
        )
    if isinstance(data, keras.utils.PyDataset):
        number = data.num_batches
        steps = itertools.count() if number is None else range(number)
        data = map(data.__getitem__, steps)
    found, count = [], 0
    for batch in data:
        inputs = batch[0] if isinstance(batch, tuple) else batch
        found.append(keras.tree.map_structure(_array, inputs))
        count += len(keras.tree.flatten(found[-1])[0])
        if count >= _MOST:
            break
    if not count:
        raise ValueError(
            "Argument `representative_data` must hold samples. Received: "
            "data without a batch"
        )
    return keras.tree.map_structure(
        lambda *parts: np.concatenate(parts)[:_MOST], *found
    )


def _array(value):
    array = np.asarray(value)
    if not array.ndim:
        raise ValueError(
            "Argument `representative_data` must come in batches. Received: "
            "a sample without a batch dimension"
        )
    return array
