"""What a converter reads: plain numbers, and the scales that were trained."""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

from tf_lottery import internals
from tf_lottery.quantize import kinds
from tf_lottery.quantize.quantized import Quantized


def wrapped(model: keras.Model) -> list[Quantized]:
    """Returns the layers of a model that `aware` has wrapped, as a list."""
    return [
        layer for layer in internals.layers.flat(model)
        if isinstance(layer, Quantized)
    ]


@contextlib.contextmanager
def frozen(model: keras.Model) -> Iterator[None]:
    """Makes rounded kernels and learnt ranges plain numbers, for converters.

    The converter scales each channel of a kernel by its largest weight, as
    training did, and folds BatchNormalization into the layer before it. Where
    clusters have one scale for a layer it is told so; it would not fold then,
    and finds that done.

    Args:
        model: A `keras.Model`, of `aware` or not.
    """
    layers = wrapped(model)
    for layer in layers:
        layer.freeze_ranges(True)
        if layer.kernel:
            _freeze(layer)
    try:
        yield
    finally:
        for layer in layers:
            layer.freeze_ranges(False)
            layer.constants, layer.shift = {}, None


def _freeze(layer):
    inner, weight = layer.layer, kinds.kernel(layer.layer)
    kernel = ops.convert_to_numpy(layer.value_of(weight))
    limits = np.abs(kernel).max()
    following = _normalization(layer)
    if following is not None:
        factor, following.shift = _affine(following.layer)
        if inner.use_bias:
            bias = ops.convert_to_numpy(inner.bias) * factor
            layer.constants[id(inner.bias)] = lambda: bias
        summed = kinds.axes(inner)
        kernel = kernel * factor.reshape(
            [1 if a in summed else n for a, n in enumerate(kernel.shape)]
        )
        limits = limits * np.maximum(np.abs(factor), np.finfo("float32").tiny)
    if layer.per == "layer" and kinds.takes_scales(inner) and limits.all():
        layer.constants[id(weight)] = lambda: _scaled(kernel, limits)
    else:
        layer.constants[id(weight)] = lambda: kernel


def _normalization(layer):
    """Returns the wrapped BatchNormalization to fold here, or `None`."""
    if layer.per == "channel" or layer.outputs:
        return None
    if type(layer.layer) not in kinds.CHANNEL_SCALES:
        return None
    readers = internals.graphs.readers(layer)
    found = readers[0] if len(readers) == 1 else None
    if not isinstance(found, Quantized):
        return None
    is_last = type(found.layer) is keras.layers.BatchNormalization and (
        found.layer.axis in (-1, 3)
    )
    return found if is_last else None


def _affine(layer):
    """Returns what BatchNormalization multiplies by, and what it adds."""
    mean, variance = (
        ops.convert_to_numpy(v)
        for v in (layer.moving_mean, layer.moving_variance)
    )
    factor = 1 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        factor = factor * ops.convert_to_numpy(layer.gamma)
    shift = -mean * factor
    if layer.center:
        shift = shift + ops.convert_to_numpy(layer.beta)
    return factor.astype("float32"), shift.astype("float32")


def _scaled(kernel, limits):
    """A kernel with its scales, in the form that converters read."""
    if not limits.shape:
        return keras.quantizers.fake_quant_with_min_max_vars(
            kernel, -limits, limits, narrow_range=True
        )
    is_depthwise = kernel.shape[-1] != len(limits)
    # The channels of a depthwise kernel lie along two axes.
    flat = kernel.reshape(*kernel.shape[:2], -1) if is_depthwise else kernel
    rounded = keras.quantizers.fake_quant_with_min_max_vars(
        flat, -limits, limits, narrow_range=True, axis=-1
    )
    return ops.reshape(rounded, kernel.shape) if is_depthwise else rounded
