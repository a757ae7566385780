"""The peer of `held`: TFMOT against dense tf_keras, printed as JSON.

    python -m tests.benchmarks.tfmot_peer BLOCKS REPETITIONS

Runs in a Python that has tensorflow-model-optimization and tf-keras.
"""

import gzip
import json
import sys

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

from tests.benchmarks import harness

_SPARSITY = tfmot.sparsity.keras


def main():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40 * 128, 784), "float32")
    y = rng.integers(0, 10, len(x), "int32")
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(128).cache()
    data = data.repeat().take(400).prefetch(tf.data.AUTOTUNE)
    constant = _SPARSITY.ConstantSparsity(0.8, 0, frequency=100)
    decay = _SPARSITY.PolynomialDecay(0.0, 0.8, 0, 10**6, frequency=100)
    make = {
        "dense": lambda: _fit(_lenet(), data),
        "dense again": lambda: _fit(_lenet(), data),
        "TFMOT ConstantSparsity(frequency=100)": lambda: _fit(
            _pruned(constant), data, [_SPARSITY.UpdatePruningStep()]
        ),
        "TFMOT PolynomialDecay(frequency=100)": lambda: _fit(
            _pruned(decay), data, [_SPARSITY.UpdatePruningStep()]
        ),
    }
    blocks, repetitions = map(int, sys.argv[1:])
    times = harness.interleaved(make, blocks, repetitions)
    found = {"times": times, "kilobytes": _sizes(data)}
    sys.stdout.write("\n" + json.dumps(found) + "\n")


def _sizes(data):
    """The files of LeNet at 90 %, as TFMOT's guide makes them."""
    model = _pruned(_SPARSITY.ConstantSparsity(0.9, 0, frequency=100))
    _fit(model, data.take(101), [_SPARSITY.UpdatePruningStep()])()
    converter = tf.lite.TFLiteConverter.from_keras_model(
        _SPARSITY.strip_pruning(model)
    )
    plain = converter.convert()
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    sparse = converter.convert()
    return {
        f"TFMOT, LeNet-300-100 at 90 %: {name}": len(content) / 1000
        for name, content in (
            ("TFLite, gzip", gzip.compress(plain)), ("TFLite, sparse", sparse),
            ("TFLite, sparse, gzip", gzip.compress(sparse)),
        )
    }


def _lenet():
    return tf_keras.Sequential(
        [
            tf_keras.layers.Dense(300, "relu", input_shape=(784,)),
            tf_keras.layers.Dense(100, "relu"),
            tf_keras.layers.Dense(10),
        ]
    )


def _pruned(schedule):
    return _SPARSITY.prune_low_magnitude(_lenet(), schedule)


def _fit(model, data, callbacks=()):
    model.compile(
        tf_keras.optimizers.Adam(1e-3),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return lambda: model.fit(data, verbose=0, callbacks=list(callbacks))


if __name__ == "__main__":
    main()
