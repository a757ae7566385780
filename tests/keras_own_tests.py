"""Keras' own tests, while every compiled model holds masks.

A plugin of pytest, for the tests that Keras' wheel brings along:

    cd tests
    python -m pytest -p keras_own_tests -c /dev/null -q \
        --continue-on-collection-errors --pyargs \
        keras.src.trainers.trainer_test keras.src.optimizers \
        keras.src.callbacks keras.src.saving.saving_lib_test \
        keras.src.saving.saving_api_test

Without `-p keras_own_tests` the same command is the control. What differs is
listed in docs/masks.md.
"""

import functools
import warnings

import keras
import numpy as np
from keras.src.trainers import trainer

import tf_lottery as tfl

_compile = trainer.Trainer.compile


@functools.wraps(_compile)
def _held_compile(self, *args, **kwargs):
    _compile(self, *args, **kwargs)
    if not isinstance(self, keras.Model) or self.optimizer is None:
        return
    try:
        prunable = tfl.weights.prunable(self)
    # Not built yet, or nothing to prune.
    except ValueError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tfl.hold(self, {
            key: np.ones(tuple(variable.shape), bool)
            for key, variable in prunable.items()
        })


trainer.Trainer.compile = _held_compile
