"""A model built anew from its graph, also in float64 on any machine."""

import keras
import numpy as np
from keras import ops

from tf_lottery import internals
from tf_lottery import weights as weights_lib
from tf_lottery.copies import Twin
from tf_lottery.graph import renewing
from tf_lottery.graph.rules import keras_hub

_SCALES = ("_inverse_sqrt_key_dim", "_inverse_sqrt_head_dim")


def rebuild(graph, kept=None, dtype=None, input_shapes=None, others=None):
    """Builds the model of a graph anew, with fresh weights.

    Layers of `tf_lottery.layers.Masked` are left out around what they wrap.

    Args:
        graph: `tf_lottery.graph.Graph`.
        kept: Boolean array over its ids. Defaults to all.
        dtype: String, the precision of all layers, for a model to run
            proofs on: its layers are trainable, and portable convolutions.
            Defaults to that of the model.
        input_shapes: See `renewing.rebuild`.
        others: Dict from layer to the function of its renewed self that
            makes what takes its place. Defaults to `None`: none.

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
        new = renewing.edited(operation, changes)
        if others and operation in others:
            new = others[operation](new)
        if dtype is not None:
            _make_portable(new)
        while getattr(operation, "transparent", False):
            operation, new = operation.layer, new.layer
        pairs.append((operation, new))
        return new

    model = renewing.rebuild(graph.view, renewed, input_shapes, dtype)
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
        for way, value in _entries(renewing.config_of(operation), ())
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
    for layer in internals.layers.flat(model):
        if isinstance(layer, keras.layers.Normalization) and layer.built:
            layer.finalize_state()


def _make_portable(layer):
    """Makes a layer compute in full precision by operations that run anywhere.

    TensorFlow has no kernel on a CPU for grouped convolutions, which Keras
    compiles at every call there, minutes for a deep network, and may have
    none for channels first. Attention scales by a number rounded to float32;
    normalisations of KerasHub are computed in it.
    In the models that a proof runs these are put together from what does run.

    Args:
        layer: Any layer; attention, and convolutions in groups or with
            channels first, are changed.
    """
    for name in _SCALES:
        if isinstance(getattr(layer, name, None), float):
            setattr(layer, name, np.float64(getattr(layer, name)))
    keras_hub.make_portable(layer)
    if isinstance(layer, (keras.layers.Conv2D, keras.layers.Conv3D)):
        _make_convolution_portable(layer)


def _make_convolution_portable(layer):
    first = layer.data_format == "channels_first"
    if layer.groups == 1 and not first:
        return

    def convolution_op(inputs, kernel):
        if first:
            inputs = ops.moveaxis(inputs, 1, -1)
        outputs = _convolved(layer, inputs, kernel)
        return ops.moveaxis(outputs, -1, 1) if first else outputs

    layer.convolution_op = convolution_op


def _convolved(layer, inputs, kernel):
    options = {
        "strides": tuple(layer.strides),
        "padding": layer.padding,
        "dilation_rate": layer.dilation_rate,
        "data_format": "channels_last",
    }
    if layer.groups == 1:
        return ops.conv(inputs, kernel, **options)
    if kernel.shape[-2] == 1 and layer.rank == 2:
        shape = (*kernel.shape[:-2], layer.groups, -1)
        return ops.depthwise_conv(inputs, ops.reshape(kernel, shape), **options)
    parts = zip(
        ops.split(inputs, layer.groups, -1), ops.split(kernel, layer.groups, -1)
    )
    return ops.concatenate([ops.conv(x, k, **options) for x, k in parts], -1)
