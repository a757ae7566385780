"""Layers made to compute in full precision by operations that run anywhere."""

import functools

import keras
import numpy as np
from keras import ops

from tf_lottery.graph.rules import keras_hub

_SCALES = ("_inverse_sqrt_key_dim", "_inverse_sqrt_head_dim")


def make(layer):
    """Makes a layer compute in full precision by operations that run anywhere.

    TensorFlow has no kernel on a CPU for grouped convolutions, which Keras
    compiles at every call there, minutes for a deep network, and may have
    none for channels first. Attention scales by a number rounded to float32;
    normalisations of KerasHub are computed in it.
    In the models that a proof runs these are put together from what does run.
    """
    for name in _SCALES:
        if isinstance(getattr(layer, name, None), float):
            setattr(layer, name, np.float64(getattr(layer, name)))
    keras_hub.make_portable(layer)
    if isinstance(layer, (keras.layers.Conv2D, keras.layers.Conv3D)):
        _make_convolution_portable(layer)
    if type(layer) is keras.layers.BatchNormalization:
        layer.call = functools.partial(_normalized, layer)


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


def _normalized(layer, inputs, training=None, mask=None):
    """Two operations, where Keras takes twenty."""
    scale = 1 / np.sqrt(_of(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * _of(layer.gamma)
    shift = -_of(layer.moving_mean) * scale
    if layer.center:
        shift = shift + _of(layer.beta)
    shape = [1] * len(inputs.shape)
    shape[layer.axis] = -1
    scale, shift = (
        ops.convert_to_tensor(x.reshape(shape), inputs.dtype)
        for x in (scale, shift)
    )
    return inputs * scale + shift


def _of(variable):
    return ops.convert_to_numpy(variable.value)
