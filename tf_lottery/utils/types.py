"""Types that several signatures share."""

import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import Literal
from typing import TypeAlias

import keras
import numpy as np

Path: TypeAlias = str | os.PathLike[str]

# An array, or a tuple, list or dict of arrays.
Arrays: TypeAlias = Any

# Arrays `(x, y)`, a batched `tf.data.Dataset` or a `keras.utils.PyDataset`.
Data: TypeAlias = (
    tuple[Any, ...]
    | list[Any]
    | keras.utils.PyDataset
    | Iterable[tuple[Any, ...]]
)

# A loss function of `(y_true, y_pred)`, or its name.
Loss: TypeAlias = str | Callable[[Any, Any], Any]

# Layer names or patterns.
Names: TypeAlias = str | Iterable[str]

# One fraction, or one for each layer name or pattern.
Fraction: TypeAlias = float | Mapping[str, float]

# A function that makes callbacks anew.
Callbacks: TypeAlias = Callable[[], list[keras.callbacks.Callback]]

# By weight key; `True` of a mask is kept.
Variables: TypeAlias = Mapping[str, keras.Variable]
Masks: TypeAlias = Mapping[str, np.ndarray]

# What Keras passes to callbacks.
Logs: TypeAlias = dict[str, Any] | None

Scope: TypeAlias = Literal["global", "layer", "uniform+", "er", "erk"]
Collapse: TypeAlias = Literal["keep-one", "warn", "error"]
Mode: TypeAlias = Literal["auto", "min", "max"]
