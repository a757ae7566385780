"""What should be left alone at 80 %? Small networks of depthwise layers.

A depthwise kernel has 9 weights a channel where a pointwise one has as many
as there are channels, so that a ranking of all weights together leaves most
depthwise channels one weight or none, and a network without channels. Each
rule below prunes the same trained network to 80 % at once; then it trains
one epoch more. `docs/collapse.md` has the tables that this prints, in about
10 minutes of CPU time:

    python examples/layer_collapse.py
"""

import argparse
import math

import keras
import numpy as np
from keras import layers
from rich import console
from rich import table

import tf_lottery as tfl
from tf_lottery import experiments

SPARSITY = 0.8


def ds_cnn(shape):
    """The keyword-spotting network of arXiv 1711.07128, for images."""
    inputs = keras.Input(shape)
    x = block(layers.Conv2D(64, 3, 2, "same", use_bias=False), inputs)
    for stride in (2, 1, 1, 1):
        depthwise = layers.DepthwiseConv2D(3, stride, "same", use_bias=False)
        x = block(depthwise, x)
        x = block(layers.Conv2D(64, 1, use_bias=False), x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10)(x))


def block(layer, x):
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(layer(x)))


def mobilenet_v2(shape):
    model = keras.applications.MobileNetV2(
        shape, 0.35, weights=None, classes=10, classifier_activation=None
    )
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            # Keras' statistics take thousands of steps to follow.
            layer.momentum = 0.9
    return model


NETWORKS = {
    "ds_cnn": (ds_cnn, "fashion_mnist"),
    "mobilenet_v2": (mobilenet_v2, "cifar10"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS)
    )
    parser.add_argument("--dataset", help="another than the network's own")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--samples", type=int, default=10_000)
    arguments = parser.parse_args()
    for name in arguments.networks:
        make, dataset = NETWORKS[name]
        keras.utils.set_random_seed(0)
        data = experiments.load(arguments.dataset or dataset)
        model = make(data.image_shape)
        show(f"{name}, {data.name}", data, rows(model, data, arguments))


def rows(model, data, arguments):
    """Yields a row of the table for each rule."""
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # XLA is slow at depthwise gradients on CPUs.
        jit_compile=False,
    )
    train(model, data, arguments.samples, arguments.epochs)
    start = tfl.holding.capture(model, 0)
    depthwise = depthwise_keys(model)
    kernels = tfl.weights.prunable(model, include=depthwise)
    dense = {k: np.ones(tuple(v.shape), bool) for k, v in kernels.items()}
    yield "dense", dense, depthwise, accuracy(model, data), None
    for rule, select in RULES.items():
        tfl.holding.rewind(model, start, dense)
        weights = tfl.criteria.score(model, "magnitude", include=depthwise)
        masks = {**dense, **select(weights, depthwise)}
        tfl.holding.hold(model, masks)
        at_once = accuracy(model, data)
        train(model, data, arguments.samples, 1)
        yield rule, masks, depthwise, at_once, accuracy(model, data)


def depthwise_keys(model):
    return [
        weight.key for weight in tfl.weights.inspect(model)
        if isinstance(weight.layer, layers.DepthwiseConv2D)
        and len(weight.variable.shape) > 1
    ]


def train(model, data, samples, epochs):
    model.fit(
        data.x_train[:samples], data.y_train[:samples], batch_size=128,
        epochs=epochs, verbose=0,
    )


def accuracy(model, data):
    return model.evaluate(
        data.x_test, data.y_test, batch_size=500, verbose=0
    )[1]


def ranked(scores, scope, least=0.0):
    """Masks of 80 % of these weights; a fraction of each, or one, is sure."""
    sure = {
        key: tfl.masks.select({key: s}, max(1, math.ceil(least * s.size)))[key]
        for key, s in scores.items()
    }
    raised = {
        key: np.where(sure[key], np.inf, s).clip(max=1e9)
        for key, s in scores.items()
    }
    groups = [list(scores)] if scope == "global" else [[k] for k in scores]
    keep = [
        round((1 - SPARSITY) * sum(scores[key].size for key in keys))
        for keys in groups
    ]
    return tfl.masks.select(raised, keep, groups=groups)


def without(scores, keys):
    return {key: s for key, s in scores.items() if key not in keys}


RULES = {
    "global, all": lambda s, _: ranked(s, "global"),
    "global, 2 % of each sure": lambda s, _: ranked(s, "global", 0.02),
    "global, 5 % of each sure": lambda s, _: ranked(s, "global", 0.05),
    "global, 10 % of each sure": lambda s, _: ranked(s, "global", 0.1),
    "global, not depthwise": lambda s, d: ranked(without(s, d), "global"),
    "layer, all": lambda s, _: ranked(s, "layer"),
    "layer, not depthwise": lambda s, d: ranked(without(s, d), "layer"),
}


def show(name, data, found):
    shown = table.Table(
        title=f"{name}: accuracy on {len(data.x_test):,} test images, in %"
    )
    for column in (
        "rule", "kept of all", "of depthwise", "thinnest", "at once",
        "an epoch later",
    ):
        shown.add_column(column, justify="left" if column == "rule" else
                         "right")
    for rule, masks, depthwise, at_once, later in found:
        inside = {key: masks[key] for key in depthwise}
        shown.add_row(
            rule,
            f"{tfl.masks.density(masks):.1%}",
            f"{tfl.masks.density(inside):.1%}",
            f"{min(tfl.masks.densities(masks).values()):.2%}",
            f"{100 * at_once:.1f}",
            "" if later is None else f"{100 * later:.1f}",
        )
    console.Console(width=100).print(shown)


if __name__ == "__main__":
    main()
