"""VGG for small images, with batch normalisation and one dense layer."""

import keras

from tf_lottery.experiments.models import parts
from tf_lottery.utils import docs

_FILTERS = (64, 128, 256, 512, 512)


@docs.filled
def vgg_16(
    input_shape: tuple[int, ...], classes: int = 10, seed: int = 0
) -> keras.Model:
    """VGG-16 for small images: 13 convolutions, one dense layer at the end.

    Each convolution is followed by batch normalisation. Kernels are drawn
    from He's normal distribution (not truncated, as it is in PyTorch).
    Reference: Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556,
    in the form of Tanaka et al. 2020, https://arxiv.org/abs/2006.05467.

    {{network}}
    """
    return _vgg(
        (2, 2, 3, 3, 3), parts.he_normal, True, input_shape, classes, seed
    )


@docs.filled
def vgg_19(
    input_shape: tuple[int, ...], classes: int = 10, seed: int = 0
) -> keras.Model:
    """VGG-19 of the lottery papers: 16 convolutions, one dense layer.

    Each convolution is followed by batch normalisation; kernels are drawn
    from Glorot's normal distribution. References: Simonyan and Zisserman
    2015, https://arxiv.org/abs/1409.1556, as changed by Frankle and Carbin
    2019, figure 2, https://arxiv.org/abs/1803.03635 (20.0M weights).

    {{network}}
    """
    return _vgg(
        (2, 2, 4, 4, 4), parts.glorot_normal, False, input_shape, classes, seed
    )


def _vgg(depths, initializer, bias, input_shape, classes, seed):
    seeds = parts.Seeds(seed)
    layers = [keras.Input(input_shape)]
    for block, (filters, depth) in enumerate(zip(_FILTERS, depths), start=1):
        for number in range(1, depth + 1):
            name = f"{block}_{number}"
            layers += [
                keras.layers.Conv2D(
                    filters, 3, padding="same", use_bias=bias,
                    kernel_initializer=initializer(seeds), name=f"conv{name}",
                ),
                keras.layers.BatchNormalization(
                    epsilon=parts.EPSILON, name=f"norm{name}"
                ),
                keras.layers.ReLU(name=f"relu{name}"),
            ]
        if block < len(depths):
            layers.append(keras.layers.MaxPooling2D(name=f"pool{block}"))
    layers += [
        keras.layers.GlobalAveragePooling2D(name="average"),
        keras.layers.Dense(
            classes, kernel_initializer=initializer(seeds), name="logits"
        ),
    ]
    return keras.Sequential(layers, name=f"vgg_{sum(depths) + 3}")
