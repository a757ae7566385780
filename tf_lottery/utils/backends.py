"""Backends of Keras: which one runs, and what works under it."""

import keras

from tf_lottery import internals

# They are imported when they are used first.
jax = internals.layers.module("jax")
tf = internals.layers.module("tensorflow")


def name():
    """Returns the name of Keras' backend, such as `"jax"`."""
    return keras.backend.backend()


def is_tensorflow():
    """Returns whether Keras runs on TensorFlow."""
    return name() == "tensorflow"


def unbuffered(dataset):
    """Returns a `tf.data.Dataset` that makes no batch ahead of time.

    A batch that is made ahead would be one of before a rewind.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.inject_prefetch = False
    return dataset.with_options(options)
