"""Lookahead pruning: the factors of the neighbours."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from tests import conftest
from tf_lottery import weights
from tf_lottery.criteria import lookahead
from tf_lottery.criteria.criterion import Context
from tf_lottery.layers import masked


def score(model, masks=None, epsilon=None):
    criterion = lookahead.Lookahead(epsilon)
    variables = weights.prunable(model, include="*")
    return criterion(model, variables, Context(masks=masks))


def kernel(model, name):
    return model.get_layer(name).kernel.numpy().astype("float64")


def made(values):
    """Squared norm of all weights that make each output."""
    return np.square(values).sum(tuple(range(values.ndim - 1)))


def read(values):
    """Squared norm of all weights that read each input."""
    axes = (*range(values.ndim - 2), values.ndim - 1)
    return np.square(values).sum(axes)


def expected(values, back=1.0, ahead=1.0):
    back = np.broadcast_to(back, values.shape[-2])
    return np.square(values) * back[:, None] * ahead


def trained_norm(model, name="norm", seed=0):
    """Sets all of a BatchNormalization to something; returns its factor."""
    layer = model.get_layer(name)
    rng = np.random.default_rng(seed)
    size = layer.gamma.shape[0]
    gamma, variance = rng.normal(size=size), rng.uniform(0.5, 2, size)
    layer.gamma.assign(gamma)
    layer.moving_variance.assign(variance)
    layer.moving_mean.assign(rng.normal(size=size))
    return gamma**2 / (variance + layer.epsilon)


def check(scores, key, values):
    np.testing.assert_allclose(scores[key], values, rtol=1e-5)


def test_it_is_the_frobenius_norm_of_what_changes():
    """Equation 4: removing a weight moves the product of the neighbours."""
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, name="a"),
            layers.Dense(5, name="b"),
            layers.Dense(2, name="c"),
        ]
    )
    a, b, c = (kernel(model, name) for name in "abc")
    distortion = np.zeros(b.shape)
    for i in np.ndindex(b.shape):
        without = b.copy()
        without[i] = 0
        distortion[i] = np.linalg.norm(a @ b @ c - a @ without @ c) ** 2
    scores = score(model)
    check(scores, "b/kernel", distortion)
    check(scores, "a/kernel", expected(a, 1, read(b)))
    check(scores, "c/kernel", expected(c, made(b), 1))


def test_convolutions_and_flatten():
    model = keras.Sequential(
        [
            keras.Input((5, 4, 2)),
            layers.Conv2D(3, 3, padding="same", activation="relu", name="a"),
            layers.MaxPooling2D((1, 2)),
            layers.Conv2D(6, 2, padding="same", name="b"),
            layers.Flatten(),
            layers.Dense(4, name="c"),
        ]
    )
    a, b, c = (kernel(model, name) for name in "abc")
    # Rows of the Dense kernel count positions first and channels last.
    per_channel = np.square(c).reshape(10, 6, 4).sum((0, 2))
    scores = score(model)
    check(scores, "a/kernel", expected(a, 1, read(b)))
    check(scores, "b/kernel", expected(b, made(a), per_channel))
    check(scores, "c/kernel", expected(c, np.tile(made(b), 10), 1))


@pytest.mark.parametrize("epsilon", [None, 1e-10])
def test_batch_normalization_scales_both_neighbours(epsilon):
    model = keras.Sequential(
        [
            keras.Input((6, 2)),
            layers.Conv1D(4, 3, use_bias=False, name="a"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3, name="b"),
        ]
    )
    factor = trained_norm(model)
    if epsilon is not None:
        norm = model.get_layer("norm")
        factor = norm.gamma.numpy() ** 2 / (
            norm.moving_variance.numpy() + epsilon
        )
    a, b = kernel(model, "a"), kernel(model, "b")
    scores = score(model, epsilon=epsilon)
    check(scores, "a/kernel", expected(a, 1, read(b) * factor))
    check(scores, "b/kernel", expected(b, made(a) * factor, 1))


def residual(projection=False):
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 3, padding="same", name="stem")(inputs)
    x = layers.ReLU()(x)
    skip = layers.Conv2D(3, 1, name="skip")(x) if projection else x
    x = layers.Conv2D(5, 3, padding="same", name="a")(x)
    x = layers.Conv2D(3, 3, padding="same", name="b")(layers.ReLU()(x))
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU()(layers.Add()([x, skip]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(4, name="logits")(x))


def test_an_identity_adds_1():
    model = residual()
    factor = trained_norm(model)
    scores = score(model)
    stem, a, b, logits = (
        kernel(model, name) for name in ("stem", "a", "b", "logits")
    )
    check(scores, "stem/kernel", expected(stem, 1, read(a) + 1))
    check(scores, "a/kernel", expected(a, made(stem), read(b)))
    check(
        scores, "b/kernel", expected(b, made(a), read(logits) * factor)
    )
    check(scores, "logits/kernel", expected(logits, made(b) * factor + 1, 1))


def test_a_projection_is_a_neighbour_as_any():
    model = residual(projection=True)
    scores = score(model)
    stem, skip, a, b, logits = (
        kernel(model, name) for name in ("stem", "skip", "a", "b", "logits")
    )
    factor = 1 / (1 + model.get_layer("norm").epsilon)
    check(scores, "stem/kernel", expected(stem, 1, read(a) + read(skip)))
    check(scores, "skip/kernel", expected(skip, made(stem), read(logits)))
    check(
        scores,
        "logits/kernel",
        expected(logits, made(b) * factor + made(skip), 1),
    )


def test_two_blocks_in_a_row():
    inputs = keras.Input((3,))
    x = layers.Dense(4, name="stem")(inputs)
    x = x + layers.Dense(4, name="a")(x)
    x = ops.relu(x)
    x = layers.Add()([layers.Dense(4, name="b")(x), x])
    model = keras.Model(inputs, layers.Dense(2, name="logits")(x))
    scores = score(model)
    stem, a, b, logits = (
        kernel(model, name) for name in ("stem", "a", "b", "logits")
    )
    check(scores, "stem/kernel", expected(stem, 1, read(a) + 1))
    check(scores, "a/kernel", expected(a, made(stem), read(b) + 1))
    check(scores, "b/kernel", expected(b, made(a) + 1, read(logits)))
    check(scores, "logits/kernel", expected(logits, made(b) + 1, 1))


def test_depthwise_and_separable_are_sparse_matrices():
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(3, 1, name="a"),
            layers.DepthwiseConv2D(2, depth_multiplier=2, name="d"),
            layers.SeparableConv2D(5, 2, name="s"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(2, name="logits"),
        ]
    )
    scores = score(model)
    a, d, logits = (kernel(model, name) for name in ("a", "d", "logits"))
    depth = model.get_layer("s").depthwise_kernel.numpy()
    point = model.get_layer("s").pointwise_kernel.numpy()
    per_out = np.square(d).sum((0, 1)).ravel()
    per_depth = np.square(depth).sum((0, 1))[:, 0]
    check(scores, "a/kernel", expected(a, 1, np.square(d).sum((0, 1, 3))))
    check(
        scores,
        "d/kernel",
        np.square(d) * made(a)[:, None] * per_depth.reshape(3, 2),
    )
    check(
        scores,
        "s/depthwise_kernel",
        np.square(depth) * per_out[:, None] * read(point)[:, None],
    )
    check(
        scores, "s/pointwise_kernel", expected(point, per_depth, read(logits))
    )


def dense_of_groups(values, groups):
    """The kernel of a grouped convolution as one of zeros and blocks."""
    size, filters = values.shape[-2:]
    full = np.zeros((*values.shape[:-2], size * groups, filters))
    for f in range(filters):
        g = f // (filters // groups)
        full[..., g * size : (g + 1) * size, f] = values[..., f]
    return full


def test_grouped_convolutions():
    model = keras.Sequential(
        [
            keras.Input((5, 2)),
            layers.Conv1D(6, 1, name="a"),
            layers.Conv1D(4, 2, groups=2, name="b"),
            layers.Conv1D(3, 1, name="c"),
        ]
    )
    a, b, c = (kernel(model, name) for name in "abc")
    full = dense_of_groups(b, 2)
    scores = score(model)
    check(scores, "a/kernel", expected(a, 1, read(full)))
    check(scores, "c/kernel", expected(c, made(full), 1))
    whole = expected(full, made(a), read(c))
    check({"b": dense_of_groups(scores["b/kernel"], 2)}, "b", whole)


def test_transposed_convolutions():
    model = keras.Sequential(
        [
            keras.Input((3, 3, 2)),
            layers.Conv2D(4, 1, name="a"),
            layers.Conv2DTranspose(5, 2, name="t"),
            layers.Conv2D(3, 1, name="c"),
        ]
    )
    a, t, c = (kernel(model, name) for name in "atc")
    usual = np.swapaxes(t, -1, -2)
    scores = score(model)
    check(scores, "a/kernel", expected(a, 1, read(usual)))
    found = np.swapaxes(scores["t/kernel"], -1, -2)
    check({"t": found}, "t", expected(usual, made(a), read(c)))


def test_concatenation_and_several_readers():
    inputs = keras.Input((3,))
    a = layers.Dense(2, name="a")(inputs)
    b = layers.Dense(4, name="b")(inputs)
    x = layers.Concatenate()([a, b])
    outputs = [layers.Dense(2, name="c")(x), layers.Dense(5, name="d")(x)]
    model = keras.Model(inputs, outputs)
    scores = score(model)
    kernels = {name: kernel(model, name) for name in "abcd"}
    ahead = read(kernels["c"]) + read(kernels["d"])
    check(scores, "a/kernel", expected(kernels["a"], 1, ahead[:2]))
    check(scores, "b/kernel", expected(kernels["b"], 1, ahead[2:]))
    back = np.concatenate([made(kernels["a"]), made(kernels["b"])])
    check(scores, "c/kernel", expected(kernels["c"], back, 1))


def test_a_shared_layer_sums_over_its_calls():
    inputs = keras.Input((3,))
    shared = layers.Dense(3, name="shared")
    x = shared(layers.Dense(3, name="a")(inputs))
    x = shared(layers.Dense(3, name="b")(x))
    model = keras.Model(inputs, x)
    a, b, s = (kernel(model, name) for name in ("a", "b", "shared"))
    check(
        score(model),
        "shared/kernel",
        expected(s, made(a), read(b)) + expected(s, made(b), 1),
    )


def test_nested_and_subclassed_models_are_the_same_chain():
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, name="b")], name="inner"
    )
    inputs = keras.Input((2,))
    x = inner(layers.Dense(4, name="a")(inputs))
    model = keras.Model(inputs, layers.Dense(2, name="c")(x))
    b = inner.get_layer("b").kernel.numpy()
    check(
        score(model),
        "inner/b/kernel",
        expected(b, made(kernel(model, "a")), read(kernel(model, "c"))),
    )
    subclassed = conftest.subclassed()
    scores = score(subclassed)
    hidden = subclassed.hidden.kernel.numpy()
    logits = subclassed.heads[0].kernel.numpy()
    factor = 1 / (1 + subclassed.norm.epsilon)
    key = next(k for k in scores if k.startswith("hidden"))
    check(scores, key, expected(hidden, 1, read(logits) * factor))


def test_pruned_weights_do_not_count_as_neighbours():
    model = conftest.sequential()
    masks = conftest.random_masks(model)
    a, b = (
        kernel(model, name) * masks[f"{name}/kernel"]
        for name in ("fc1", "logits")
    )
    scores = score(model, masks)
    check(scores, "fc1/kernel", expected(a, 1, read(b)))
    check(scores, "logits/kernel", expected(b, made(a), 1))


def test_neighbours_that_are_not_pruned_count():
    model = conftest.sequential()
    variables = weights.prunable(model, exclude=["logits"])
    scores = lookahead.Lookahead()(model, variables)
    check(
        scores,
        "fc1/kernel",
        expected(kernel(model, "fc1"), 1, read(kernel(model, "logits"))),
    )


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "float64"])
def test_the_model_is_left_as_it_was(policy):
    keras.config.set_dtype_policy(policy)
    model = residual()
    before = [v.numpy() for v in model.variables]
    scores = score(model)
    assert all(s.dtype == "float64" for s in scores.values())
    for variable, value in zip(model.variables, before):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_time_distributed_and_embedding():
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(7, 3, name="tokens")(inputs)
    x = layers.TimeDistributed(layers.Dense(4, name="a"), name="td")(x)
    model = keras.Model(inputs, layers.Dense(2, name="b")(x))
    table = model.get_layer("tokens").embeddings.numpy()
    a = model.get_layer("td").layer.kernel.numpy()
    scores = score(model)
    key = next(k for k in scores if k.startswith("td"))
    check(scores, key, expected(a, made(table), read(kernel(model, "b"))))
    variables = weights.prunable(model, include=["tokens"])
    scores = lookahead.Lookahead()(model, variables)
    check(scores, "tokens/embeddings", expected(table, 1, read(a)))


def test_layers_that_hold_their_masks():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            masked.Masked(layers.Dense(4, name="a")),
            layers.Dense(2, name="b"),
        ]
    )
    a, b = (v.numpy() for v in weights.prunable(model).values())
    check(score(model), "a/kernel", expected(a, 1, read(b)))
    check(score(model), "b/kernel", expected(b, made(a), 1))


def test_einsum_dense_on_the_last_axis():
    model = keras.Sequential(
        [
            keras.Input((3, 4)),
            layers.EinsumDense("abc,cd->abd", (None, 5), name="a"),
            layers.Dense(2, name="b"),
        ]
    )
    a, b = kernel(model, "a"), kernel(model, "b")
    check(score(model), "a/kernel", expected(a, 1, read(b)))


def test_what_comes_and_goes_between_weights_plays_no_part():
    inputs = keras.Input((6, 6, 2))
    x = layers.RandomFlip()(layers.Rescaling(1 / 255)(inputs))
    x = layers.Conv2D(4, 3, name="a")(layers.RandomCrop(5, 5)(x))
    x = layers.GlobalMaxPooling2D()(layers.PReLU()(layers.Softmax()(x)))
    first, second = ops.split(x * np.ones(4, "float32"), [1], -1)
    model = keras.Model(
        inputs,
        [layers.Dense(3, name="b")(first), layers.Dense(2, name="c")(second)],
    )
    a, b, c = (kernel(model, name) for name in "abc")
    scores = score(model)
    check(scores, "a/kernel", expected(a, 1, np.append(read(b), read(c))))
    check(scores, "b/kernel", expected(b, made(a)[:1]))
    check(scores, "c/kernel", expected(c, made(a)[1:]))


class Gated(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(3, name="hidden")

    def build(self, shape):
        self.hidden.build(shape)

    def call(self, inputs):
        if ops.max(inputs) > 0:
            return self.hidden(inputs)
        return inputs


def recurrent():
    mixing = layers.LSTM(3, name="mixing")
    return keras.Sequential([keras.Input((4, 2)), mixing])


def attention():
    x = keras.Input((4, 6))
    mixing = layers.MultiHeadAttention(2, 3, name="mixing")
    return keras.Model(x, mixing(x, x))


def product():
    inputs = keras.Input((4,))
    gate = layers.Dense(3, "sigmoid")(inputs)
    x = layers.Multiply(name="mixing")([gate, layers.Dense(3)(inputs)])
    return keras.Model(inputs, x)


@pytest.mark.parametrize("build", [recurrent, attention, product])
def test_what_mixes_channels_is_refused_by_name(build):
    with pytest.raises(ValueError, match="'lookahead' cannot.*'mixing'"):
        score(build())


def test_a_model_that_is_no_graph_is_refused_with_the_reason():
    model = Gated()
    model.build((None, 3))
    with pytest.raises(ValueError, match="symbolic tensors"):
        score(model)


def test_config_and_bad_epsilon():
    criterion = lookahead.Lookahead(1e-3)
    assert lookahead.Lookahead(**criterion.get_config()).epsilon == 1e-3
    with pytest.raises(ValueError, match="`epsilon`.*Received: epsilon=-1"):
        lookahead.Lookahead(-1)
