"""The identity of a run, apart from the callback's arguments.

A model and its loss are described by their own configurations, without the
names that Keras made up from a counter of the process, so that the same
script says the same in another process. Python code has no description: of
functions and classes the names are compared.
"""

import copy
import hashlib
import re
import warnings

import keras
import numpy as np

from tf_lottery import internals
from tf_lottery.utils import configurations

# How a model is computed, or what follows from the weights' shapes.
_WITHOUT_EFFECT = ("module", "build_config", "compile_config")
_COMPILED = ("loss", "loss_weights", "metrics", "weighted_metrics")
_BATCHES = 3
_MOST_CLASSES = 1000

digest = configurations.digest


def of_model(model):
    """Returns the configuration of a model and all layers in it, as a dict."""
    return _plain(_describe(model))


def of_training(model):
    """Returns the losses and metrics that a model is compiled with."""
    config = internals.models.compile_config(model)
    return {
        name: _plain(_serialized(lambda: config.get(name)))
        for name in _COMPILED
    }


def of_optimizer(optimizer):
    """Returns the class and configuration of an optimizer, as a dict."""
    return _plain(_serialized(lambda: optimizer))


def of_data(data):
    """Returns shapes, dtypes, classes and first batches, not augmented."""
    plain = copy.copy(data)
    plain.augment = None
    batches = [
        keras.tree.flatten(plain.batch(0, step)) for step in range(_BATCHES)
    ]
    arrays = [array for batch in batches for array in batch]
    return {
        "shapes": [list(np.shape(array)[1:]) for array in batches[0]],
        "dtypes": [str(np.asarray(array).dtype) for array in batches[0]],
        "classes": [
            _classes(labels) for labels in keras.tree.flatten(data.y)
        ] if data.y is not None else [],
        "first_batches": digest(
            [hashlib.sha256(np.asarray(array).tobytes()).hexdigest()
             for array in arrays]
        ),
    }


def _describe(layer):
    """The configuration of a layer, with those that its own leaves out."""
    config = _serialized(layer.get_config)
    found = {"class_name": type(layer).__name__, "config": config}
    if not _is_graph(layer) or config is None:
        inside = internals.layers.children(layer)
        found["layers"] = [_describe(part) for part in inside]
    return found


def _is_graph(layer):
    return isinstance(layer, keras.Sequential) or (
        isinstance(layer, keras.Model) and bool(getattr(layer, "inputs", None))
    )


def _serialized(config):
    """Plain values for what a callable returns; `None` if it has none."""
    with warnings.catch_warnings():
        # Of a lambda, whose code is not compared.
        warnings.simplefilter("ignore")
        try:
            return keras.saving.serialize_keras_object(config())
        except (NotImplementedError, TypeError, ValueError):
            return None


def _plain(values):
    """Plain values without what differs from process to process."""
    names = {}
    _collect(values, names)
    return _renamed(values, names)


def _collect(values, names, counts=None):
    """Gives names that Keras made up a number within the model."""
    counts = {} if counts is None else counts
    if isinstance(values, dict):
        name = (values.get("config") or {}).get("name") if isinstance(
            values.get("config"), dict
        ) else None
        if isinstance(name, str) and name not in names:
            stem = re.sub(r"_\d+$", "", name)
            if _is_made_up(stem, values.get("class_name")):
                counts[stem] = counts.get(stem, -1) + 1
                names[name] = f"{stem}_{counts[stem]}"
        values = list(values.values())
    if isinstance(values, (list, tuple)):
        for part in values:
            _collect(part, names, counts)


def _is_made_up(stem, class_name):
    return isinstance(class_name, str) and (
        stem.replace("_", "").lower() == class_name.lower()
    )


def _renamed(values, names):
    if isinstance(values, dict):
        if values.get("class_name") == "__lambda__":
            return "lambda"
        return {
            str(key): _renamed(value, names)
            for key, value in values.items() if key not in _WITHOUT_EFFECT
        }
    if isinstance(values, (list, tuple)):
        return [_renamed(value, names) for value in values]
    if isinstance(values, str):
        return names.get(values, values)
    if isinstance(values, (bool, int, float, type(None))):
        return values
    # What JSON does not know; its address would differ in every process.
    return re.sub(r" at 0x[0-9a-f]+", "", repr(values))


def _classes(labels):
    """How many examples each class has; `None` if these are no classes."""
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] > 1:
        if not np.isin(labels, (0, 1)).all():
            return None
        return [int(number) for number in labels.sum(0)]
    if labels.dtype.kind not in "iub":
        return None
    classes, numbers = np.unique(labels, return_counts=True)
    if len(classes) > _MOST_CLASSES:
        return None
    return {str(c): int(n) for c, n in zip(classes, numbers)}
