"""How TFLite quantises each kind of Keras layer."""

import keras

from tf_lottery.utils import layer_kinds

# Exactly these classes: a subclass may compute anything.
KERNELS = layer_kinds.named(
    "Dense Conv1D Conv2D Conv2DTranspose DepthwiseConv2D"
)
# Converters take the scales of channels with the kernel of these.
CHANNEL_SCALES = layer_kinds.named("Conv2D DepthwiseConv2D")
# Their outputs have a range of their own.
QUANTIZED = (
    *KERNELS,
    *layer_kinds.named(
        "Add Average Concatenate Maximum Minimum Multiply Subtract Activation "
        "GlobalAveragePooling1D GlobalAveragePooling2D LeakyReLU PReLU ReLU "
        "Softmax"
    ),
)
# Their outputs have the range of their input.
SAME = layer_kinds.named(
    "AveragePooling1D AveragePooling2D Cropping1D Cropping2D Dropout Flatten "
    "GlobalMaxPooling1D GlobalMaxPooling2D Identity MaxPooling1D MaxPooling2D "
    "Permute RepeatVector Reshape SpatialDropout1D SpatialDropout2D "
    "UpSampling2D ZeroPadding1D ZeroPadding2D"
)
# TFLite joins a clamp that follows to these.
_JOINED = (*KERNELS, *layer_kinds.named("Add BatchNormalization"))
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
