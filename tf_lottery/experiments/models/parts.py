"""Parts that the builders of the model zoo share."""

import keras
import numpy as np

# PyTorch's epsilon of batch normalisation, and Keras' is 1e-3.
EPSILON = 1e-5


class Seeds:
    """Seeds for one layer after the other: equal ones draw equal numbers."""

    def __init__(self, seed):
        self._sequence = np.random.SeedSequence(seed)
        self._drawn = 0

    def __next__(self):
        self._drawn += 1
        return self._sequence.generate_state(self._drawn).tolist()[-1]


def glorot_normal(seeds):
    """Returns Glorot's normal initializer, as the lottery papers use it."""
    return keras.initializers.GlorotNormal(next(seeds))


def he_normal(seeds):
    """Returns He's normal initializer, not truncated, as in PyTorch."""
    return keras.initializers.VarianceScaling(
        2.0, "fan_in", "untruncated_normal", next(seeds)
    )


def convolution(filters, size, name, seeds, padding="valid"):
    """Returns a convolution with ReLU and a seeded Glorot initializer."""
    return keras.layers.Conv2D(
        filters, size, padding=padding, activation="relu",
        kernel_initializer=glorot_normal(seeds), name=name,
    )


def head(units, classes, seeds):
    """Returns the dense layers at the end: `fc1` and so on, and `logits`."""
    return [
        keras.layers.Flatten(name="flatten"),
        *(dense(n, f"fc{i}", seeds) for i, n in enumerate(units, start=1)),
        dense(classes, "logits", seeds, None),
    ]


def dense(units, name, seeds, activation="relu"):
    """Returns a dense layer with a seeded Glorot initializer."""
    return keras.layers.Dense(
        units,
        activation=activation,
        kernel_initializer=glorot_normal(seeds),
        name=name,
    )


def reseed(model, seed):
    """Draws the kernels of one of `keras.applications` anew; returns it."""
    seeds = Seeds(seed)
    for layer in model.layers:
        initializer = getattr(layer, "kernel_initializer", None)
        if initializer is None:
            continue
        config = {**initializer.get_config(), "seed": next(seeds)}
        initializer = type(initializer).from_config(config)
        layer.kernel_initializer = initializer
        layer.kernel.assign(initializer(layer.kernel.shape))
    return model
