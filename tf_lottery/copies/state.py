"""State of a model that neither its configuration nor its weights hold."""

import functools
import tempfile
import types

import keras
import numpy as np

_DATA = (bool, int, float, complex, str, bytes, np.ndarray, np.generic)


def carry(old, new, images, data=True):
    """Gives a layer or model what another one has besides its weights.

    Args:
        images: Dict from `id` of a layer or variable to its copy.
    """
    _carry_trainable(old, new)
    if type(old) is type(new):
        _carry_state(old, new)
        if isinstance(old, keras.Model) or hasattr(old, "adapt"):
            carry_attributes(old, new, images, data)


def _carry_trainable(old, new):
    if old.trainable != new.trainable:
        new.trainable = old.trainable
    if len(old.variables) == len(new.variables):
        for before, after in zip(old.variables, new.variables):
            if before.trainable != after.trainable:
                after.trainable = before.trainable


def _carry_state(old, new):
    """Takes over what Keras writes to a file besides variables."""
    if hasattr(old, "save_assets"):
        with tempfile.TemporaryDirectory() as directory:
            old.save_assets(directory)
            new.load_assets(directory)
    if hasattr(old, "adapt"):
        store = {}
        old.save_own_variables(store)
        # Two variables of one array: JAX would give it away twice.
        new.load_own_variables({
            name: np.array(keras.ops.convert_to_numpy(value))
            for name, value in store.items()
        })


def carry_attributes(old, new, images, data=True):
    """Sets attributes of a model, or of a layer, on its copy.

    Those that the copy has already are replaced by data and by objects with
    a configuration only.

    Args:
        images: Dict from `id` of a layer or variable to its copy.
        data: Boolean, whether to replace any. Defaults to `True`.
    """
    taken = vars(new)
    for name, value in list(vars(old).items()):
        if name in _keras_attributes() or name.startswith("_tf_lottery"):
            continue
        leaves = keras.tree.flatten(value)
        if name in taken and not (data and all(map(_is_replaceable, leaves))):
            continue
        found = [_image(leaf, images) for leaf in leaves]
        if not any(a is b and _is_state(a) for a, b in zip(leaves, found)):
            setattr(new, name, keras.tree.pack_sequence_as(value, found))


def _is_replaceable(value):
    if value is None or isinstance(value, _DATA):
        return True
    return _has_config(value) and not isinstance(value, keras.layers.Layer)


def _has_config(value):
    return hasattr(value, "get_config") and hasattr(value, "from_config")


def _image(value, images):
    """Returns what stands for a value in the copy."""
    if id(value) in images:
        return images[id(value)]
    if isinstance(value, types.MethodType) and id(value.__self__) in images:
        return types.MethodType(value.__func__, images[id(value.__self__)])
    if _has_config(value) and not isinstance(value, keras.layers.Layer):
        return type(value).from_config(value.get_config())
    return value


def _is_state(value):
    """Whether a value belongs to one model alone."""
    if isinstance(value, keras.layers.Layer):
        return bool(value.variables)
    return isinstance(value, (
        keras.Variable, keras.KerasTensor, keras.optimizers.Optimizer,
    ))


@functools.cache
def _keras_attributes():
    """Names of what every Keras model has, compiled or not."""
    # Named, so that nothing of Keras' counters is used up.
    inputs = keras.Input((1,), name="inputs")
    layer = keras.layers.Identity(name="identity")
    models = [
        keras.Sequential([inputs, layer], name="sequential"),
        keras.Model(inputs, layer(inputs), name="functional"),
    ]
    for model in models:
        model.compile("sgd", "mse")
    return frozenset().union(layer.__dict__, *map(vars, models))
