"""Layer normalisations without a mean: equal, and their widths shrink."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import tf_lottery as tfl
from tf_lottery import structured
from tf_lottery.graph import streams
from tf_lottery.graph import trials

IMAGES = np.random.default_rng(0).normal(size=(2, 4, 4, 3))
LINES = IMAGES[:, 0]


def dense(x, width, name, **options):
    return layers.Dense(width, name=name, **options)(x)


def norm(x, name, **options):
    return layers.LayerNormalization(name=name, **options)(x)


def vision():
    """A small pre-norm transformer of image patches."""
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(8, 2, 2, name="patches")(inputs)
    x = layers.Reshape((4, 8))(x)
    y = norm(x, "norm_1", epsilon=0.1)
    y = layers.MultiHeadAttention(2, 4, name="attention")(y, y)
    x = x + layers.Dropout(0.5)(y)
    y = dense(norm(x, "norm_2"), 12, "up", activation="gelu")
    x = norm(x + dense(y, 8, "down"), "norm_3")
    x = dense(layers.GlobalAveragePooling1D()(x), 3, "logits")
    return randomised(keras.Model(inputs, x))


def stream(block):
    """A stream through a block, and a normalisation at its end."""
    inputs = keras.Input((4, 3))
    x = norm(block(dense(inputs, 8, "first")), "last")
    return randomised(keras.Model(inputs, dense(x, 3, "logits")))


def randomised(model):
    for seed, weight in enumerate(model.trainable_variables):
        random = np.random.default_rng(seed)
        weight.assign(random.normal(0.3, 0.5, weight.shape))
    return model


def test_the_same_is_computed_and_the_width_shrinks(tmp_path):
    model = vision()
    before = [np.array(v) for v in model.variables]
    assert "patches" not in [g.name for g in tfl.graph.trace(model).groups]
    centred = structured.centre(model)
    for a, b in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(centred(IMAGES), model(IMAGES), atol=1e-5)
    proof = structured.proof_of(centred)
    assert proof.dtype == "float64"
    assert max(proof.error, proof.weights_error) < 1e-12
    check_means(model, centred)

    plan = structured.plan(centred, ratio=0.5)
    assert plan.arguments["rewritten"] == ["norm_1", "norm_2", "norm_3"]
    assert "without their mean: norm_1, norm_2, norm_3" in plan.report()
    assert structured.Plan.from_json(plan.to_json()) == plan
    small = structured.shrink(centred, plan)
    assert small.get_layer("patches").filters == 4
    # Half the channels: twice the epsilon.
    assert small.get_layer("norm_1").epsilon == pytest.approx(0.2)
    assert structured.proof_of(small).error < 1e-12
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(loaded(IMAGES), small(IMAGES))


def check_means(model, centred):
    """Every writer of the stream has lost its mean, and no other weight."""
    new = tfl.weights.variables(centred)
    writers = {"patches", "attention/attention_output", "down"}
    for key, variable in tfl.weights.variables(model).items():
        if key.rpartition("/")[0] in writers:
            mean = np.array(new[key]).mean(-1)
            np.testing.assert_allclose(mean, 0, atol=1e-7, err_msg=key)
        else:
            np.testing.assert_array_equal(variable, new[key], key)


def post_norm(x):
    return norm(x + dense(x, 8, "residual"), "post")


class Scale(layers.Layer):
    """A layer scale."""

    def build(self, shape):
        self.factor = self.add_weight((shape[-1],), name="factor")

    def call(self, x):
        return x * self.factor


class Scaled(layers.Layer):
    """A block with a layer scale of its own next to layers."""

    def __init__(self, **options):
        super().__init__(**options)
        self.norm = layers.LayerNormalization(name="norm")
        self.dense = layers.Dense(8, name="dense")

    def build(self, shape):
        self.norm.build(shape)
        self.dense.build(shape)
        self.factors = [self.add_weight((8,), name="factor")]

    def call(self, x):
        return x + self.factors[0] * self.dense(self.norm(x))


class Gated(Scaled):
    """A gate that is one number for all channels, by an activation."""

    def build(self, shape):
        super().build(shape)
        self.gate = self.add_weight((), name="gate")

    def call(self, x):
        factor = ops.tanh(self.gate) * self.factors[0]
        return x + factor * self.dense(self.norm(x))


def scaled(x):
    x = x + Scale()(layers.Dropout(0.1)(dense(norm(x, "n"), 8, "writer")))
    return Scaled(name="block")(x)


def projected(x):
    x = norm(layers.ReLU()(x), "early")
    for name in "abc":
        x = x + dense(norm(x, name), 8, f"dense_{name}")
    return x


@pytest.mark.filterwarnings("ignore:Some layer normalisations")
@pytest.mark.parametrize(
    "block, rewritten, width",
    [(scaled, ["n", "block/norm", "last"], 4),
     (projected, ["a", "b", "c", "last"], 8)],
)
def test_scales_and_projections(block, rewritten, width):
    model = stream(block)
    centred = structured.centre(model)
    np.testing.assert_allclose(centred(LINES), model(LINES), atol=1e-4)
    assert structured.proof_of(centred).weights_error < 1e-12
    plan = structured.plan(centred, ratio=0.5)
    assert plan.arguments["rewritten"] == rewritten
    small = structured.shrink(centred, plan)
    assert structured.proof_of(small).dtype == "float64"
    assert small.get_layer("first").units == width
    assert small.get_layer("last").gamma.shape == (4,)


@pytest.mark.parametrize(
    "block, reason",
    [
        (post_norm, "LayerNormalization 'post' writes a mean into it, by"),
        (lambda x: x + dense(x, 8, "direct"), "Dense 'direct' reads it as it"),
        (lambda x: x * np.arange(8.0), "Multiply writes a mean into it"),
        (lambda x: x + dense(norm(x, "n"), 8, "tanh", activation="tanh"),
         "Dense 'tanh' writes a mean into it"),
        (lambda x: norm(x, "bare", scale=False), "LayerNormalization 'bare' h"),
        (lambda x: norm(x, "other", axis=(1, 2)), "'other' has other axes"),
        (layers.ReLU(name="relu"), "ReLU 'relu' writes a mean into it"),
        (lambda x: Gated(name="gated")(x), "Multiply writes a mean into it"),
        (lambda x: x + Scale(name="s")(x), "'s' scales what is read elsewher"),
        (lambda x: x + Scale(name="s")(ops.roll(dense(norm(x, "n"), 8, "d"), 1,
         -1)), "'s' scales what does not take up factors"),
    ],
)
def test_other_streams_stay_with_the_reason(block, reason):
    found = streams.find(tfl.graph.trace(stream(block)))
    assert any(reason in why for _, why in found.reasons), found.reasons


def test_what_is_no_stream_is_said():
    inputs = keras.Input((4, 8))
    model = keras.Model(inputs, norm(inputs, "norm"))
    with pytest.raises(ValueError, match="'norm': the model's input"):
        structured.centre(model)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="a model without any over its last"):
        structured.centre(model)


def test_some_streams_stay_with_a_warning():
    def block(x):
        y = dense(norm(x, "n"), 8, "a", activation="relu")
        return x + dense(norm(y, "b"), 8, "c")

    model = stream(block)
    with pytest.warns(UserWarning, match="'b': Dense 'a' writes a mean into"):
        centred = structured.centre(model)
    kinds = {x: type(centred.get_layer(x)) for x in ("n", "b", "last")}
    assert kinds.pop("b") is layers.LayerNormalization
    assert {*kinds.values()} == {tfl.layers.MeanSquareNormalization}


def test_masked_writers_stay():
    model = stream(lambda x: x)
    model.compile("sgd", "mse")
    tfl.prune(model, 0.5)
    with pytest.raises(ValueError, match="first/kernel' holds a mask"):
        structured.centre(model)


class Tokens(layers.Layer):
    """Puts a token before others; no rule is for it."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")

    def call(self, inputs):
        token = keras.ops.repeat(self.token, keras.ops.shape(inputs)[0], 0)
        return keras.ops.concatenate([token, inputs], 1)


def test_weights_of_layers_of_ones_own_are_centred():
    model = stream(Tokens(name="tokens"))
    centred = structured.centre(model)
    token = np.array(centred.get_layer("tokens").token)
    np.testing.assert_allclose(token.mean(), 0, atol=1e-7)
    np.testing.assert_allclose(centred(LINES), model(LINES), atol=1e-5)


def language():
    """Tied embeddings, positions, a block that is called twice."""
    inputs = keras.Input((4,), dtype="int32")
    table = layers.ReversibleEmbedding(9, 8, name="table")
    positions = layers.Embedding(4, 8, name="positions")
    x = table(inputs) + positions(keras.ops.zeros_like(inputs))
    inside = keras.Input((4, 8))
    y = dense(norm(inside, "n"), 6, "up", activation="relu")
    block = keras.Model(inside, inside + dense(y, 8, "down"), name="block")
    x = norm(block(block(x)), "last")
    return randomised(keras.Model(inputs, table(x, reverse=True)))


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = stream(lambda x: layers.Conv1D(8, 1, name="conv")(norm(x, "n")))
    finally:
        keras.config.set_dtype_policy("float32")
    centred = structured.centre(model)
    assert centred.get_layer("conv").compute_dtype == "float16"
    mean = np.array(centred.get_layer("conv").kernel).mean(-1)
    np.testing.assert_allclose(mean, 0, atol=1e-7)


def test_tied_embeddings_are_untied_and_shrink():
    model = language()
    centred = structured.centre(model)
    table = centred.get_layer("table")
    assert not table.tie_weights
    read = np.array(model.get_layer("table").embeddings).T
    np.testing.assert_array_equal(table.reverse_embeddings, read)
    x = np.arange(8).reshape(2, 4)
    np.testing.assert_allclose(centred(x), model(x), rtol=1e-4, atol=1e-5)
    small = structured.shrink(centred, structured.plan(centred, ratio=0.5))
    assert small.get_layer("table").output_dim == 4


@pytest.mark.parametrize("wrong", ["writers", "trial"])
def test_a_wrong_rewriting_is_refused(wrong, monkeypatch):
    model = stream(layers.ReLU(name="relu"))
    if wrong == "writers":
        model = stream(lambda x: x)
        monkeypatch.setattr(trials, "centred", lambda a: a)
    monkeypatch.setattr(trials, "commutes", lambda *_: True)
    with pytest.raises(structured.VerificationError, match="does not compute"):
        structured.centre(model)


def test_compiled_models_are_compiled_with_a_fresh_optimizer():
    model = stream(lambda x: x)
    model.compile(keras.optimizers.Adam(0.25), "mse")
    model.fit(LINES, np.ones((2, 4, 3)), verbose=0)
    centred = structured.centre(model)
    assert float(centred.optimizer.learning_rate) == 0.25
    assert int(centred.optimizer.iterations) == 0
    centred.fit(LINES, np.ones((2, 4, 3)), verbose=0)


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_the_layer_is_a_layer_normalisation_of_what_has_no_mean(dtype):
    x = trials.centred(IMAGES.reshape(2, 16, 3)).astype("float32")
    options = {
        "epsilon": 0.5, "dtype": dtype, "gamma_initializer": "random_normal",
        "beta_initializer": "random_normal",
    }
    layer = tfl.layers.MeanSquareNormalization(**options)
    like = layers.LayerNormalization(**options)
    found, expected = layer(x), like(x)
    like.set_weights(layer.get_weights())
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(layer(x), like(x), rtol=2e-3, atol=1e-6)
