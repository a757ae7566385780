"""Backends of Keras: which one runs, and what works under it."""

import contextlib
import ctypes
import functools
import gc

import keras

from tf_lottery import internals
from tf_lottery.utils import messages

# Of fewer weights, looking for garbage takes longer than it is worth.
_SMALL = 2**20

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


def release(model, traces=True):
    """Gives memory back to the system, where a model is not small.

    The C library keeps what is freed between what is not, and so what was
    taken to make traces, or to solve equations: more than many models weigh.

    Args:
        traces: Boolean, whether traces were dropped. They are cycles, which
            Python may keep for long. Defaults to `True`.
    """
    if model.count_params() < _SMALL:
        return
    if traces:
        gc.collect()
    # Only the C library of Linux has this function.
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def unbuffered(dataset):
    """Returns a `tf.data.Dataset` that makes no batch ahead of time.

    A batch that is made ahead would be one of before a rewind.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.inject_prefetch = False
    return dataset.with_options(options)
