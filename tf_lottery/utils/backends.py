"""Backends of Keras: which one runs, and what works under it."""

import functools

import keras

from tf_lottery import internals
from tf_lottery.utils import messages

# They are imported when they are used first.
jax = internals.layers.module("jax")
tf = internals.layers.module("tensorflow")
# The name of Keras' backend, such as "jax".
name = keras.backend.backend


def is_tensorflow():
    """Returns whether Keras runs on TensorFlow."""
    return name() == "tensorflow"


def check_tensorflow(what):
    """Raises a `ValueError`, which `what` begins, under other backends."""
    if not is_tensorflow():
        raise ValueError(
            f"{what} the TensorFlow backend of Keras. "
            f"Received: backend {name()!r}. Expected: 'tensorflow', which "
            "KERAS_BACKEND=tensorflow chooses. A ticket or a model that is "
            "saved under one backend is loaded under another."
        )


def compiled(function):
    """Returns a function that TensorFlow traces; torch notes no gradients."""
    if name() == "torch":
        import torch

        function = torch.no_grad()(function)
    elif is_tensorflow():
        # TensorFlow counts traces by code and would warn of many models; it
        # sees no code in a partial. Keras converts no code either.
        function = tf.function(
            functools.partial(function), autograph=False, reduce_retracing=True
        )
    return messages.shortened(function)


def unbuffered(dataset):
    """Returns a `tf.data.Dataset` that makes no batch ahead of time.

    A batch that is made ahead would be one of before a rewind.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.inject_prefetch = False
    return dataset.with_options(options)
