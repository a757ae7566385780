"""Wrapper layers hold masks in the forward pass, whatever trains them."""

import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_lottery as tfl
from tests import conftest
from tests.conftest import loss
from tf_lottery.layers import Masked

# Keras says so of every layer without a `build` when it loads a model.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`build.*does not have a `build:UserWarning"
)
SGD, Adam = keras.optimizers.SGD, keras.optimizers.Adam
OPTIMIZERS = {
    "momentum": lambda: SGD(0.1, momentum=0.9),
    "adam": lambda: Adam(0.01),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "ftrl": lambda: keras.optimizers.Ftrl(0.1),
    "muon": lambda: keras.optimizers.Muon(0.01),
}


@keras.saving.register_keras_serializable("tests")
class Block(layers.Layer):
    """A composite layer with all that a layer may have.

    It has no `build`: Keras finds the shapes by calling it.
    """

    def __init__(self, units=6, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.first = layers.Dense(
            units, activity_regularizer=keras.regularizers.L2(0.1)
        )
        self.norm = layers.BatchNormalization()
        self.drop = layers.Dropout(0.3, seed=1)
        self.frozen = layers.Dense(units, trainable=False)
        # Under JAX Keras updates no metric inside a layer in `fit`.
        self.mean = None
        if conftest.BACKEND != "jax":
            self.mean = keras.metrics.Mean(name="mean_output")

    def call(self, inputs, training=False):
        x = self.norm(self.first(inputs), training=training)
        x = self.frozen(self.drop(x, training=training))
        if self.mean is not None:
            self.mean.update_state(x)
        self.add_loss(0.1 * keras.ops.mean(x * x))
        return x

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("tests")
class HasMasked(layers.Layer):
    """A layer whose code puts `Masked` around a part."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.part = Masked(layers.Dense(5, name="part"), snapshot=True)

    def build(self, shape):
        """Leaves it to the first call to build the part."""

    def call(self, inputs):
        return self.part(inputs)


def sequential(*stack, shape=(10,)):
    return keras.Sequential([keras.Input(shape), *stack])


def attention(**kwargs):
    x = keras.Input((4, 6))
    layer = layers.MultiHeadAttention(2, 3, dropout=0.3, seed=1, name="l")
    return keras.Model(x, layers.Dense(3)(layer(x, value=x, **kwargs)))


def with_initial_state():
    x = keras.Input((4, 6))
    state = layers.Dense(5)(x[:, 0])
    return keras.Model(x, layers.GRU(5)(x, initial_state=state))


def nested():
    inner = sequential(layers.Dense(6), layers.Dense(6), shape=(6,))
    x = keras.Input((6,))
    block = keras.Model(x, layers.Dense(6)(inner(x)))
    inputs = keras.Input((4, 6))
    shared = layers.Dense(6)
    return keras.Model(inputs, block(shared(shared(inputs[:, 0]))))


def words():
    return sequential(
        layers.Embedding(9, 4, mask_zero=True),
        layers.LSTM(3, return_sequences=True),
        layers.Bidirectional(layers.GRU(2)),
        shape=(4,),
    )


def convolutions():
    return sequential(
        layers.Conv2D(3, 2),
        layers.SeparableConv2D(3, 2),
        layers.DepthwiseConv2D(2),
        layers.Conv2DTranspose(2, 2),
        layers.GlobalAveragePooling2D(),
        shape=(5, 5, 2),
    )


ZOO = {
    "sequential": conftest.sequential,
    "functional": conftest.functional,
    "auto named": lambda: sequential(layers.Dense(4), layers.Dense(4)),
    "attention": attention,
    "causal": lambda: attention(use_causal_mask=True),
    "initial state": with_initial_state,
    "nested": nested,
    "words": words,
    "convolutions": convolutions,
    "composite": lambda: sequential(Block(), layers.Dense(2)),
    "time": lambda: sequential(
        layers.TimeDistributed(layers.Dense(3)), shape=(4, 6)
    ),
    "spectral": lambda: sequential(
        layers.SpectralNormalization(layers.Dense(3))
    ),
    "recurrent dropout": lambda: sequential(
        layers.LSTM(3, dropout=0.2, recurrent_dropout=0.2, seed=1),
        shape=(4, 6),
    ),
}


def inputs_of(model, samples=8):
    shape = (samples, *model.input_shape[1:])
    rng = np.random.default_rng(0)
    if any(isinstance(x, layers.Embedding) for x in model._flatten_layers()):
        return rng.integers(0, 9, shape)
    return rng.normal(size=shape).astype("float32")


def values(model):
    return {k: np.array(v) for k, v in tfl.weights.variables(model).items()}


def assert_equal(a, b, **tolerance):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_allclose(a[key], b[key], err_msg=key, **tolerance)


def array(outputs):
    return keras.ops.convert_to_numpy(outputs)


def assert_close(a, b, rtol=1e-5):
    np.testing.assert_allclose(array(a), array(b), rtol=rtol)


def assert_pruned_are_zero(model):
    seen = 0
    variables = tfl.weights.variables(model)
    for key, mask in tfl.masks_of(model).items():
        value = np.asarray(variables[key].numpy(), "float32")
        assert not np.count_nonzero(value[~mask])
        seen += (~mask).sum()
    assert seen


@pytest.mark.some(3)
@pytest.mark.parametrize("name", ZOO)
def test_wrapping_and_unwrapping_changes_nothing(name):
    model = ZOO[name]()
    before, x = values(model), inputs_of(model)
    wrapped = tfl.layers.wrap(model)
    assert_equal(values(model), before)
    assert_equal(values(wrapped), before)
    prunable = list(tfl.weights.prunable(model))
    assert list(tfl.weights.prunable(wrapped)) == prunable
    assert list(tfl.masks_of(wrapped)) == prunable
    assert tfl.masks_of(model) == {}
    originals = {id(v) for v in model.variables}
    assert not originals & {id(v) for v in wrapped.variables}
    assert_close(wrapped(x), model(x))

    tfl.hold(wrapped, conftest.random_masks(wrapped, 0.5))
    before = values(wrapped)
    plain = tfl.layers.unwrap(wrapped)
    assert not [x for x in plain._flatten_layers() if isinstance(x, Masked)]
    assert tfl.masks_of(plain) == {}
    assert_equal(values(plain), before)
    assert_equal(values(wrapped), before)
    assert_close(plain(x), wrapped(x))


@pytest.mark.some(3)
# What SpectralNormalization assigns in a step does not count for gradients
# in plain TensorFlow, and does where Keras keeps state apart, as in JAX.
@pytest.mark.parametrize("name", [n for n in ZOO if n != "spectral"])
def test_wrapped_training_equals_held_training(name):
    """The two holders of masks do the same, step by step."""
    model = ZOO[name]()
    wrapped = tfl.layers.wrap(model)
    masks = conftest.random_masks(model, 0.5)
    x = inputs_of(model)
    y = np.ones((len(x), *model.output_shape[1:]), "float32")
    ends = conftest.BatchEnds()
    histories = []
    assert_equal(values(model), start := values(wrapped))
    for each in (model, wrapped):
        each.compile(SGD(0.05, momentum=0.9), "mse", run_eagerly=True)
        tfl.hold(each, masks)
        history = each.fit(
            x, y, batch_size=4, epochs=2, shuffle=False, verbose=0,
            callbacks=[ends],
        )
        histories.append(history.history)
    assert ends.revived == 0 and ends.seen > 0
    assert tfl.optimizers.find(wrapped.optimizer) is None
    names = [[m.name for m in each.metrics] for each in (model, wrapped)]
    assert names[0] == names[1]
    # Losses, metrics inside of layers, statistics and seeds are the same.
    assert_equal(*histories, rtol=1e-4)
    assert_equal(values(model), values(wrapped), rtol=1e-3, atol=1e-5)
    for key, mask in masks.items():
        assert (start[key] != values(wrapped)[key])[mask].any()


@pytest.mark.some(4)
@pytest.mark.parametrize("name", ZOO)
def test_wrapped_model_survives_saving(name, tmp_path):
    wrapped = tfl.layers.wrap(ZOO[name](), snapshot=True)
    masks = conftest.random_masks(wrapped, 0.5)
    tfl.hold(wrapped, masks)
    wrapped.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_equal(tfl.masks_of(loaded), masks)
    x = inputs_of(wrapped)
    assert_close(loaded(x), wrapped(x))
    y = np.ones(loaded(x).shape, "float32")
    ends = conftest.BatchEnds()
    loaded.compile(Adam(0.1), "mse", run_eagerly=True)
    loaded.fit(x, y, batch_size=4, verbose=0, callbacks=[ends])
    assert ends.revived == 0 and ends.seen > 0


@pytest.mark.parametrize(
    "dtype", ["float32", "mixed_bfloat16", conftest.FLOAT64]
)
def test_forward_pass_equals_that_of_masked_weights(dtype):
    plain = layers.Dense(5, "relu", dtype=dtype)
    layer = Masked(layers.Dense(5, "relu", dtype=dtype))
    x = np.random.default_rng(0).normal(size=(3, 7)).astype("float32")
    assert layer(x).dtype == plain(x).dtype
    mask = np.random.default_rng(1).random((7, 5)) < 0.5
    layer.set_masks({"kernel": mask})
    plain.kernel.assign(np.where(mask, plain.kernel, 0))
    layer.layer.kernel.assign(plain.kernel)
    assert_close(layer(x), plain(x), rtol=0)
    # The mask counts, not the weight: it is so before it was projected.
    layer.layer.kernel.assign(np.where(mask, plain.kernel, np.nan))
    assert_close(layer(x), plain(x), rtol=0)


def train(model, optimizer, x, y, steps, jit=False):
    """A loop of a user's own; yields the gradients of each step."""

    @tf.function(jit_compile=jit)
    def step():
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            value = loss()(y, outputs) + sum(model.losses)
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return gradients

    for _ in range(steps):
        yield {
            id(v): np.asarray(g)
            for v, g in zip(model.trainable_variables, step())
        }


@pytest.mark.some(2)
@conftest.tensorflow_only("the loop is one of tf.GradientTape")
@pytest.mark.parametrize(
    "name, jit",
    [*((name, False) for name in OPTIMIZERS), ("adam", True), ("muon", True)],
)
def test_custom_loop(name, jit, data):
    model = tfl.layers.wrap(conftest.functional())
    optimizer = OPTIMIZERS[name]()
    optimizer.build(model.trainable_variables)
    masks = conftest.random_masks(model, 0.3)
    tfl.hold(model, masks)
    before = values(model)
    for gradients in train(model, optimizer, *data, 3, jit):
        assert_pruned_are_zero(model)
        for key, variable in tfl.weights.prunable(model).items():
            gradient = gradients[id(variable)]
            assert not np.count_nonzero(gradient[~masks[key]])
            assert np.count_nonzero(gradient[masks[key]])
    after = values(model)
    for key, mask in masks.items():
        assert (before[key] != after[key])[mask].any()
    # BatchNormalization and the seed of Dropout went on.
    for key in ("norm/moving_mean", "drop/seed_generator_state"):
        assert (before[key] != after[key]).any()


@conftest.tensorflow_only("the loop is one of tf.GradientTape")
def test_custom_loop_keeps_slots_of_pruned_weights_at_zero(data):
    model = tfl.layers.wrap(conftest.sequential())
    optimizer = Adam(0.01)
    optimizer.build(model.trainable_variables)
    masks = conftest.random_masks(model, 0.3)
    tfl.hold(model, masks)
    list(train(model, optimizer, *data, 3))
    slots = [v for v in optimizer.variables if v.shape == (10, 16)]
    assert len(slots) == 2
    for slot in slots:
        assert not np.count_nonzero(slot.numpy()[~masks["fc1/kernel"]])
        assert np.count_nonzero(slot.numpy()[masks["fc1/kernel"]])


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.LSTM(3, dropout=0.5, seed=1),
        lambda: layers.GRU(3, recurrent_dropout=0.5, seed=1),
        lambda: layers.SimpleRNN(3, dropout=0.5, seed=1),
        lambda: layers.Bidirectional(layers.LSTM(3, dropout=0.5, seed=1)),
        lambda: Block(3),
    ],
    ids=["lstm", "gru", "simple", "bidirectional", "composite"],
)
def test_dropout_goes_on_in_a_wrapped_layer(make):
    layer = Masked(make())
    x = np.random.default_rng(0).normal(size=(2, 4, 6)).astype("float32")
    outputs = [array(layer(x, training=True)) for _ in range(3)]
    assert (outputs[0] != outputs[1]).any()
    assert (outputs[1] != outputs[2]).any()
    plain = [array(layer(x, training=False)) for _ in range(2)]
    np.testing.assert_array_equal(*plain)


def test_stateful_recurrent_layer_keeps_its_state():
    plain = layers.GRU(3, stateful=True)
    layer = Masked(layers.GRU(3, stateful=True))
    x = np.ones((2, 4, 6), "float32")
    for each in (plain, layer):
        each.build(x.shape)
    layer.layer.set_weights(plain.get_weights())
    for _ in range(2):
        assert_close(layer(x), plain(x), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.some(1)
@pytest.mark.parametrize(
    "policy, jit",
    [("mixed_bfloat16", conftest.JIT[-1]), ("mixed_float16", conftest.JIT[0])],
)
def test_mixed_precision(policy, jit, data, tmp_path):
    keras.config.set_dtype_policy(policy)
    inputs = keras.Input((10,))
    x = layers.Dense(8, name="a")(inputs)
    x = Block(name="block")(x)
    model = keras.Model(inputs, layers.Dense(4, dtype="float32", name="b")(x))
    # The sum of losses of layers in half precision is beyond plain Keras.
    for layer in model._flatten_layers():
        layer.add_loss = lambda value: None
        layer.activity_regularizer = None
    wrapped = tfl.layers.wrap(model, snapshot=True)
    for layer in wrapped._flatten_layers():
        layer.add_loss = lambda value: None
        layer.activity_regularizer = None
    frozen = values(wrapped)["block/dense_1/kernel"]
    floats = {v.dtype for v in wrapped.variables if "float" in v.dtype}
    assert floats == {"float32"}
    assert_equal(values(model), values(wrapped))
    assert_close(wrapped(data[0]), model(data[0]), rtol=0)
    tfl.hold(wrapped, conftest.random_masks(wrapped, 0.3))
    wrapped.compile(Adam(0.01), loss(), jit_compile=jit)
    ends = conftest.BatchEnds()
    wrapped.fit(*data, verbose=0, callbacks=[ends])
    assert ends.revived == 0 and ends.seen > 0
    # Nothing was rounded on the way.
    np.testing.assert_array_equal(
        values(wrapped)["block/dense_1/kernel"], frozen
    )


@pytest.mark.some(2)
@pytest.mark.parametrize(
    "name, mode",
    [(name, {}) for name in OPTIMIZERS]
    + [
        (name, mode) for key, mode in conftest.modes(steps=3).items() if mode
        for name in ["ftrl" if key == "steps_per_execution" else "muon"]
    ],
)
def test_fit(name, mode, data):
    model = tfl.layers.wrap(conftest.functional())
    model.compile(OPTIMIZERS[name](), loss(), **mode)
    ends = conftest.BatchEnds()
    for sparsity in (0.5, 0.9):
        masks = tfl.prune(model, sparsity)
        model.fit(*data, batch_size=16, verbose=0, callbacks=[ends])
        assert_equal(tfl.masks_of(model), masks)
    assert ends.revived == 0 and ends.seen > 0
    assert ends.densities[0] == 0.5 and ends.densities[-1] < 0.11
    assert type(model.optimizer) is type(OPTIMIZERS[name]())


def test_prune_needs_no_compilation():
    model = tfl.layers.wrap(conftest.functional())
    tfl.prune(model, 0.8)
    assert_pruned_are_zero(model)
    assert tfl.masks.density(tfl.masks_of(model)) == pytest.approx(0.2, abs=.01)
    ticket = tfl.Ticket.of(model)
    other = tfl.layers.wrap(conftest.functional())
    ticket.apply(other)
    assert_equal(values(other), values(model))
    assert_equal(tfl.masks_of(other), tfl.masks_of(model))


@pytest.mark.slow
def test_layers_and_weights_hold_masks_side_by_side(data):
    model = tfl.layers.wrap(conftest.functional(), exclude=["fc2"])
    masks = conftest.random_masks(model)
    assert len(masks) == 3
    tfl.hold(model, masks)
    assert_equal(tfl.masks_of(model), masks)
    model.compile("adam", loss())
    model.fit(*data, verbose=0)
    assert_equal(tfl.masks_of(model), masks)
    for key, mask in masks.items():
        assert not values(model)[key][~mask].any(), key


@pytest.mark.slow
def test_tickets_carry_over_between_a_model_and_its_wrapped_twin(data):
    model = conftest.functional()
    model.compile("adam", loss())
    masks = conftest.random_masks(model, 0.3)
    ticket = tfl.Ticket.of(model, masks)
    wrapped = tfl.layers.wrap(model)
    wrapped.compile("adam", loss())
    wrapped.fit(*data, verbose=0)
    ticket.apply(wrapped)
    assert_equal(tfl.masks_of(wrapped), masks)
    back = tfl.Ticket.of(wrapped)
    back.apply(model)
    assert_equal(tfl.masks_of(model), masks)
    assert_equal(values(model), values(wrapped))


def test_wrapping_takes_over_the_masks_that_are_held(compiled):
    masks = tfl.prune(compiled, 0.7)
    wrapped = tfl.layers.wrap(compiled)
    assert_equal(tfl.masks_of(wrapped), masks)
    assert not wrapped.compiled and compiled.compiled
    again = tfl.layers.wrap(wrapped)
    assert_equal(tfl.masks_of(again), masks)
    assert_equal(values(again), values(compiled))


def test_shared_layers_are_wrapped_once():
    wrapped = tfl.layers.wrap(nested())
    found = [x for x in wrapped._flatten_layers() if isinstance(x, Masked)]
    assert len({id(layer) for layer in found}) == 4
    assert len(tfl.masks_of(wrapped)) == 4


@pytest.mark.parametrize(
    "kwargs, expected",
    [
        ({"exclude": ["fc1"]}, ["block/dense/kernel", "logits/kernel"]),
        ({"exclude": ["block/*"]}, ["fc1/kernel", "logits/kernel"]),
        ({"exclude": ["fc1", "logits"]}, ["block/dense/kernel"]),
    ],
)
def test_exclude(kwargs, expected, tmp_path):
    model = sequential(
        layers.Dense(6, name="fc1"), Block(name="block"),
        layers.Dense(4, name="logits"),
    )
    wrapped = tfl.layers.wrap(model, **kwargs)
    assert list(tfl.masks_of(wrapped)) == expected
    wrapped.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert list(tfl.masks_of(loaded)) == expected


def test_parts_of_a_layer_can_be_left_out(tmp_path):
    model = sequential(
        layers.Embedding(9, 6, name="words"),
        layers.LSTM(3, name="lstm"), shape=(4,),
    )
    wrapped = tfl.layers.wrap(
        model, exclude=["lstm/lstm_cell/kernel"], include=["words"]
    )
    expected = ["words/embeddings", "lstm/lstm_cell/recurrent_kernel"]
    assert list(tfl.masks_of(wrapped)) == expected
    wrapped.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert list(tfl.masks_of(loaded)) == expected
    layer = Masked(layers.Embedding(9, 6), include="embeddings")
    layer = Masked.from_config(pickle.loads(pickle.dumps(layer.get_config())))
    layer.build((None, 4))
    assert layer.masks["embeddings"].shape == (9, 6)


def test_rewind():
    layer = Masked(layers.Dense(3), snapshot=True)
    layer.build((None, 4))
    start = [np.array(v) for v in (layer.layer.kernel, layer.layer.bias)]
    layer.layer.kernel.assign_add(np.ones((4, 3)))
    layer.layer.bias.assign_add(np.ones(3))
    mask = np.eye(4, 3, dtype=bool)
    layer.set_masks({"kernel": mask})
    layer.rewind()
    np.testing.assert_array_equal(layer.layer.bias, start[1])
    np.testing.assert_array_equal(
        layer.layer.kernel, np.where(mask, start[0], 0)
    )
    layer.layer.bias.assign(np.full(3, 7.0))
    layer.take_snapshot()
    layer.layer.bias.assign(np.zeros(3))
    layer.rewind()
    np.testing.assert_array_equal(layer.layer.bias, np.full(3, 7.0))


def test_snapshot_is_of_the_weights_that_are_wrapped():
    model = conftest.sequential()
    wrapped = tfl.layers.wrap(model, snapshot=True)
    layer = wrapped.layers[0]
    layer.layer.kernel.assign(np.zeros((10, 16)))
    layer.rewind()
    np.testing.assert_array_equal(layer.layer.kernel, model.layers[0].kernel)


def test_snapshot_is_saved(data, tmp_path):
    wrapped = tfl.layers.wrap(conftest.sequential(), snapshot=True)
    start = values(wrapped)
    wrapped.compile("adam", loss())
    masks = tfl.prune(wrapped, 0.5)
    wrapped.fit(*data, verbose=0)
    wrapped.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_equal(values(loaded), values(wrapped))
    for layer in loaded.layers:
        layer.rewind()
    expected = {
        key: np.where(masks[key], value, 0) if key in masks else value
        for key, value in start.items()
    }
    assert_equal(values(loaded), expected)


@pytest.mark.some(1)
@pytest.mark.parametrize("jit", conftest.JIT)
def test_saved_and_loaded_model_goes_on_alike(jit, data, tmp_path):
    model = tfl.layers.wrap(conftest.sequential())
    model.compile(SGD(0.1, momentum=0.9), loss(), jit_compile=jit)
    tfl.prune(model, 0.7)
    model.fit(*data, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_equal(tfl.masks_of(loaded), tfl.masks_of(model))
    ends = conftest.BatchEnds()
    for each in (model, loaded):
        each.fit(*data, shuffle=False, verbose=0, callbacks=[ends])
    assert ends.revived == 0 and ends.densities[-1] == pytest.approx(
        0.3, abs=0.01
    )
    assert_equal(values(loaded), values(model), rtol=1e-4, atol=1e-5)


def test_snapshot_in_a_subclassed_model(data, tmp_path):
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.part, self.out = HasMasked(), layers.Dense(4)

        def call(self, inputs):
            return self.out(self.part(inputs))

    keras.config.set_dtype_policy("mixed_bfloat16")
    model = Model()
    model.compile("adam", loss())
    model.fit(*data, verbose=0, epochs=0)
    model.predict(data[0], verbose=0)
    masked = model.part.part
    before = masked.layer.kernel.numpy()
    assert np.count_nonzero(before)
    model.fit(*data, verbose=0)
    assert (masked.layer.kernel.numpy() != before).all()
    masked.rewind()
    np.testing.assert_array_equal(masked.layer.kernel.numpy(), before)


def test_masks_take_one_bit_for_a_weight_in_a_file(tmp_path):
    model = sequential(layers.Dense(1000, use_bias=False), shape=(1000,))
    sizes = []
    for each in (model, tfl.layers.wrap(model)):
        each.save(tmp_path / "model.keras")
        sizes.append((tmp_path / "model.keras").stat().st_size)
    assert sizes[1] - sizes[0] < 1_000_000 / 8 + 20_000


def test_weights_files_of_another_wrapping_are_refused(tmp_path):
    model = sequential(layers.Dense(3, name="fc"))
    path = tmp_path / "model.weights.h5"
    tfl.layers.wrap(model, snapshot=True).save_weights(path)
    with pytest.raises(ValueError, match="cannot load these masks.*kernel_m"):
        tfl.layers.wrap(model).load_weights(path)


@pytest.mark.slow
def test_masks_of_keras_pass_through():
    """The mask of an embedding reaches the layers behind a wrapped one."""
    model = words()
    wrapped = tfl.layers.wrap(model, include=["embedding*"])
    rows = np.array([[1, 2, 0, 0], [1, 2, 3, 4]])
    np.testing.assert_allclose(
        wrapped.predict(rows, verbose=0), model.predict(rows, verbose=0),
        rtol=1e-5,
    )
    embedded = wrapped.layers[0](rows)
    np.testing.assert_array_equal(embedded._keras_mask, rows != 0)
    sequences = wrapped.layers[1](embedded)
    np.testing.assert_array_equal(sequences._keras_mask, rows != 0)
    assert not hasattr(wrapped.layers[2](sequences), "_keras_mask")
    conv = Masked(layers.Conv1D(3, 1))
    with pytest.warns(UserWarning, match="does not support masking"):
        assert not hasattr(conv(embedded), "_keras_mask")


def test_regularizers_count_once():
    dense = {"kernel_regularizer": "l2", "bias_regularizer": "l1",
             "bias_initializer": "ones"}
    model = sequential(layers.Dense(3, **dense))
    wrapped = tfl.layers.wrap(model)
    assert len(wrapped.losses) == len(model.losses) == 2
    for ours, theirs in zip(wrapped.losses, model.losses):
        assert_close(ours, theirs, rtol=1e-6)
    tfl.hold(wrapped, conftest.random_masks(wrapped, 0.5))
    assert array(wrapped.losses[0]) < array(model.losses[0])


def test_losses_of_layers_inside_count_once():
    keras.utils.set_random_seed(0)
    model = sequential(Block(), layers.Dense(2))
    wrapped = tfl.layers.wrap(model)
    x = inputs_of(model)
    found = []
    for each in (model, wrapped):
        each.compile("sgd", "mse")
        found.append(each.evaluate(
            x, np.ones((len(x), 2)), verbose=0, return_dict=True
        ))
    assert_equal(*found, rtol=1e-5)


@conftest.only("torch", because="the optimizer is one of torch's")
def test_an_optimizer_of_torch_revives_nothing_in_wrapped_layers():
    import torch

    model = tfl.layers.wrap(conftest.functional())
    tfl.prune(model, 0.7)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    # Arrays of torch's variables are views.
    start = {key: value.copy() for key, value in values(model).items()}
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(8, 10), training=True).square().mean().backward()
        optimizer.step()
    assert_pruned_are_zero(model)
    for key, mask in tfl.masks_of(model).items():
        assert (start[key] != values(model)[key])[mask].any()


@pytest.mark.slow
def test_wrapped_by_hand_inside_other_layers(tmp_path):
    model = sequential(
        layers.TimeDistributed(Masked(layers.Dense(3, name="fc"))),
        Masked(layers.Bidirectional(layers.LSTM(2)), name="both"),
        shape=(4, 6),
    )
    assert list(tfl.masks_of(model))[0] == "time_distributed/fc/kernel"
    assert len(tfl.masks_of(model)) == 5
    tfl.prune(model, 0.5)
    plain = tfl.strip(model)
    assert type(plain.layers[0].layer) is layers.Dense
    x = inputs_of(model)
    np.testing.assert_allclose(
        plain.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_equal(tfl.masks_of(loaded), tfl.masks_of(model))


def test_adapted_layers_keep_what_they_know():
    scale = layers.Normalization()
    scale.adapt(np.arange(20.0).reshape(2, 10) * 3)
    model = sequential(scale, layers.Dense(3))
    x = np.ones((2, 10))
    wrapped = tfl.layers.wrap(model)
    for each in (wrapped, tfl.layers.unwrap(wrapped)):
        np.testing.assert_allclose(
            each.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5
        )


def test_zeros_are_baked_in_whoever_changed_a_pruned_weight():
    wrapped = tfl.layers.wrap(conftest.sequential())
    masks = tfl.prune(wrapped, 0.5)
    kernel = wrapped.layers[0].layer.kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    kernel.assign(np.where(masks["fc1/kernel"], 1.0, kernel))
    plain = tfl.layers.unwrap(wrapped)
    np.testing.assert_array_equal(
        plain.layers[0].kernel, masks["fc1/kernel"].astype("float32")
    )


def test_an_already_built_layer_can_be_wrapped():
    dense = layers.Dense(3)
    dense.build((None, 4))
    kernel = np.array(dense.kernel)
    layer = Masked(dense)
    layer(np.ones((1, 4)))
    np.testing.assert_array_equal(dense.kernel, kernel)
    assert layer.masks["kernel"].all()
    assert layer.trainable_variables == [dense.kernel, dense.bias]


def test_config_round_trip():
    layer = Masked(
        layers.LSTM(3, name="cell"), exclude="lstm_cell/kernel", snapshot=True
    )
    config = layer.get_config()
    copy = Masked.from_config(keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)).get_config())
    assert copy.get_config() == config
    assert (copy.name, copy.snapshot) == ("cell", True)
    assert copy.exclude == ["lstm_cell/kernel"] and copy.include == []
    assert type(copy.layer) is layers.LSTM


def test_subclassed_models_are_refused():
    model = conftest.subclassed()
    with pytest.raises(ValueError, match="subclassed.*in the constructor"):
        tfl.layers.wrap(model)
    with pytest.raises(ValueError, match="`Subclassed` cannot be made from"):
        tfl.layers.unwrap(model)
    inputs = keras.Input((10,))
    outer = keras.Model(inputs, model(inputs))
    with pytest.raises(ValueError, match="cannot be wrapped: .*of its own"):
        tfl.layers.wrap(outer)


def test_wrappers_of_a_layers_own_code_cannot_be_taken_off():
    model = sequential(HasMasked(name="odd"))
    model.compile("sgd", "mse")
    for do in (tfl.layers.unwrap, tfl.strip):
        with pytest.raises(ValueError, match="'part' of model .* by the code"):
            do(model)


def test_layers_that_do_not_remake_their_weights_are_refused():
    class Forgetful(layers.Layer):
        """Its configuration does not say what it is made of."""

        def __init__(self, part=None, **kwargs):
            super().__init__(**kwargs)
            self.part = part

        def call(self, inputs):
            return inputs if self.part is None else self.part(inputs)

        def get_config(self):
            return {"name": self.name}

    model = sequential(
        Forgetful(layers.Dense(10), name="odd"), layers.Dense(2)
    )
    with pytest.raises(ValueError, match="cannot be wrapped.*odd/dense/ke"):
        tfl.layers.wrap(model, exclude=["odd/*"])
    with pytest.raises(ValueError, match="cannot be copied.*odd/dense/kern"):
        tfl.layers.unwrap(model)


def test_errors():
    with pytest.raises(ValueError, match="already is a `Masked`"):
        Masked(Masked(layers.Dense(2)))
    with pytest.raises(ValueError, match="must be a `keras.layers.Layer`"):
        Masked("dense")
    with pytest.raises(ValueError, match="'re_lu' has no prunable weight"):
        Masked(layers.ReLU(name="re_lu"))(np.ones((1, 2)))
    with pytest.raises(ValueError, match="`exclude` names 'x'.*'kernel'"):
        Masked(layers.Dense(2), exclude=["x"])(np.ones((1, 2)))
    with pytest.raises(ValueError, match="is not built"):
        tfl.layers.wrap(keras.Sequential([layers.Dense(2)]))
    layer = Masked(layers.Dense(2))
    for do in (lambda: layer.set_masks({}), layer.rewind, layer.take_snapshot):
        with pytest.raises(ValueError, match="is not built"):
            do()
    layer.build((None, 3))
    for do in (layer.rewind, layer.take_snapshot):
        with pytest.raises(ValueError, match="keeps no snapshot"):
            do()
    good = np.zeros((3, 2), bool)
    for masks in (
        {"bias": np.ones(2, bool)},
        {"kernel": good.T},
        {"kernel": good.astype("float32")},
        {"kernel": good, "other": good},
    ):
        with pytest.raises(ValueError, match="'kernel': .3, 2."):
            layer.set_masks(masks)
    # Nothing was set by halves.
    assert layer.masks["kernel"].all()
