"""Conv-2, Conv-4 and Conv-6: VGG scaled down for CIFAR-10."""

import keras

from tf_lottery.experiments.models import parts
from tf_lottery.utils import docs


@docs.filled
def conv_2(
    input_shape: tuple[int, ...], classes: int = 10, seed: int = 0
) -> keras.Model:
    """Conv-2: two convolutions and three dense layers.

    Two convolutions of 64 filters and pooling, then 256, 256 and `classes`
    units; Glorot's normal initializer. Reference: Frankle and Carbin 2019,
    figure 2, https://arxiv.org/abs/1803.03635.

    {{network}}

    Example:

    >>> tfl.experiments.models.conv_2((32, 32, 3)).count_params()
    4301642
    """
    return _conv(2, input_shape, classes, seed)


@docs.filled
def conv_4(
    input_shape: tuple[int, ...], classes: int = 10, seed: int = 0
) -> keras.Model:
    """Conv-4: as `conv_2`, with two more convolutions of 128 filters.

    {{network}}
    """
    return _conv(4, input_shape, classes, seed)


@docs.filled
def conv_6(
    input_shape: tuple[int, ...], classes: int = 10, seed: int = 0
) -> keras.Model:
    """Conv-6: as `conv_4`, with two more convolutions of 256 filters.

    These layers have 2.26M weights, of which 1.14M are convolutional. The
    paper's table says 1.7M and 1.1M, though its rows for the other two agree
    with their layers.

    {{network}}
    """
    return _conv(6, input_shape, classes, seed)


def _conv(depth, input_shape, classes, seed):
    seeds = parts.Seeds(seed)
    layers = [keras.Input(input_shape)]
    for block in range(depth // 2):
        for number in (2 * block + 1, 2 * block + 2):
            layers.append(parts.convolution(
                64 << block, 3, f"conv{number}", seeds, "same"
            ))
        layers.append(keras.layers.MaxPooling2D(name=f"pool{block + 1}"))
    layers += parts.head((256, 256), classes, seeds)
    return keras.Sequential(layers, name=f"conv_{depth}")
