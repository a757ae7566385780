"""How TFLite quantises each kind of Keras layer."""

import keras

from tf_lottery.utils import layer_kinds

# Exactly these classes: a subclass may compute anything.
KERNELS = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.DepthwiseConv2D,
)
# Converters take the scales of channels with the kernel of these.
CHANNEL_SCALES = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
# Their outputs have a range of their own.
_MERGES = (
    keras.layers.Add,
    keras.layers.Average,
    keras.layers.Concatenate,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Multiply,
    keras.layers.Subtract,
)
_OTHERS = (
    keras.layers.Activation,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
    keras.layers.Softmax,
)
QUANTIZED = (*KERNELS, *_MERGES, *_OTHERS, keras.layers.PReLU)
# Their outputs have the range of their input.
SAME = (
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.Identity,
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.Permute,
    keras.layers.RepeatVector,
    keras.layers.Reshape,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.UpSampling2D,
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
)
# TFLite joins a clamp that follows to these.
_JOINED = (*KERNELS, *_MERGES[:1], keras.layers.BatchNormalization)
# Those that TFLite computes in a range of their own, which is fixed.
_LIMITS = {
    "softmax": (0.0, 255 / 256),
    "sigmoid": (0.0, 255 / 256),
    "tanh": (-1.0, 127 / 128),
}


def is_kernel(layer):
    """Whether a layer multiplies by a kernel that int8 can hold."""
    return type(layer) in (*KERNELS, keras.layers.PReLU)


def kernel(layer):
    """Returns what a layer multiplies by, the slopes of a PReLU among it."""
    return layer.alpha if type(layer) is keras.layers.PReLU else layer.kernel


def takes_scales(layer):
    """Whether converters take a scale with the kernel of a layer."""
    return type(layer) in (keras.layers.Dense, *CHANNEL_SCALES)


def is_clamp(layer):
    """Whether a layer does nothing but what TFLite joins to another."""
    if type(layer) is keras.layers.ReLU:
        plain = not layer.negative_slope and not layer.threshold
        return plain and layer.max_value in (None, 6)
    return type(layer) is keras.layers.Activation and is_joined(layer)


def is_joined(layer):
    """Whether the activation in a layer is a clamp, or none."""
    return _name(layer) in ("linear", "relu", "relu6")


def limits(layer):
    """Returns the fixed range of what a layer puts out, or `None`."""
    if type(layer) is keras.layers.Softmax:
        return _LIMITS["softmax"]
    return _LIMITS.get(_name(layer))


def joins(layer, reader):
    """Whether TFLite makes one operator of a layer and its only reader."""
    if type(reader) is keras.layers.BatchNormalization:
        return type(layer) in KERNELS and _name(layer) == "linear"
    return (
        type(layer) in _JOINED and _name(layer) == "linear"
        and is_clamp(reader)
    )


def axes(layer):
    """Returns the axes of a layer's kernel that one scale spans."""
    axes = tuple(range(len(kernel(layer).shape)))
    if type(layer) is keras.layers.PReLU:
        return axes
    found = layer_kinds.axes(layer, layer.kernel)
    return axes[:-1] if found is None else found[0]


def _name(layer):
    activation = getattr(layer, "activation", None)
    if activation is None:
        return "linear"
    return getattr(activation, "__name__", type(activation).__name__)
