"""ResNet-20 for CIFAR-10, and smaller ones."""

import keras

from tf_lottery.experiments.models import parts
from tf_lottery.utils import docs


@docs.filled
def resnet_20(
    input_shape: tuple[int, ...], classes: int = 10, seed: int = 0
) -> keras.Model:
    """ResNet-20, which the first lottery papers call Resnet-18.

    A convolution of 16 filters, three stages of three blocks with 16, 32
    and 64 filters, average pooling. Where a stage begins, the shortcut is a
    1x1 convolution: that makes the 270K convolutional weights of the paper.
    Kernels are drawn from Glorot's normal distribution. References: He et
    al. 2016, section 4.2, https://arxiv.org/abs/1512.03385; Frankle and
    Carbin 2019, figure 2, https://arxiv.org/abs/1803.03635.

    {{network}}

    Example:

    >>> tfl.experiments.models.resnet_20((32, 32, 3)).count_params()
    274042
    """
    return _resnet(3, 16, "resnet_20", input_shape, classes, seed)


@docs.filled
def resnet_20_narrow(
    input_shape: tuple[int, ...], classes: int = 10, seed: int = 0
) -> keras.Model:
    """ResNet-20 of half the width: `resnet_20` with 8, 16 and 32 filters.

    Not of the papers: as deep as theirs at a quarter of the cost.

    {{network}}

    Example:

    >>> tfl.experiments.models.resnet_20_narrow((16, 16, 3)).count_params()
    69570
    """
    return _resnet(3, 8, "resnet_20_narrow", input_shape, classes, seed)


@docs.filled
def resnet_8(
    input_shape: tuple[int, ...], classes: int = 10, seed: int = 0
) -> keras.Model:
    """ResNet-8: `resnet_20` with one block in a stage instead of three.

    Not of the papers: for what a laptop repeats of them in an hour.

    {{network}}

    Example:

    >>> tfl.experiments.models.resnet_8((32, 32, 3)).count_params()
    78714
    """
    return _resnet(1, 16, "resnet_8", input_shape, classes, seed)


def _resnet(blocks, width, name, input_shape, classes, seed):
    seeds = parts.Seeds(seed)
    inputs = keras.Input(input_shape)
    x = _convolution(inputs, width, 3, 1, "conv1", seeds)
    x = keras.layers.ReLU(name="relu1")(x)
    for stage, filters in enumerate((width, 2 * width, 4 * width), start=1):
        for block in range(1, blocks + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            x = _block(x, filters, stride, f"stage{stage}_{block}", seeds)
    x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    x = parts.dense(classes, "logits", seeds, None)(x)
    return keras.Model(inputs, x, name=name)


def _block(x, filters, stride, name, seeds):
    shortcut = x
    x = _convolution(x, filters, 3, stride, f"{name}_conv1", seeds)
    x = keras.layers.ReLU(name=f"{name}_relu1")(x)
    x = _convolution(x, filters, 3, 1, f"{name}_conv2", seeds)
    if stride > 1:
        shortcut = _convolution(
            shortcut, filters, 1, stride, f"{name}_shortcut", seeds
        )
    x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return keras.layers.ReLU(name=f"{name}_relu2")(x)


def _convolution(x, filters, size, stride, name, seeds):
    x = keras.layers.Conv2D(
        filters, size, stride, padding="same", use_bias=False,
        kernel_initializer=parts.glorot_normal(seeds), name=name,
    )(x)
    return keras.layers.BatchNormalization(
        epsilon=parts.EPSILON, name=f"{name}_norm"
    )(x)
