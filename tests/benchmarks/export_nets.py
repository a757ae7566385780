"""Networks for the export benchmarks, with random weights pruned."""

import contextlib
import io

import keras
import numpy as np


def lenet(sparsity):
    """LeNet-300-100, pruned by magnitude in each layer."""
    from tests.benchmarks import models

    keras.utils.set_random_seed(0)
    return prune(models.lenet(), sparsity)


def mlp(sparsity, block=1):
    """Two dense layers of 1024 on 1024 inputs."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((1024,), batch_size=1),
            keras.layers.Dense(1024, "relu", name="fc1"),
            keras.layers.Dense(1024, name="fc2"),
        ]
    )
    return prune(model, sparsity, block)


def mobilenet(width, size=224):
    """MobileNetV1 whose every layer has `width` of the channels."""
    layers = keras.layers
    channels = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512]
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2]
    inputs = keras.Input((size, size, 3), batch_size=1)
    x = layers.ZeroPadding2D(1)(inputs)
    x = layers.Conv2D(
        round(32 * width), 3, 2, activation="relu6", name="first"
    )(x)
    for i, stride in enumerate([*strides, 1]):
        out = [*channels[1:], 1024, 1024][i]
        x = layers.ZeroPadding2D(1)(x)
        x = layers.DepthwiseConv2D(3, stride, activation="relu6")(x)
        x = layers.Conv2D(round(out * width), 1, activation="relu6")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(1000, "softmax")(x))


def prune(model, sparsity, block=1):
    """Sets the smallest weights to zero, in blocks along the inputs."""
    for layer in model.layers:
        for variable in layer.weights:
            if variable.name == "kernel":
                value = keras.ops.convert_to_numpy(variable)
                size = block if value.shape[-2] % block == 0 else 1
                score = np.abs(value).reshape(
                    *value.shape[:-2], -1, size, value.shape[-1]
                ).sum(-2)
                kept = score >= np.quantile(score, sparsity)
                variable.assign(value * np.repeat(kept, size, axis=-2))
    return model


def converted(model, sparse=False):
    """Returns the file of TensorFlow's converter, with its sparsity flag."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if sparse:
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    with contextlib.redirect_stdout(io.StringIO()):
        return converter.convert()


def normal(model, number):
    """Returns normal inputs of a model with one input."""
    shape = (number, *model.input_shape[1:])
    rng = np.random.default_rng(0)
    return rng.standard_normal(shape).astype("float32")
