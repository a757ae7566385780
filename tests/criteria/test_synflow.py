"""SynFlow against its definition, and the flow it conserves."""

import warnings

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from keras import layers
from keras import ops

import tf_lottery as tfl
from tests.conftest import MODELS
from tf_lottery.criteria.synflow import SynFlow


def score(model, shape=None, **kwargs):
    return tfl.criteria.score(model, SynFlow(shape), **kwargs)


def chain(*widths, scale=1.0, use_bias=False):
    rng = np.random.default_rng(0)
    model = keras.Sequential([
        keras.Input(widths[:1]),
        *(layers.Dense(w, "relu", use_bias=use_bias, name=f"d{i}")
          for i, w in enumerate(widths[1:])),
    ])
    model.set_weights([
        scale * rng.normal(size=v.shape) for v in model.weights
    ])
    return model


def by_hand(kernels):
    """abs(w) times the flow into it times the flow out of it."""
    kernels = [np.abs(kernel).astype("float64") for kernel in kernels]
    into = [np.ones(len(kernels[0]))]
    for kernel in kernels:
        into.append(into[-1] @ kernel)
    out = [np.ones(kernels[-1].shape[1])]
    for kernel in reversed(kernels):
        out.insert(0, kernel @ out[0])
    return [
        kernel * np.outer(before, after)
        for kernel, before, after in zip(kernels, into, out[1:])
    ]


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=5))
def test_equals_the_product_of_absolute_weights(widths):
    model = chain(*widths)
    found = list(score(model).values())
    for a, b in zip(found, by_hand(model.get_weights()), strict=True):
        assert a.dtype == np.float64
        np.testing.assert_allclose(a, b, rtol=1e-12)


def convolutions(pool=layers.MaxPooling2D):
    return keras.Sequential([
        keras.Input((8, 8, 3)),
        layers.Conv2D(4, 3, padding="same", name="c1"),
        layers.BatchNormalization(), layers.ReLU(), pool(2),
        layers.Conv2D(6, 3, name="c2"), layers.BatchNormalization(),
        layers.LeakyReLU(), layers.GlobalAveragePooling2D(),
        layers.Dense(5, "softmax", name="out")])


@pytest.mark.parametrize("pool", [
    layers.MaxPooling2D, layers.AveragePooling2D])
def test_flow_is_conserved_by_layers(pool):
    sums = [s.sum() for s in score(convolutions(pool)).values()]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-12)


def residual(blocks=2, width=4, project=False):
    x = inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(width, 3, padding="same", use_bias=False, name="stem")(x)
    for i in range(blocks):
        y = layers.BatchNormalization()(x)
        y = layers.Conv2D(width, 3, padding="same", use_bias=False,
                          name=f"b{i}_1")(layers.ReLU()(y))
        y = layers.Conv2D(width, 3, padding="same", use_bias=False,
                          name=f"b{i}_2")(layers.ReLU()(y))
        if project:
            x = layers.Conv2D(width, 1, use_bias=False, name=f"b{i}_p")(x)
        x = layers.Add()([x, y])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, use_bias=False, name="out")(x))


def test_flow_is_conserved_by_cuts_of_a_residual_network():
    found = {k.split("/")[0]: s.sum()
             for k, s in score(residual(project=True)).items()}
    for block in ("b0", "b1"):
        assert found[f"{block}_1"] == pytest.approx(found[f"{block}_2"])
        cut = found[f"{block}_1"] + found[f"{block}_p"]
        assert cut == pytest.approx(found["stem"], rel=1e-12)
    assert found["out"] == pytest.approx(found["stem"], rel=1e-12)


@pytest.mark.slow
def test_deep_networks_stay_finite():
    """The 54 blocks of a ResNet-110; in float32 nothing but NaN is left."""
    found = score(residual(54, width=16))
    assert all(np.isfinite(s).all() for s in found.values())
    assert found["stem/kernel"].sum() > np.finfo("float32").max


@pytest.mark.parametrize("wrap", [
    tfl.layers.wrap,
    lambda model: keras.Sequential(
        [keras.Input((6, 6, 3)), *model.layers[:2],
         keras.Sequential(model.layers[2:])]),
])
def test_inner_models_and_wrappers_keep_to_float64(wrap):
    model = keras.Sequential([
        keras.Input((6, 6, 3)),
        *(layers.Conv2D(3, 1, name=f"c{i}") for i in range(4))])
    model.set_weights([np.full(v.shape, 1e20) for v in model.weights])
    found = score(wrap(model)).values()
    for a, b in zip(found, score(model).values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
        assert b.max() > np.finfo("float32").max


def test_rescaling_of_a_chain_does_not_matter():
    model = chain(4, 3, 2)
    before = score(model)
    a, b = model.get_weights()
    model.set_weights([a * 4, b / 4])
    for key, value in score(model).items():
        np.testing.assert_allclose(value, before[key], rtol=1e-12)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_precision_of_the_model_does_not_matter(policy):
    plain = convolutions()
    keras.config.set_dtype_policy(policy)
    model = convolutions()
    model.set_weights(plain.get_weights())
    for (_, a), (_, b) in zip(score(model).items(), score(plain).items()):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_every_variable_is_absolute():
    model = keras.Sequential([
        keras.Input((3,)), layers.Dense(4, name="a"),
        layers.BatchNormalization(name="norm"), layers.Dense(2, name="b")])
    rng = np.random.default_rng(1)
    values = [rng.normal(size=v.shape) for v in model.weights]
    model.set_weights(values)
    found = score(model)
    model.set_weights([np.abs(v) for v in values])
    for key, value in score(model).items():
        np.testing.assert_allclose(value, found[key], rtol=1e-12)
    kernel, bias, gamma, beta, mean, variance, out, _ = (
        np.abs(np.float32(v)).astype("float64") for v in values)
    flow = (kernel.sum(0) + bias - mean) * gamma
    hidden = flow / np.sqrt(variance + 1e-3) + beta
    np.testing.assert_allclose(
        found["b/kernel"], np.abs(hidden[:, None] * out), rtol=1e-6)


@pytest.mark.parametrize("activation", [
    "gelu", "tanh", "sigmoid", "relu6", "silu", "softmax", "elu", "relu"])
def test_activations_of_layers_count_as_the_identity(activation):
    def build(activation):
        return keras.Sequential([
            keras.Input((4,)), layers.Dense(5, activation, name="a"),
            layers.Activation(activation), layers.Dense(3, name="b")])

    model, plain = build(activation), build("linear")
    plain.set_weights(model.get_weights())
    expected, found = score(plain), score(model)
    # A gate divides all flow by one number.
    factor = found["b/kernel"].sum() / expected["b/kernel"].sum()
    assert factor == pytest.approx(1) or activation == "sigmoid"
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], factor * value, rtol=1e-12)
    assert model.layers[1].activation is keras.activations.get(activation)


def test_a_maximum_of_relu_counts_for_nothing():
    model = keras.Sequential([
        keras.Input((4,)), layers.Dense(50, name="a"),
        layers.ReLU(max_value=0.01), layers.Dense(3, name="b")])
    sums = [s.sum() for s in score(model).values()]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-12)
    assert model.layers[1].max_value == 0.01


class Bent(keras.Model):
    def __init__(self):
        super().__init__()
        self.a = layers.Dense(4, name="a")
        self.b = layers.Dense(2, name="b")

    def call(self, x):
        return self.b(ops.tanh(self.a(x)))


def test_parts_that_conserve_no_flow_are_named():
    model = Bent()
    model(np.zeros((1, 3), "float32"))
    with pytest.warns(UserWarning, match="no flow.*[Tt]anh"):
        score(model)
    inputs = keras.Input((5, 4))
    x = layers.LayerNormalization(name="ln")(inputs)
    x = layers.MultiHeadAttention(2, 4, name="mha")(x, x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    with pytest.warns(UserWarning, match="no flow.*mha.*Softmax.*ln"):
        score(model)


@pytest.mark.parametrize("name", MODELS)
def test_kinds_of_models(name):
    model = MODELS[name]()
    found = score(model)
    assert found.keys() == tfl.weights.prunable(model).keys()
    assert all((s > 0).any() for s in found.values())


def pairs():
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    dense = layers.Dense(4, use_bias=False, name="shared")
    out = [layers.Dense(2, "softmax", name="x")(dense(a)),
           layers.Dense(1, name="y")(dense(b))]
    return keras.Model({"a": a, "b": b}, {"one": out[0], "two": out[1]})


@pytest.mark.parametrize("shape", [None, {"a": (3,), "b": (3,)}])
def test_several_inputs_and_outputs(shape):
    found = score(pairs(), shape)
    total = found["x/kernel"].sum() + found["y/kernel"].sum()
    assert found["shared/kernel"].sum() == pytest.approx(total, rel=1e-12)


def test_subclassed_models_remember_their_inputs():
    class Pair(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2, name="d")

        def call(self, inputs):
            return self.dense(inputs["a"] + inputs["b"])

    model = Pair()
    model({k: np.zeros((5, 3), "float32") for k in "ab"})
    np.testing.assert_allclose(
        score(model)["d/kernel"], 2 * np.abs(np.array(model.dense.kernel)),
        rtol=1e-12)


def test_tokens_look_up_the_mean_row():
    model = keras.Sequential([
        keras.Input((3,), dtype="int32"), layers.Embedding(5, 4, name="e"),
        layers.GlobalAveragePooling1D(), layers.Dense(2, name="d")])
    found = score(model, include=["e"])
    table, kernel, _ = (np.abs(w).astype("float64")
                        for w in model.get_weights())
    np.testing.assert_allclose(
        found["d/kernel"], kernel * table.mean(0)[:, None], rtol=1e-12)
    np.testing.assert_allclose(
        found["e/embeddings"], table * kernel.sum(1) / 5, rtol=1e-12)


def test_shape_of_the_input():
    def build(size):
        return keras.Sequential([
            keras.Input((size, size, 1)),
            layers.Conv2D(2, 3, padding="same", name="c"),
            layers.GlobalAveragePooling2D(), layers.Dense(2, name="d")])

    model, fixed = build(None), build(9)
    fixed.set_weights(model.get_weights())
    for key, value in score(fixed).items():
        np.testing.assert_allclose(
            score(model, (9, 9, 1))[key], value, rtol=1e-12)
    assert all(np.isfinite(s).all() for s in score(model).values())
    with pytest.raises(ValueError, match="for each of the model's 2 inputs"):
        score(pairs(), (3,))
    with pytest.raises(ValueError, match="input_shape='9'"):
        score(model, "9")


def test_the_model_is_left_as_it_was():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = convolutions()
    model.compile("adam", "categorical_crossentropy")
    before = [np.array(v) for v in model.variables]
    policies = [layer.dtype_policy for layer in model._flatten_layers()]
    score(model)
    for a, b in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(a, np.array(b))
    assert policies == [x.dtype_policy for x in model._flatten_layers()]
    assert model.layers[-1].activation is keras.activations.softmax
    assert [i.dtype for i in model.inputs] == ["float32"]
    assert keras.config.floatx() == "float32"


def test_what_leaves_float64_is_refused():
    model = chain(*[3] * 20, scale=1e30)
    with pytest.raises(ValueError, match="'synflow' leaves.*d0/kernel"):
        score(model)


def test_masks_of_prune_are_monotone_and_one_trace_serves_all():
    traces = []

    class Counts(layers.Layer):
        def call(self, x):
            traces.append(1)
            return x

    model = keras.Sequential([
        keras.Input((6,)), layers.Dense(12, name="a"), Counts(),
        layers.Dense(4, name="b")])
    traces.clear()
    variables = tfl.weights.prunable(model)
    scores = SynFlow().prepare(model, variables, tfl.criteria.Context())
    masks = {k: np.ones(v.shape, bool) for k, v in variables.items()}
    for step in range(1, 11):
        keep = round(120 * 0.02 ** (step / 10))
        new = tfl.masks.select(scores(masks), keep, masks)
        assert all((new[k] <= masks[k]).all() for k in new)
        masks = new
    assert len(traces) == 1
    (i, j), = np.argwhere(masks["a/kernel"])
    (k, _), = np.argwhere(masks["b/kernel"])
    assert j == k  # the two weights left are on one path


def test_no_warning_where_flow_is_conserved():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score(convolutions())


def test_gates_do_not_multiply_the_flow():
    """A product of flows in every block would be squared each time."""
    inputs = keras.Input((8, 8, 4))
    x = inputs
    for block in range(12):
        gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
        gate = layers.Conv2D(4, 1, activation="sigmoid")(gate)
        x = layers.Multiply()([layers.Conv2D(4, 3, padding="same")(x), gate])
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(3)(x))
    for layer in model.layers:
        if layer.weights:
            layer.kernel.assign(10 * layer.kernel)
    scores = tfl.criteria.score(model, "synflow")
    assert all(np.isfinite(s).all() and s.any() for s in scores.values())


def test_a_sigmoid_in_a_chain_conserves_the_flow():
    model = keras.Sequential([
        keras.Input((5,)),
        layers.Dense(7, "sigmoid", use_bias=False, name="a"),
        layers.Dense(6, "relu", use_bias=False, name="b"),
        layers.Dense(3, use_bias=False, name="c"),
    ])
    scores = tfl.criteria.score(model, "synflow")
    sums = [score.sum() for score in scores.values()]
    np.testing.assert_allclose(sums, sums[0])
