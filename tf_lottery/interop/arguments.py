"""Layers of tf_keras made anew in Keras 3, from their configuration."""

import inspect

import keras

from tf_lottery import internals

# Where a configuration of tf_keras holds a layer inside a layer.
_LAYER_ARGUMENTS = ("layer", "backward_layer", "cell", "cells")
_RENAMED = {
    "LeakyReLU": ("LeakyReLU", {"alpha": "negative_slope"}),
    "ThresholdedReLU": ("ReLU", {"theta": "threshold"}),
}
# What says how to compute, not what; and what the layer never used: the
# kernel_* of layers whose kernels have other names, `trainable` of those
# without weights.
_WITHOUT_EFFECT = frozenset((
    "trainable", "batch_input_shape", "input_length", "implementation", "fused",
    "query_shape", "key_shape", "value_shape", "kernel_initializer",
    "kernel_regularizer", "kernel_constraint",
))
_WHY_NOT = {
    "LocallyConnected1D": "Keras 3 has no locally connected layers",
    "LocallyConnected2D": "Keras 3 has no locally connected layers",
    "Lambda": "it holds Python code that cannot be trusted or translated",
    "TFOpLambda": "it is a TensorFlow function called on a Keras tensor",
    "SlicingOpLambda": "it is the slicing of a Keras tensor",
    "TensorFlowOpLayer": "it is a TensorFlow function called on a tensor",
    "ClassMethod": "it is a TensorFlow function called on a Keras tensor",
    "TFSMLayer": "tf_keras has no such layer; it runs a program in a file",
    "JaxLayer": "tf_keras has no such layer",
    "FlaxLayer": "tf_keras has no such layer",
    "TorchModuleWrapper": "tf_keras has no such layer",
}


def make_layer(entry, custom_objects):
    """Returns the Keras 3 layer for a layer of tf_keras, or says why not.

    Configurations come from files of others: they are read in the safe mode of
    Keras, whatever the mode of the process.
    """
    class_name, config = entry["class_name"], entry["config"]
    cls = _find(entry, custom_objects)
    if cls is None:
        raise _refused(entry, _reason(class_name))
    if isinstance(config.get("vocabulary"), str):
        raise _refused(
            entry,
            "its vocabulary is in another file, which is not read. Received: "
            f"vocabulary={config['vocabulary']!r}",
        )
    is_ours = cls.__module__.partition(".")[0] == "keras"
    renamed = _RENAMED.get(class_name, (None, {}))[1] if is_ours else {}
    config = {renamed.get(key, key): config[key] for key in config}
    if is_ours:
        config = _expressible(entry, cls, config)
    config.pop("batch_input_shape", None)
    for key in _LAYER_ARGUMENTS:
        if key in config:
            config[key] = _serialized(config[key], custom_objects)
    if "dtype" in config:
        config["dtype"] = policy(config["dtype"])
    objects = keras.saving.CustomObjectScope(custom_objects)
    with objects, internals.layers.safe_mode():
        try:
            return cls.from_config(config)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise _refused(entry, f"Keras says: {error}") from error


def policy(dtype):
    """Returns a dtype, or the name of a policy of tf_keras."""
    if isinstance(dtype, dict):
        return dtype["config"]["name"]
    return dtype


def name_of(entry):
    """Returns the name of a layer in a configuration."""
    return entry["config"].get("name") or entry.get("name", "")


def _find(entry, custom_objects):
    """The class of a layer: of the user's, registered, or Keras' own."""
    names = [entry["class_name"], entry.get("registered_name")]
    for name in filter(None, names):
        for part in (name, name.rpartition(">")[2]):
            found = keras.saving.get_registered_object(part, custom_objects)
            if found is not None:
                return found
    name = entry["class_name"]
    found = getattr(keras.layers, _RENAMED.get(name, (name,))[0], None)
    # Code is refused, and a layer without a graph computes nothing.
    if name in _WHY_NOT or not inspect.isclass(found):
        return None
    return found


def _reason(class_name):
    name = class_name.rpartition(">")[2]
    hint = (
        f"Write a Keras 3 layer `{name}` with the same weights and pass "
        f"`custom_objects={{'{name}': {name}}}`, or register it by "
        "`@keras.saving.register_keras_serializable()`"
    )
    if name in ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer",
                "ClassMethod"):
        hint = (
            "Use layers such as `Add` and `Reshape` in the tf_keras model "
            "instead"
        )
    return f"{_WHY_NOT.get(name, 'Keras 3 has no such layer')}. {hint}"


def _refused(entry, reason):
    return ValueError(
        f"Layer '{name_of(entry)}' ({entry['class_name']}) cannot be "
        f"expressed in Keras 3: {reason}."
    )


def _expressible(entry, cls, config):
    """The arguments that Keras 3 takes; raises if one it has not matters."""
    found, accepted = {}, _accepted(cls)
    for key, value in config.items():
        if "activation" in key and value == "hard_sigmoid":
            raise _refused(
                entry,
                f"{key}='hard_sigmoid' is clip(0.2 x + 0.5, 0, 1) in tf_keras "
                "and clip(x / 6 + 0.5, 0, 1) in Keras 3",
            )
        if key in accepted:
            found[key] = value
        elif key == "groups" and value == 1:
            continue
        elif key not in _WITHOUT_EFFECT and value not in (None, False):
            raise _refused(entry, f"it has no argument {key}={value!r} there")
    axis = found.get("axis")
    if issubclass(cls, keras.layers.BatchNormalization):
        if isinstance(axis, (list, tuple)):
            if len(axis) > 1:
                raise _refused(entry, f"it takes one axis, not axis={axis}")
            found["axis"] = axis[0]
    return found


def _accepted(cls):
    """Names of the arguments of a layer's constructor."""
    names = set()
    for base in cls.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters
            names.update(parameters)
            if "kwargs" not in parameters:
                break
        if base is keras.layers.Layer:
            break
    return names - {"self", "args", "kwargs"}


def _serialized(value, custom_objects):
    if isinstance(value, (list, tuple)):
        return [_serialized(part, custom_objects) for part in value]
    if value is None:
        return None
    return keras.saving.serialize_keras_object(
        make_layer(value, custom_objects)
    )
