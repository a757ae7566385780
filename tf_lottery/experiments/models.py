"""The networks of the papers."""

import keras
import numpy as np


def lenet_300_100(input_shape, classes=10, seed=0):
    """LeNet-300-100: two hidden layers, `fc1` and `fc2`, and `logits`.

    The kernels are drawn from Glorot's normal distribution with a seed, the
    biases are 0. Reference: Frankle and Carbin 2019, figure 2,
    https://arxiv.org/abs/1803.03635.

    Args:
        input_shape: Tuple of integers, the shape of one image.
        classes: Integer. Defaults to 10.
        seed: Integer, seed of the initial weights. Defaults to 0.

    Returns:
        A built `keras.Model` that returns logits.

    Example:

    >>> from tf_lottery import experiments
    >>> model = experiments.models.lenet_300_100((28, 28, 1))
    >>> model.count_params()
    266610
    """
    first, second, last = _seeds(seed, 3)
    return keras.Sequential(
        [
            keras.Input(input_shape),
            keras.layers.Flatten(name="flatten"),
            _dense(300, "relu", "fc1", first),
            _dense(100, "relu", "fc2", second),
            _dense(classes, None, "logits", last),
        ],
        name="lenet_300_100",
    )


def vgg_16(input_shape, classes=10, seed=0):
    """VGG-16 for small images: 13 convolutions, one dense layer at the end.

    Each convolution is followed by batch normalisation. Kernels are drawn
    from He's normal distribution (not truncated, as it is in PyTorch).
    Reference: Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556,
    in the form of Tanaka et al. 2020, https://arxiv.org/abs/2006.05467.

    Args:
        input_shape: Tuple of integers, the shape of one image, such as
            `(32, 32, 3)`.
        classes: Integer. Defaults to 10.
        seed: Integer, seed of the initial weights. Defaults to 0.

    Returns:
        A built `keras.Model` that returns logits.
    """
    blocks = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
    seeds = iter(_seeds(seed, 14))
    layers = [keras.Input(input_shape)]
    for block, (filters, convolutions) in enumerate(blocks, start=1):
        for number in range(1, convolutions + 1):
            layers += _convolution(f"{block}_{number}", filters, next(seeds))
        if block < len(blocks):
            layers.append(keras.layers.MaxPooling2D(name=f"pool{block}"))
    layers.append(keras.layers.GlobalAveragePooling2D(name="average"))
    layers.append(
        keras.layers.Dense(
            classes, kernel_initializer=_he_normal(next(seeds)), name="logits"
        )
    )
    return keras.Sequential(layers, name="vgg_16")


MODELS = {"lenet_300_100": lenet_300_100, "vgg_16": vgg_16}


def get(name):
    """Returns the function that builds the model of that name.

    Args:
        name: String, one of `MODELS`.

    Returns:
        Function of `(input_shape, classes, seed)`.

    Raises:
        ValueError: If there is no such model.
    """
    if name not in MODELS:
        raise ValueError(
            f"Argument `model` must be one of {sorted(MODELS)}. "
            f"Received: model={name!r}"
        )
    return MODELS[name]


def _dense(units, activation, name, seed):
    return keras.layers.Dense(
        units,
        activation=activation,
        kernel_initializer=keras.initializers.GlorotNormal(seed),
        name=name,
    )


def _convolution(name, filters, seed):
    return [
        keras.layers.Conv2D(
            filters, 3, padding="same", kernel_initializer=_he_normal(seed),
            name=f"conv{name}",
        ),
        keras.layers.BatchNormalization(epsilon=1e-5, name=f"norm{name}"),
        keras.layers.ReLU(name=f"relu{name}"),
    ]


def _he_normal(seed):
    return keras.initializers.VarianceScaling(
        2.0, "fan_in", "untruncated_normal", seed
    )


def _seeds(seed, count):
    # Keras draws the same numbers for equal seeds, whatever the layer.
    return np.random.SeedSequence(seed).generate_state(count).tolist()
