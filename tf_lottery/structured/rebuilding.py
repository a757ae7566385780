"""A model built anew from its graph."""

import keras

from tf_lottery import weights as weights_lib
from tf_lottery.copies import Twin
from tf_lottery.graph import functional
from tf_lottery.structured import portable


def rebuild(graph, kept=None, dtype=None):
    """Builds the model of a graph anew, with fresh weights.

    Layers of `tf_lottery.layers.Masked` are left out around what they wrap.

    Args:
        graph: `tf_lottery.graph.Graph`.
        kept: Boolean array over its ids. Defaults to all.
        dtype: String, the precision of all layers, for a model to run
            proofs on: its layers are trainable, and portable convolutions.
            Defaults to that of the model.

    Returns:
        A `copies.Twin`, not compiled.
    """
    edits = graph.edits(graph.kept() if kept is None else kept)
    pairs = []

    def renewed(operation):
        changes = edits.get(operation, {})
        if _is_shared(operation):
            pairs.append((operation, operation))
            return operation
        if dtype is not None:
            changes = changes | _in_precision(operation, dtype)
        new = functional.edited(operation, changes)
        if dtype is not None:
            portable.make_portable(new)
        while getattr(operation, "transparent", False):
            operation, new = operation.layer, new.layer
        pairs.append((operation, new))
        return new

    model = functional.rebuild(graph.view, renewed, dtype=dtype)
    return _matched(graph.model, model, pairs)


def _is_shared(operation):
    """Whether a layer has adapted to data that no variable holds."""
    return hasattr(operation, "adapt") and not isinstance(
        operation, keras.layers.Normalization
    )


def _matched(old, new, pairs):
    names = {id(v): key for key, v in weights_lib.variables(old).items()}
    found = {}
    for before, after in pairs:
        if not isinstance(before, keras.layers.Layer):
            continue
        for a, b in zip(before.variables, after.variables, strict=True):
            found[names[id(a)]] = b
    new_names = {id(v): key for key, v in weights_lib.variables(new).items()}
    keys = {key: new_names.pop(id(v)) for key, v in found.items()}
    if new_names:
        raise ValueError(
            f"Model '{old.name}' cannot be rebuilt: the configuration of its "
            "layers makes weights that the model does not have. Received: "
            f"{sorted(new_names.values())[:8]}"
        )
    return Twin(new, found, keys)


def _in_precision(operation, dtype):
    """Edits that put an operation, and what is inside it, in a precision."""
    return {
        way: dtype if way[-1] == "dtype" else True
        for way, value in _entries(operation.get_config(), ())
        if (way[-1] == "dtype" and _is_float(value)) or way[-1] == "trainable"
    }


def _entries(config, way):
    pairs = config.items() if isinstance(config, dict) else enumerate(config)
    for name, value in pairs:
        if name in ("dtype", "trainable"):
            yield (*way, name), value
        elif isinstance(value, (dict, list, tuple)):
            yield from _entries(value, (*way, name))


def _is_float(value):
    if isinstance(value, dict):
        return value.get("class_name") != "QuantizedDTypePolicy"
    return isinstance(value, str) and "float" in value


def finalize(model):
    """Makes layers that cache their variables read them again."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization) and layer.built:
            layer.finalize_state()
