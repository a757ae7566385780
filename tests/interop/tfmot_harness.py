"""Files, masks and outputs of TFMOT itself, for the tests to compare with.

    python -m tests.interop.tfmot_harness DIRECTORY

Importing TFMOT makes `tf.keras` Keras 2 for the whole process; so this runs
in one of its own, and the tests read what it leaves.
"""

import json
import pathlib
import sys

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tf_keras import layers

from tests.interop import tfmot_models

sparsity = tfmot.sparsity.keras
RNG = np.random.default_rng(0)


def refused(name, layer, shape):
    inputs = layers.Input(shape)
    outputs = layer(inputs)
    return name, tf_keras.Model(inputs, layers.Flatten()(outputs))


def wrappers_of(model):
    for layer in model.layers:
        if isinstance(layer, tf_keras.Model):
            yield from wrappers_of(layer)
        elif hasattr(layer, "pruning_vars"):
            yield layer


def prune_now(model):
    """Makes the masks as a training step would, and applies them."""
    for wrapper in wrappers_of(model):
        wrapper.pruning_step.assign(1)
        wrapper.pruning_obj.conditional_mask_update()
        wrapper.pruning_obj.weight_mask_op()


def randomize(model):
    """Gives every weight a value that no initializer gives."""
    for weight in model.weights:
        if weight.dtype.is_floating and "mask" not in weight.name:
            value = RNG.normal(0.3, 0.5, weight.shape)
            value = np.abs(value) if "variance" in weight.name else value
            weight.assign(value)


def inputs_of(model):
    values = [
        RNG.integers(0, 11, (2, *tensor.shape[1:]))
        if tensor.dtype.is_integer
        else RNG.normal(size=(2, *tensor.shape[1:])).astype("float32")
        for tensor in model.inputs
    ]
    return values[0] if len(values) == 1 else values


def record(directory, name, model, x):
    """Saves what the model computes and is made of, beside its files."""
    found = {}
    for index, value in enumerate(x if isinstance(x, list) else [x]):
        found[f"input/{index}"] = value
    for index, value in enumerate(tf.nest.flatten(model(x, training=False))):
        found[f"output/{index}"] = value.numpy()
    for wrapper in wrappers_of(model):
        for index, (weight, mask, _) in enumerate(wrapper.pruning_vars):
            found[f"mask/{wrapper.layer.name}/{index}"] = mask.numpy() != 0
            found[f"weight/{wrapper.layer.name}/{index}"] = weight.numpy()
    np.savez(directory / f"{name}.npz", **found)


def wrap(layer):
    """Wraps what TFMOT can wrap, so that the rest surrounds it."""
    unknown = (layers.TimeDistributed, layers.Bidirectional)
    if isinstance(layer, tf_keras.Model):
        return tf_keras.models.clone_model(layer, clone_function=wrap)
    if isinstance(layer, unknown):
        return layer.__class__.from_config(layer.get_config())
    return sparsity.prune_low_magnitude(
        layer, sparsity.ConstantSparsity(0.5, 0, frequency=1)
    )


def save(model, path):
    """Saves a model; returns why not, where tf_keras or TFMOT cannot."""
    try:
        model.save(path)
    except ValueError as error:
        return str(error)
    return None


def write_models(directory):
    failed = {}
    for name, make in tfmot_models.MODELS.items():
        policy = "mixed_float16" if name == "half" else "float32"
        tf_keras.mixed_precision.set_global_policy(policy)
        model = wrap(make())
        randomize(model)
        prune_now(model)
        record(directory, name, model, inputs_of(model))
        stripped = sparsity.strip_pruning(model)
        for suffix in ("h5", "keras"):
            failed[f"{name}.{suffix}"] = save(
                model, directory / f"{name}.{suffix}")
            failed[f"{name}_stripped.{suffix}"] = save(
                stripped, directory / f"{name}_stripped.{suffix}")
    tf_keras.mixed_precision.set_global_policy("float32")
    return {name: why for name, why in failed.items() if why}


def write_refused(directory):
    for name, model in (
        refused("local", layers.LocallyConnected2D(2, 3, name="near"),
                (6, 6, 2)),
        refused("code", layers.Lambda(lambda x: x + 1, name="code"), (4,)),
        refused("operator", lambda x: tf.nn.relu(x + 1.0), (4,)),
        refused("time", layers.LSTM(2, time_major=True, name="late"), (3, 2)),
        refused("hard", layers.Dense(2, "hard_sigmoid", name="old"), (4,)),
    ):
        model.save(directory / f"refused_{name}.h5")
        if name != "code":
            model.save(directory / f"refused_{name}.keras")
    plain = tf_keras.Sequential([layers.Input((3,)), layers.Dense(2)])
    plain.save(directory / "plain.h5")
    plain.save(directory / "plain.keras")
    plain.save_weights(directory / "only.weights.h5")
    unbuilt = tf_keras.Sequential([layers.Dense(2)])
    unbuilt.save(directory / "unbuilt.keras")


def write_fitted(directory):
    """A file as `fit` leaves it: compiled, N:M, and weights not sparse."""
    model = sparsity.prune_low_magnitude(
        tf_keras.Sequential([
            layers.Input((16,)), layers.Dense(8, "relu", name="fc"),
            layers.Dense(3, name="logits")]),
        sparsity.ConstantSparsity(0.5, 0, frequency=1),
        sparsity_m_by_n=(2, 4))
    model.compile("adam", tf_keras.losses.MeanSquaredError(), ["mae"])
    x = RNG.normal(size=(32, 16)).astype("float32")
    model.fit(
        x, x[:, :3], batch_size=8, verbose=0,
        callbacks=[Early(directory / "fitted")])
    masks = {
        f"mask/{wrapper.layer.name}/0": wrapper.pruning_vars[0][1] != 0
        for wrapper in wrappers_of(model)
    }
    np.savez(directory / "fitted.npz", **masks)


class Early(sparsity.UpdatePruningStep):
    """Saves before TFMOT masks the weights at the end of an epoch."""

    def __init__(self, path):
        super().__init__()
        self._path = path

    def on_epoch_end(self, epoch, logs=None):
        for suffix in ("h5", "keras"):
            self.model.save(f"{self._path}.{suffix}")
        super().on_epoch_end(epoch, logs)


def main():
    directory = pathlib.Path(sys.argv[1])
    failed = write_models(directory)
    write_refused(directory)
    write_fitted(directory)
    (directory / "failed.json").write_text(json.dumps(failed))


if __name__ == "__main__":
    main()
