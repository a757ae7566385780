"""Models made from the configuration of their class, and how they differ."""

import keras
import numpy as np

from tf_lottery import weights as weights_lib

# What a layer is called and was built with makes no difference.
_INCIDENTAL = ("name", "trainable", "build_config", "compile_config")


def known(objects):
    """A scope in which Keras knows the classes of some objects.

    It would look for them by module and name, and not find local ones. Its
    own it finds; by name alone a layer and an operation may be the same.
    """
    classes = {
        type(each) for each in objects
        if not type(each).__module__.startswith("keras.src.")
    }
    return keras.saving.custom_object_scope(
        {keras.saving.get_registered_name(c): c for c in classes}
    )


def remade(model, edit):
    """Returns a model of the same class, made from its configuration.

    Args:
        edit: Function from its configuration to the one that is used.
    """
    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    config["config"] = edit(config["config"])
    # The configuration is of this very process.
    new = keras.saving.deserialize_keras_object(config, safe_mode=False)
    new.name = model.name
    return new


def difference(old, new, edit):
    """Says in what a model made from a configuration differs; `""` if in none.

    What was changed after construction is in no configuration of a class.
    """
    before, after = map(_shapes, (old, new))
    differing = sorted(dict(before.items() ^ after.items()))
    if differing:
        return (
            f"the configuration of `{type(old).__name__}` does not make the "
            f"same weights again. They differ in: {differing[:8]}"
        )
    layers = weights_lib.layers(new)
    for key, layer in weights_lib.layers(old).items():
        # Some are made at their first use, as packers of preprocessors are.
        if key in layers and not _is_like(layer, layers[key], edit):
            return (
                f"the configuration of `{type(old).__name__}` does not make "
                f"layer '{layer.name}' as it is"
            )
    return ""


def _shapes(model):
    variables = weights_lib.variables(model)
    return {key: tuple(v.shape) for key, v in variables.items()}


def _is_like(old, new, edit):
    if type(old) is not type(new) or isinstance(old, keras.Model):
        return type(old) is type(new)
    configs = _config(old), _config(new)
    return None in configs or (
        _comparable(edit(configs[0])) == _comparable(configs[1])
    )


def _config(layer):
    try:
        return keras.saving.serialize_keras_object(layer)["config"]
    # Code of the user's, which may fail: then it is what its model makes it.
    except Exception:
        return None


def _comparable(value):
    if isinstance(value, dict):
        if str(value.get("class_name")).endswith("DTypePolicy"):
            return value["config"]["name"]
        return {
            key: _comparable(v)
            for key, v in value.items() if key not in _INCIDENTAL
        }
    if isinstance(value, (list, tuple)):
        return [_comparable(v) for v in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    is_data = value is None or isinstance(value, (str, int, float, np.generic))
    return value if is_data else type(value)
