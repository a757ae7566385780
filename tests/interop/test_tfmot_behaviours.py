"""What TFMOT's own tests ask of a pruning toolkit, and what it gets wrong.

Covered elsewhere, and not repeated here (folders mirror the package):

- sparsity 0, 1 weight at least, exclude, NaN, frozen, shared, `predict`
  changes nothing, strip: `pruning/test_prune`, `test_masks`, `weights`
- which layers have what to prune: `weights`
- the same masks as TFMOT, by layer type, block and N:M: `test_tfmot_rows`;
  block and N:M against slow versions: `patterns`
- arguments and formulas of schedules: `test_sparsity_schedules`; due steps,
  a second `fit`, a crash, resuming after saving: `callbacks`
- every optimizer and precision, jit, several steps in one: `optimizers`
- custom training loops: `layers`; checkpoints of rounds: `callbacks`
- several devices: the tests of strategies; summaries: those of the board
- which graphs XNNPACK runs sparsely: `export/test_xnnpack`
- no side effect of the import: `integration/test_import`

TFMOT's "forgotten callback" has no counterpart: masks hold without one.
"""

import keras
import numpy as np
import pytest
from keras import layers

import tf_lottery as tfl

ONE_LAYER = {
    "Dense": ((6,), lambda: layers.Dense(5)),
    "Conv1D": ((6, 4), lambda: layers.Conv1D(5, 3)),
    "Conv2D": ((6, 6, 4), lambda: layers.Conv2D(5, 3)),
    "Conv3D": ((4, 4, 4, 2), lambda: layers.Conv3D(3, 2)),
    "Conv1DTranspose": ((6, 4), lambda: layers.Conv1DTranspose(5, 3)),
    "Conv2DTranspose": ((6, 6, 4), lambda: layers.Conv2DTranspose(5, 3)),
    "Conv3DTranspose": ((3, 3, 3, 2), lambda: layers.Conv3DTranspose(3, 2)),
    "SeparableConv1D": ((6, 4), lambda: layers.SeparableConv1D(5, 3)),
    "SeparableConv2D": ((6, 6, 4), lambda: layers.SeparableConv2D(5, 3)),
    "DepthwiseConv2D": ((6, 6, 4), lambda: layers.DepthwiseConv2D(3)),
    "EinsumDense": ((6, 4), lambda: layers.EinsumDense("abc,cd->abd", (6, 5))),
    "SimpleRNN": ((6, 4), lambda: layers.SimpleRNN(5)),
    "GRU": ((6, 4), lambda: layers.GRU(5)),
    "LSTM": ((6, 4), lambda: layers.LSTM(5)),
    "stacked cells": ((6, 4), lambda: layers.RNN(
        [layers.GRUCell(4), layers.LSTMCell(3)])),
    "Bidirectional": ((6, 4), lambda: layers.Bidirectional(layers.LSTM(3))),
    "TimeDistributed": ((6, 4), lambda: layers.TimeDistributed(
        layers.Dense(5))),
    "ConvLSTM2D": ((3, 6, 6, 2), lambda: layers.ConvLSTM2D(3, 2)),
    "nested": ((6,), lambda: keras.Sequential(
        [keras.Input((6,)), layers.Dense(8), layers.Dense(3)])),
}


def compiled(model, optimizer="sgd"):
    model.compile(optimizer, "mse")
    return model


def one_layer(name):
    shape, make = ONE_LAYER[name]
    return compiled(keras.Sequential([keras.Input(shape), make()]))


def dense(optimizer="sgd", width=16):
    return compiled(keras.Sequential([
        keras.Input((32,)), layers.Dense(width, "relu", name="fc"),
        layers.Dense(8, name="logits")]), optimizer)


def fit(model, **kwargs):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(64, *model.input_shape[1:]))
    y = rng.normal(size=(64, *model.output_shape[1:]))
    return model.fit(x, y, batch_size=8, verbose=0, **kwargs)


def revived(model):
    variables = tfl.weights.variables(model)
    return sum(
        np.count_nonzero(np.asarray(variables[key])[~mask])
        for key, mask in tfl.masks_of(model).items()
    )


@pytest.mark.parametrize("name", ONE_LAYER)
@pytest.mark.some(7)
def test_every_layer_type_reaches_the_target(name):
    model = one_layer(name)
    masks = tfl.prune(model, 0.75, scope="layer", include="*")
    assert masks
    for mask in masks.values():
        assert mask.sum() == mask.size - round(0.75 * mask.size)
    assert revived(model) == 0


@pytest.mark.parametrize("name", ["Conv2D", "stacked cells", "nested"])
def test_training_keeps_what_was_pruned(name):
    model = one_layer(name)
    masks = tfl.prune(model, 0.75, scope="layer")
    fit(model)
    assert revived(model) == 0
    for key, mask in tfl.masks_of(model).items():
        np.testing.assert_array_equal(mask, masks[key])


def test_attention_is_pruned_in_all_four_kernels():
    x = inputs = keras.Input((5, 6))
    x = layers.MultiHeadAttention(2, 3, name="heads")(x, x)
    masks = tfl.prune(compiled(keras.Model(inputs, x)), 0.5, scope="layer")
    assert sorted(masks) == [
        f"heads/{name}/kernel"
        for name in ("attention_output", "key", "query", "value")]
    assert all(mask.sum() * 2 == mask.size for mask in masks.values())


def test_layers_without_a_kernel_never_fail_a_model():
    """TFMOT refuses a whole model for any of these."""
    model = compiled(keras.Sequential([
        keras.Input((8, 8, 4)),
        layers.Normalization(), layers.RandomFlip(), layers.Rescaling(2.0),
        layers.Conv2D(8, 3, name="conv"), layers.GroupNormalization(4),
        layers.UnitNormalization(), layers.PReLU(), layers.Lambda(abs),
        layers.GlobalAveragePooling2D(), layers.Dense(2, name="fc")]))
    assert set(tfl.prune(model, 0.5)) == {"conv/kernel", "fc/kernel"}
    fit(model)
    assert revived(model) == 0


def test_weights_stay_the_same_objects_and_outputs_the_same():
    model = dense()
    before = list(model.weights)
    x = np.random.default_rng(0).normal(size=(3, 32))
    outputs = np.asarray(model(x))
    tfl.hold(model, {"fc/kernel": np.ones((32, 16), bool)})
    np.testing.assert_array_equal(model(x), outputs)
    tfl.prune(model, 0.5)
    assert all(one is other for one, other in zip(before, model.weights))


def test_pruning_twice_puts_one_holder_on_a_model():
    model = dense("adam")
    tfl.prune(model, 0.5)
    holder = model.optimizer
    tfl.prune(model, 0.75)
    assert model.optimizer is holder
    assert not isinstance(holder.inner_optimizer, tfl.optimizers.Masked)
    wrapped = tfl.layers.wrap(tfl.layers.wrap(model))
    assert not any(
        isinstance(layer.layer, tfl.layers.Masked)
        for layer in wrapped.layers if isinstance(layer, tfl.layers.Masked))


def test_loading_then_pruning_equals_pruning_then_loading():
    trained, one, other = dense(), dense(), dense()
    fit(trained)
    one.set_weights(trained.get_weights())
    tfl.hold(other, tfl.prune(one, 0.75))
    other.set_weights(trained.get_weights())
    tfl.hold(other, tfl.masks_of(other))
    for key, variable in tfl.weights.variables(one).items():
        np.testing.assert_array_equal(
            variable, tfl.weights.variables(other)[key])


@pytest.mark.some(2)
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "block:1x4"])
def test_masks_survive_saving_and_go_on_holding(pattern, suffix, tmp_path):
    """TFMOT forgets N:M: a loaded model is pruned without it."""
    model = dense("adam")
    masks = tfl.prune(model, 0.5, scope="layer", pattern=pattern)
    fit(model)
    path = tmp_path / f"model{suffix}"
    if suffix == ".keras":
        model.save(path)
        model = keras.saving.load_model(path)
    else:
        model.save_weights(path)
        model = dense("adam")
        tfl.prune(model, 0.5, scope="layer", pattern=pattern)
        model.load_weights(path)
    fit(model)
    for key, mask in tfl.masks_of(model).items():
        np.testing.assert_array_equal(mask, masks[key])
    assert revived(model) == 0


@pytest.mark.parametrize("value", [0.0, 1.0, -0.5])
def test_ties_are_counted_exactly(value):
    """Of a constant kernel TFMOT keeps everything."""
    model = dense()
    model.get_layer("fc").kernel.assign(np.full((32, 16), value))
    masks = tfl.prune(model, 0.9, scope="layer")
    assert masks["fc/kernel"].sum() == 512 - round(0.9 * 512)


class Watch(keras.callbacks.Callback):
    """Masks at each batch end, and how many pruned weights are not zero."""

    def __init__(self):
        super().__init__()
        self.masks, self.revived = [], 0

    def on_train_batch_end(self, batch, logs=None):
        self.masks.append(tfl.masks_of(self.model))
        self.revived += revived(self.model)


@pytest.mark.parametrize("sparsity", [0.1, 0.3, 0.5])
def test_nothing_pruned_comes_back(sparsity):
    """Where TFMOT revives weights in nearly every step."""
    model = dense(keras.optimizers.Adam(0.1), width=20)
    schedule = tfl.sparsity_schedules.ConstantSparsity(
        sparsity, 0, frequency=1)
    watch = Watch()
    fit(model, epochs=3, callbacks=[
        tfl.callbacks.GradualPruning(schedule, scope="layer"), watch])
    assert len(watch.masks) == 24 and watch.revived == 0
    for earlier, later in zip(watch.masks, watch.masks[1:]):
        assert all(not (later[k] & ~earlier[k]).any() for k in later)


def test_stays_sparse_after_the_end_of_the_schedule():
    model = dense("adam")
    schedule = tfl.sparsity_schedules.PolynomialDecay(
        0.0, 0.75, end_step=4, frequency=2)
    watch = Watch()
    fit(model, epochs=2, callbacks=[
        tfl.callbacks.GradualPruning(schedule), watch])
    fit(model, epochs=1, callbacks=[watch])
    total = sum(mask.sum() for mask in watch.masks[-1].values())
    assert total == 640 - 480 and watch.revived == 0
    for masks in watch.masks[4:]:
        assert sum(mask.sum() for mask in masks.values()) == total


@pytest.mark.parametrize("first", [True, False])
def test_every_checkpoint_is_sparse(first, tmp_path):
    """Before TFMOT's callback in the list, a checkpoint is not."""
    schedule = tfl.sparsity_schedules.ConstantSparsity(0.8, 2, frequency=3)
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / "{epoch}-{batch}.keras", save_freq=3)
    callbacks = [tfl.callbacks.GradualPruning(schedule), checkpoint]
    model = dense("adam")
    fit(model, epochs=1, callbacks=callbacks if first else callbacks[::-1])
    loaded = [keras.saving.load_model(p) for p in tmp_path.glob("*.keras")]
    assert len(loaded) == 2
    for model in loaded:
        assert tfl.masks_of(model) and revived(model) == 0


def test_frozen_layers_keep_every_weight():
    model = dense()
    model.get_layer("fc").trainable = False
    compiled(model)
    before = np.array(model.get_layer("fc").kernel)
    assert set(tfl.prune(model, 0.5)) == {"logits/kernel"}
    fit(model)
    np.testing.assert_array_equal(model.get_layer("fc").kernel, before)


def test_the_first_step_of_a_shared_layer_is_one_step():
    """TFMOT counts a step for every call of a layer."""
    inputs = keras.Input((16,))
    shared = layers.Dense(16, name="shared")
    model = compiled(keras.Model(inputs, shared(shared(inputs))))
    schedule = tfl.sparsity_schedules.PolynomialDecay(
        0.0, 0.75, end_step=8, frequency=1, power=1)
    watch = Watch()
    fit(model, epochs=1, callbacks=[
        tfl.callbacks.GradualPruning(schedule), watch])
    kept = [int(masks["shared/kernel"].sum()) for masks in watch.masks]
    assert kept == [256 - 24 * step for step in range(1, 9)]
