"""What TFMOT does with each of its calls, for the table of docs/tfmot.md.

    python -m tests.interop.tfmot_rows DIRECTORY
"""

import json
import pathlib
import sys

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.sparsity.keras import (
    pruning_impl,
)
from tf_keras import layers

from tests.interop import tfmot_models

sparsity = tfmot.sparsity.keras
SPARSITIES = (0.0, 0.3, 0.5, 0.8, 0.9, 0.999)
BLOCKS = ((4, 1), (1, 4), (2, 2), (16, 1), (8, 4))
GROUPS = ((2, 4), (1, 4), (3, 4), (1, 2), (2, 3), (12, 16))


def dense():
    return tf_keras.Sequential([
        layers.Input((32,)), layers.Dense(32, name="wide"),
        layers.Dense(24, name="narrow"),
    ])


def groups():
    image = layers.Input((6, 6, 10))
    x = layers.Conv2D(6, 3, name="conv")(image)
    x = layers.SeparableConv2D(9, 2, name="separable")(x)
    x = layers.Conv2DTranspose(5, 2, name="transpose")(x)
    x = layers.Dense(7, name="fc")(layers.GlobalAveragePooling2D()(x))
    return tf_keras.Model(image, x)


def mobile():
    image = layers.Input((12, 12, 3))
    x = layers.ZeroPadding2D(1)(image)
    x = layers.Conv2D(8, 3, strides=2, padding="valid", name="first")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Conv2D(16, 1, name="point")(x)
    x = layers.ReLU()(layers.Conv2D(12, 1, name="point2")(x))
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return tf_keras.Model(image, layers.Dense(4, name="fc")(
        layers.Flatten()(x)))


def odd():
    return tf_keras.Sequential([
        layers.Input((3,)), layers.Dense(3, name="nine"),
        layers.Dense(5, name="fifteen"), layers.Dense(7, name="more"),
    ])


def constant(target):
    return sparsity.ConstantSparsity(target, 0, frequency=1)


ROWS = {
    **{
        f"{model}/constant/{target}": (
            model, {"pruning_schedule": constant(target)})
        for model in ("convolutions", "recurrent", "odd")
        for target in SPARSITIES if target < 0.99 or model == "odd"
    },
    **{
        f"dense/block/{rows}x{columns}/{pool}/{target}": ("dense", {
            "pruning_schedule": constant(target),
            "block_size": (rows, columns), "block_pooling_type": pool,
        })
        for rows, columns in BLOCKS for pool in ("AVG", "MAX")
        for target in (0.25, 0.5, 0.75)
    },
    **{
        f"groups/zeros/{zeros}/{size}": (
            "groups", {"sparsity_m_by_n": (zeros, size)})
        for zeros, size in GROUPS
    },
    "mobile/policy": ("mobile", {"pruning_schedule": constant(0.75)}),
}
MODELS = {
    "convolutions": tfmot_models.convolutions,
    "recurrent": tfmot_models.recurrent,
    "dense": dense, "groups": groups, "mobile": mobile, "odd": odd,
}


def wrap(layer):
    """As `prune_low_magnitude`, around what it refuses as well."""
    if isinstance(layer, (layers.TimeDistributed, layers.Bidirectional)):
        return layer.__class__.from_config(layer.get_config())
    return sparsity.prune_low_magnitude(layer)


def wrapped(model):
    """Returns a model's layers in TFMOT's wrappers."""
    model = tf_keras.models.clone_model(model, clone_function=wrap)
    return [layer for layer in model.layers if hasattr(layer, "pruning_vars")]


def masks_of(wrappers, options):
    """The masks that TFMOT makes of the weights at its next step.

    The weights are never assigned, so that one model serves all rows.
    """
    pruning = pruning_impl.Pruning(
        lambda: 1, [],
        options.get("pruning_schedule", constant(0.5)),
        options.get("block_size", (1, 1)),
        options.get("block_pooling_type", "AVG"),
        options.get("sparsity_m_by_n"))
    return {
        f"{wrapper.layer.name}/{index}":
            pruning._maybe_update_block_mask(weight)[1].numpy() != 0
        for wrapper in wrappers
        for index, (weight, _, _) in enumerate(wrapper.pruning_vars)
    }


def main():
    directory = pathlib.Path(sys.argv[1])
    rng = np.random.default_rng(0)
    wrappers = {}
    for name, make in MODELS.items():
        model = make()
        for weight in model.weights:
            if weight.dtype.is_floating:
                weight.assign(rng.normal(size=weight.shape))
        model.save(directory / f"rows_{name}.keras")
        if name == "mobile":
            policy = sparsity.PruneForLatencyOnXNNPack()
            model = sparsity.prune_low_magnitude(model, pruning_policy=policy)
            wrappers[name] = [
                layer for layer in model.layers
                if hasattr(layer, "pruning_vars")]
        else:
            wrappers[name] = wrapped(model)
    rows = {}
    for row, (name, options) in ROWS.items():
        for key, mask in masks_of(wrappers[name], options).items():
            rows[f"{row}|{key}"] = mask
    np.savez(directory / "rows.npz", **rows)
    (directory / "schedules.json").write_text(json.dumps(drive_schedules()))


class Late(sparsity.PruningSchedule):
    """A schedule of one's own, in tensors."""

    def __call__(self, step):
        return self._should_prune_in_step(step, 2, 6, 2), 0.25

    def get_config(self):
        return {"class_name": "Late", "config": {}}


def drive_schedules():
    """The sparsity after each step, when TFMOT's schedules prune Keras 3."""
    import keras

    import tf_lottery as tfl

    found = {}
    for name, schedule in {
        "constant": sparsity.ConstantSparsity(0.5, 2, 6, frequency=2),
        "polynomial": sparsity.PolynomialDecay(0.25, 0.75, 1, 7, frequency=2),
        "own": Late(),
    }.items():
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(5)])
        model.compile("sgd", "mse")
        ones = np.ones((8, 8)), np.ones((8, 5))
        history = model.fit(
            *ones, batch_size=8, epochs=8, verbose=0,
            callbacks=[tfl.callbacks.GradualPruning(schedule)])
        found[name] = history.history["sparsity"]
    return found


if __name__ == "__main__":
    main()
