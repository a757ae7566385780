"""What the children of `gradual` share: one model, one training, the clock."""

import functools
import json
import sys

import keras
import numpy as np

from tests.benchmarks import harness
from tests.benchmarks import models

_EPOCHS, _STEPS = 4, 200


def steps(epochs):
    """Returns the number of steps in so many epochs."""
    return epochs * _STEPS


def compiled(change=lambda model: model):
    """Returns a new model to train."""
    # PQuantML passes over the first layer of a Sequential model.
    outputs = inputs = keras.Input((784,))
    for layer in models.lenet().layers:
        outputs = layer(outputs)
    model = change(keras.Model(inputs, outputs))
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def fit(model, callbacks=()):
    """Trains a model on random data, cached in memory."""
    data = models.cached(*models.random_data((784,), 40 * 128), 128, _STEPS)
    model.fit(
        data, epochs=_EPOCHS, callbacks=list(callbacks), verbose=0,
        shuffle=False,
    )


def main(variants, repetitions):
    """Times dense training and others in turn; prints JSON.

    Args:
        variants: Dict from name to a function that trains a model and
            returns it.
        repetitions: Integer, after a first time that is not measured.
    """
    last = {}

    def dense():
        fit(compiled())

    def keep(name):
        last[name] = variants[name]()

    calls = {"dense": dense, "dense again": dense}
    calls |= {name: functools.partial(keep, name) for name in variants}
    times = harness.interleaved(
        {name: (lambda call=call: call) for name, call in calls.items()},
        1, repetitions,
    )
    densities = {name: _density(model) for name, model in last.items()}
    found = {"times": times, "densities": densities}
    sys.stdout.write("\n" + json.dumps(found) + "\n")


def _density(model):
    kernels = [
        np.array(variable) for variable in model.trainable_variables
        if len(variable.shape) > 1
    ]
    kept = sum(int(np.count_nonzero(kernel)) for kernel in kernels)
    return kept / sum(kernel.size for kernel in kernels)
