"""Tickets on all devices of one machine: MirroredStrategy and `fit`.

Nothing but the scope is new. Without two GPUs the CPU is cut into two logical
devices, to show that every replica holds the same zeros. Takes about a
quarter of a minute:

    python examples/mirrored_strategy.py
"""

import argparse

import keras
import numpy as np
import tensorflow as tf

import tf_lottery as tfl
from tf_lottery import experiments


def devices():
    """Names of the GPUs, or of two halves of the CPU."""
    # Logical devices cannot be changed any more once they were listed.
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) > 1:
        return [f"GPU:{i}" for i in range(len(gpus))]
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    return ["CPU:0", "CPU:1"]


def make_model():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(8, 3, activation="relu", name="conv"),
            # Otherwise moving averages differ between replicas.
            keras.layers.BatchNormalization(synchronized=True, name="norm"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(2e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    strategy = tf.distribute.MirroredStrategy(devices())
    keras.utils.set_random_seed(0)
    data = experiments.load("digits")
    with strategy.scope():
        model = make_model()
    imp = tfl.IterativeMagnitudePruning(
        rounds=args.rounds, epochs_per_round=args.epochs, rate=0.3,
        monitor="val_accuracy",
    )
    model.fit(
        data.x_train, data.y_train, batch_size=64, verbose=0,
        validation_data=(data.x_val, data.y_val),
        epochs=imp.epochs, callbacks=[imp],
    )
    masks = tfl.masks_of(model)
    for key, mask in masks.items():
        copies = [
            copy.numpy()
            for copy in tfl.weights.variables(model)[key].value.values
        ]
        equal = all(np.array_equal(copy, copies[0]) for copy in copies)
        revived = sum(np.count_nonzero(copy[~mask]) for copy in copies)
        print(
            f"{key}: {mask.mean():.1%} kept, {revived} revived weights on "
            f"{len(copies)} replicas, which are "
            f"{'equal' if equal else 'different'}"
        )


if __name__ == "__main__":
    main()
