"""The peer of `aware`: TFMOT's PQAT, CQAT and PCQAT from given weights.

    python -m tests.benchmarks.tfmot_aware_peer DIRECTORY

Reads `start.npz` there, writes a .tflite file for each way and prints the ways.
Runs in a Python that has tensorflow-model-optimization and tf-keras.
"""

import json
import os
import pathlib
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

_QUANTIZATION = tfmot.quantization.keras
_SCHEMES = {
    "QAT": None,
    "PQAT": lambda: tfmot.experimental.combine
    .Default8BitPrunePreserveQuantizeScheme(),
    "CQAT": lambda: tfmot.experimental.combine
    .Default8BitClusterPreserveQuantizeScheme(False),
    "PCQAT": lambda: tfmot.experimental.combine
    .Default8BitClusterPreserveQuantizeScheme(True),
}


def main():
    place = pathlib.Path(sys.argv[1])
    given = np.load(place / "start.npz")
    for way, scheme in _SCHEMES.items():
        net = _lenet(given["x"].shape[1])
        net.set_weights([given[f"{way}_{i}"] for i in range(6)])
        if scheme is None:
            aware = _QUANTIZATION.quantize_model(net)
        else:
            aware = _QUANTIZATION.quantize_apply(
                _QUANTIZATION.quantize_annotate_model(net), scheme()
            )
        _fit(aware, given["x"], given["y"])
        converter = tf.lite.TFLiteConverter.from_keras_model(aware)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        (place / f"{way}.tflite").write_bytes(converter.convert())
    print(json.dumps(list(_SCHEMES)))


def _lenet(inputs):
    return tf_keras.Sequential(
        [
            tf_keras.layers.Dense(300, "relu", input_shape=(inputs,)),
            tf_keras.layers.Dense(100, "relu"),
            tf_keras.layers.Dense(10),
        ]
    )


def _fit(net, x, y):
    decay = tf_keras.optimizers.schedules.CosineDecay(2e-4, -(-len(x) // 128))
    net.compile(
        tf_keras.optimizers.Adam(decay),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    net.fit(x, y, batch_size=128, verbose=0)


if __name__ == "__main__":
    main()
