"""The networks the benchmarks train, and made-up data for them."""

import keras
import numpy as np


def lenet():
    """LeNet-300-100 on 784 inputs, 266,610 parameters."""
    return keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Dense(300, "relu", name="fc1"),
            keras.layers.Dense(100, "relu", name="fc2"),
            keras.layers.Dense(10, name="logits"),
        ]
    )


def conv(*widths):
    """The VGG-like nets of arXiv 1803.03635: Conv-2 is `conv(64)`.

    Each width stands for two convolutions and a pooling; 256, 256 and 10
    units follow.
    """
    layers = [keras.Input((32, 32, 3))]
    for i, width in enumerate(widths):
        for j in range(2):
            layers.append(
                keras.layers.Conv2D(
                    width, 3, padding="same", activation="relu",
                    name=f"conv{2 * i + j + 1}",
                )
            )
        layers.append(keras.layers.MaxPooling2D())
    layers.append(keras.layers.Flatten())
    for i in range(2):
        layers.append(keras.layers.Dense(256, "relu", name=f"fc{i + 1}"))
    layers.append(keras.layers.Dense(10, name="logits"))
    return keras.Sequential(layers)


def random_data(shape, examples, seed=0):
    """Returns normal inputs of a shape and labels of 10 classes."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((examples, *shape), "float32")
    return x, rng.integers(0, 10, examples, "int32")


def cached(x, y, batch_size, steps):
    """Returns a `tf.data.Dataset` of `steps` batches, cached in memory."""
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((x, y))
    data = data.batch(batch_size, drop_remainder=True).cache()
    return data.repeat().take(steps).prefetch(2)


def vit(width=768, heads=12, depth=12, patch=16, size=224):
    """ViT-B/16 of arXiv 2010.11929, with the mean for a class token."""
    layers, ops = keras.layers, keras.ops
    inputs = keras.Input((size, size, 3))
    places = (size // patch) ** 2
    x = layers.Conv2D(width, patch, patch, name="patches")(inputs)
    x = layers.Reshape((places, width))(x)
    ones = ops.ones_like(
        ops.reshape(inputs[:, ::patch, ::patch, 0], (-1, places))
    )
    where = ops.cast(ops.cumsum(ones, 1) - 1, "int32")
    x = x + layers.Embedding(places, width, name="places")(where)
    for i in range(depth):
        y = layers.LayerNormalization(name=f"norm{i}a")(x)
        attention = layers.MultiHeadAttention(
            heads, width // heads, name=f"attention{i}"
        )
        x = x + attention(y, y)
        y = layers.LayerNormalization(name=f"norm{i}b")(x)
        y = layers.Dense(4 * width, "gelu", name=f"up{i}")(y)
        x = x + layers.Dense(width, name=f"down{i}")(y)
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(1000, name="logits")(x))
