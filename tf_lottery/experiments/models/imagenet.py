"""The networks for ImageNet: ResNet-50, Inception-v3 and SqueezeNet."""

import collections

import keras

from tf_lottery.experiments.models import parts

_KINDS = {
    "Conv2D": "conv",
    "BatchNormalization": "norm",
    "Activation": "relu",
    "MaxPooling2D": "max_pool",
    "AveragePooling2D": "average_pool",
    "Concatenate": "concat",
    "InputLayer": "images",
}


def resnet_50(
    input_shape: tuple[int, ...] = (224, 224, 3),
    classes: int = 1000,
    seed: int = 0,
) -> keras.Model:
    """ResNet-50: the layers of `keras.applications.ResNet50`, new weights.

    Kernels are drawn from He's normal distribution. References: He et al.
    2016, https://arxiv.org/abs/1512.03385; Frankle et al. 2019, section 5,
    https://arxiv.org/abs/1903.01611.

    Args:
        input_shape: Tuple of integers. Defaults to `(224, 224, 3)`.
        classes: Integer. Defaults to 1000.
        seed: Integer, seed of the initial weights. Defaults to 0.

    Returns:
        A built `keras.Model` that returns logits.
    """
    body = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=tuple(input_shape)
    )
    for layer in body.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.kernel_initializer = keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal"
            )
    return _with_head(body, "resnet_50", classes, seed)


def inception_v3(
    input_shape: tuple[int, ...] = (299, 299, 3),
    classes: int = 1000,
    seed: int = 0,
) -> keras.Model:
    """Inception-v3: the layers of `keras.applications.InceptionV3`.

    Without the auxiliary classifier, with new weights. References: Szegedy
    et al. 2016, https://arxiv.org/abs/1512.00567; Frankle et al. 2019,
    section 5, https://arxiv.org/abs/1903.01611.

    Args:
        input_shape: Tuple of integers, at least 75 by 75. Defaults to
            `(299, 299, 3)`.
        classes: Integer. Defaults to 1000.
        seed: Integer, seed of the initial weights. Defaults to 0.

    Returns:
        A built `keras.Model` that returns logits.
    """
    body = keras.applications.InceptionV3(
        include_top=False, weights=None, input_shape=tuple(input_shape)
    )
    return _with_head(_named(body), "inception_v3", classes, seed)


def squeezenet(
    input_shape: tuple[int, ...] = (224, 224, 3),
    classes: int = 1000,
    seed: int = 0,
) -> keras.Model:
    """SqueezeNet 1.0: eight fire modules and no dense layer.

    Kernels are drawn from Glorot's uniform distribution and dropout comes
    before the last convolution, `logits`, as in the paper. References:
    Iandola et al. 2016, table 1, https://arxiv.org/abs/1602.07360; Frankle et
    al. 2019, section 5, https://arxiv.org/abs/1903.01611.

    Args:
        input_shape: Tuple of integers. Defaults to `(224, 224, 3)`.
        classes: Integer. Defaults to 1000.
        seed: Integer, seed of the initial weights and of dropout. Defaults
            to 0.

    Returns:
        A built `keras.Model` that returns logits.

    Example:

    >>> tfl.experiments.models.squeezenet((64, 64, 3)).count_params()
    1248424
    """
    seeds = parts.Seeds(seed)
    inputs = keras.Input(input_shape)
    x = _relu_convolution(inputs, 96, 7, "conv1", seeds, 2)
    for fire, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64), start=2):
        if fire in (2, 5, 9):
            x = keras.layers.MaxPooling2D(
                3, 2, padding="same", name=f"pool{fire}"
            )(x)
        x = _fire(x, squeeze, f"fire{fire}", seeds)
    x = keras.layers.Dropout(0.5, seed=next(seeds), name="drop")(x)
    x = keras.layers.Conv2D(
        classes, 1, kernel_initializer=_glorot_uniform(seeds), name="logits"
    )(x)
    x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    return keras.Model(inputs, x, name="squeezenet")


def _fire(x, squeeze, name, seeds):
    x = _relu_convolution(x, squeeze, 1, f"{name}_squeeze", seeds)
    return keras.layers.Concatenate(name=f"{name}_concat")(
        [
            _relu_convolution(x, 4 * squeeze, size, f"{name}_{what}", seeds)
            for size, what in ((1, "expand1"), (3, "expand3"))
        ]
    )


def _relu_convolution(x, filters, size, name, seeds, stride=1):
    return keras.layers.Conv2D(
        filters, size, stride, padding="same", activation="relu",
        kernel_initializer=_glorot_uniform(seeds), name=name,
    )(x)


def _glorot_uniform(seeds):
    return keras.initializers.GlorotUniform(next(seeds))


def _named(body):
    """Copies a model whose layers Keras numbers anew in every process."""
    counts = collections.Counter()

    def clone(layer):
        config = layer.get_config()
        if not config["name"].startswith("mixed"):
            kind = _KINDS.get(type(layer).__name__, "layer")
            counts[kind] += 1
            config["name"] = f"{kind}_{counts[kind]}"
        return type(layer).from_config(config)

    return keras.models.clone_model(body, clone_function=clone)


def _with_head(body, name, classes, seed):
    x = keras.layers.GlobalAveragePooling2D(name="average")(body.output)
    x = keras.layers.Dense(classes, name="logits")(x)
    return parts.reseed(keras.Model(body.input, x, name=name), seed)
