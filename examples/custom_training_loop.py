"""Masks in a training loop of your own, without `fit` and without callbacks.

Two ways: wrap the model, and any optimizer steps it; or hold the masks by
the optimizer that `compile` got, and step with `model.optimizer`. Takes about
ten seconds:

    python examples/custom_training_loop.py
"""

import keras
import numpy as np
import tensorflow as tf

import tf_lottery as tfl
from tf_lottery import experiments

loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def make_model():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(100, "relu", name="fc"),
            keras.layers.Dense(10, name="logits"),
        ]
    )


def train(model, optimizer, data, steps=200):
    """An ordinary loop: nothing in it knows of masks."""

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    rng = np.random.default_rng(0)
    for _ in range(steps):
        chosen = rng.integers(len(data.x_train), size=50)
        step(data.x_train[chosen], data.y_train[chosen])


def report(model, data):
    logits = model(data.x_test, training=False)
    found = np.argmax(keras.ops.convert_to_numpy(logits), axis=1)
    masks = tfl.masks_of(model)
    variables = tfl.weights.variables(model)
    revived = sum(
        np.count_nonzero(keras.ops.convert_to_numpy(variables[key])[~mask])
        for key, mask in masks.items()
    )
    print(
        f"density {tfl.masks.density(masks):.1%}, {revived} revived weights, "
        f"test accuracy {np.mean(found == data.y_test):.1%}"
    )


def main():
    keras.utils.set_random_seed(0)
    data = experiments.load("digits")

    # 1. Layers hold the masks, and a snapshot to rewind to.
    model = tfl.layers.wrap(make_model(), snapshot=True)
    train(model, keras.optimizers.Adam(2e-3), data)
    scores = tfl.criteria.score(model, "magnitude")
    masks = tfl.masks.select(
        scores, keep=tfl.masks.size(tfl.masks_of(model)) // 10
    )
    tfl.hold(model, masks)
    for layer in model.layers:
        if isinstance(layer, tfl.layers.Masked):
            layer.rewind()
    train(model, keras.optimizers.Adam(2e-3), data)
    report(model, data)

    # 2. The model's own optimizer holds them.
    model = make_model()
    model.compile(keras.optimizers.Adam(2e-3), loss_of)
    train(model, model.optimizer, data)
    tfl.prune(model, sparsity=0.9)
    train(model, model.optimizer, data)
    report(model, data)


if __name__ == "__main__":
    main()
