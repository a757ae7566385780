"""A weight is alive if it lies on a path from an input to an output."""

import itertools

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies
from keras import layers
from keras import ops

import tf_lottery as tfl
from tests import conftest
from tf_lottery import paths

FEW = hypothesis.settings(max_examples=12, deadline=None, database=None)


def sequential(*stack, shape=(6,), dtype=None):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *stack])


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def random_masks(model, density, seed=0, include=()):
    rng = np.random.default_rng(seed)
    return {
        key: rng.random(tuple(variable.shape)) < density
        for key, variable in tfl.weights.prunable(
            model, include=include).items()
    }


# Chains of dense layers, in closed form.


def chain(masks):
    """Forwards what is reached, backwards what is used."""
    reach, used = [np.ones(len(masks[0]), bool)], [None] * len(masks)
    for mask in masks:
        reach.append((reach[-1][:, None] & mask).any(0))
    needed = np.ones(masks[-1].shape[1], bool)
    for index in reversed(range(len(masks))):
        used[index] = needed
        needed = (masks[index] & needed).any(1)
    return [r[:, None] & m & u for r, m, u in zip(reach, masks, used)]


@pytest.mark.slow
@FEW
@hypothesis.given(
    sizes=strategies.lists(strategies.integers(1, 9), min_size=2, max_size=6),
    density=strategies.floats(0.05, 0.7),
    seed=strategies.integers(0, 1000),
)
def test_a_chain_of_dense_layers(sizes, density, seed):
    model = sequential(
        *(layers.Dense(n, "relu") for n in sizes[1:]), shape=sizes[:1]
    )
    masks = random_masks(model, density, seed)
    expected = dict(zip(masks, chain(list(masks.values()))))
    assert_equal(paths.effective_masks(model, masks), expected)
    found = paths.effective_density(model, masks)
    assert found == tfl.masks.density(expected) <= tfl.masks.density(masks)
    assert paths.effective_densities(model, masks) == tfl.masks.densities(
        expected
    )
    dead = not any(mask.any() for mask in expected.values())
    assert (paths.why_dead(model, masks) is not None) == dead


def test_counts_of_paths_do_not_overflow():
    model = sequential(*(layers.Dense(32) for _ in range(40)), shape=(32,))
    masks = random_masks(model, 0.9)
    for mask in masks.values():
        mask[:, 0] = False
    expected = dict(zip(masks, chain(list(masks.values()))))
    assert_equal(paths.effective_masks(model, masks), expected)


# Any graph, path by path.


@strategies.composite
def graphs(draw):
    """Layers, each the sum of dense layers and identities of earlier ones."""
    width = draw(strategies.integers(1, 3))
    nodes = []
    for index in range(1, draw(strategies.integers(1, 4)) + 1):
        edge = strategies.tuples(
            strategies.integers(0, index - 1), strategies.booleans()
        )
        nodes.append(draw(strategies.lists(edge, min_size=1, max_size=3)))
    return width, nodes, draw(strategies.integers(0, 10_000))


def build(width, nodes):
    """Returns the model, and its edges between nodes with their layers."""
    tensors, edges = [keras.Input((width,))], []
    for index, sources in enumerate(nodes, 1):
        parts = []
        for source, is_dense in sources:
            name = f"d{len(edges)}" if is_dense else None
            edges.append((source, index, name))
            x = tensors[source]
            parts.append(
                layers.Dense(width, "relu", name=name)(x) if is_dense else x
            )
        tensors.append(layers.add(parts) if len(parts) > 1 else parts[0])
    return keras.Model(tensors[0], tensors[-1]), edges


def walked(width, last, edges, masks):
    """Goes along every path, unit by unit, and marks its weights."""
    steps = {}
    for source, index, name in edges:
        mask = masks.get(f"{name}/kernel", np.eye(width, dtype=bool))
        for i, j in np.argwhere(mask):
            step = ((index, j), f"{name}/kernel", (i, j))
            steps.setdefault((source, i), []).append(step)
    live = {key: np.zeros_like(mask) for key, mask in masks.items()}

    def walk(unit, trail):
        if unit[0] == last:
            for key, place in trail:
                if key in live:
                    live[key][place] = True
        for following, key, place in steps.get(unit, ()):
            walk(following, [*trail, (key, place)])

    for unit in range(width):
        walk((0, unit), [])
    return live


@FEW
@hypothesis.given(graph=graphs())
def test_any_graph(graph):
    width, nodes, seed = graph
    model, edges = build(width, nodes)
    names = {layer.name for layer in model.layers}
    # What does not lead to the output is no part of the model.
    edges = [edge for edge in edges if edge[2] is None or edge[2] in names]
    hypothesis.assume(any(edge[2] for edge in edges))
    masks = random_masks(model, 0.5, seed)
    expected = walked(width, len(nodes), edges, masks)
    assert_equal(paths.effective_masks(model, masks), expected)


# Convolutions, by the gradient that defines a path.


def linear_net(pool, activation, norm=False):
    inputs = keras.Input((9, 9, 2))
    x = layers.Conv2D(4, 3, activation=activation, name="a")(inputs)
    x = layers.BatchNormalization()(x) if norm else x
    skip = layers.Conv2D(4, 1, name="b")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="c")(x)
    x = layers.Conv2D(4, 3, padding="same", name="d")(x)
    x = layers.Activation(activation)(layers.Add()([x, skip]))
    x = pool(2)(x)
    x = layers.SeparableConv2D(3, 2, strides=2, name="e")(x)
    x = layers.Conv2DTranspose(3, 3, strides=2, name="f")(x)
    x = layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(3, activation, name="g")(x))


@pytest.mark.parametrize("density", [0.08, 0.2, 0.5])
def test_convolutions_by_the_gradient(density):
    keras.config.set_dtype_policy("float64")
    linear = linear_net(layers.AveragePooling2D, None)
    masks = random_masks(linear, density, include=["c", "e"])
    variables = tfl.weights.variables(linear)
    for key, variable in variables.items():
        variable.assign(masks.get(key, np.zeros(variable.shape)))
    kept = [variables[key].value for key in masks]
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(linear(np.ones((1, 9, 9, 2))))
    gradients = tape.gradient(total, kept)
    expected = {
        key: mask & (gradient.numpy() != 0)
        for (key, mask), gradient in zip(masks.items(), gradients)
    }
    keras.config.set_dtype_policy("float32")
    model = linear_net(layers.MaxPooling2D, "relu", norm=True)
    assert_equal(paths.effective_masks(model, masks), expected)


def test_a_weight_that_only_meets_padding():
    model = sequential(layers.Conv2D(1, 3, padding="same"), shape=(1, 1, 1))
    live = paths.effective_masks(model)["conv2d/kernel"]
    assert live.sum() == 1 and live[1, 1, 0, 0]


# Layers of all kinds, each between two dense layers.


def transformer(x):
    x = layers.MultiHeadAttention(2, 4)(x, x)
    return layers.GlobalAveragePooling1D()(x)


def grouped(x):
    x = layers.GroupQueryAttention(4, 4, 2)(x, x, use_causal_mask=True)
    return layers.GlobalMaxPooling1D()(x)


def excited(x):
    gate = layers.Dense(8, "relu", name="squeeze")(x)
    gate = layers.Dense(8, "sigmoid", name="excite")(gate)
    return layers.Multiply()([x, gate])


def stack(*parts):
    def apply(x):
        for part in parts:
            x = part(x)
        return x

    return apply


MIDDLES = {
    "attention": ((5,), transformer),
    "attention dropout": (
        (5,), stack(lambda x: layers.MultiHeadAttention(2, 4, dropout=0.1)(
            x, x, use_causal_mask=True), layers.Flatten()),
    ),
    "grouped attention": ((5,), grouped),
    "lstm": ((5,), stack(lambda x: layers.LSTM(6)(x))),
    "bidirectional": (
        (None,), stack(
            lambda x: layers.Masking()(x),
            lambda x: layers.Bidirectional(
                layers.GRU(4, return_sequences=True))(x),
            lambda x: layers.SimpleRNN(5)(x)),
    ),
    "unrolled": ((4,), lambda x: layers.GRU(5, unroll=True)(x)),
    "time": ((4,), stack(
        lambda x: layers.TimeDistributed(layers.Dense(6))(x),
        layers.Flatten())),
    "convlstm": ((3, 4), stack(
        lambda x: layers.ConvLSTM1D(4, 2)(x), layers.Flatten())),
    "conv1d": ((None,), stack(
        lambda x: layers.Conv1D(6, 3, padding="causal", dilation_rate=2)(x),
        lambda x: layers.SeparableConv1D(5, 3, strides=2)(x),
        lambda x: layers.Conv1DTranspose(4, 3)(x),
        lambda x: layers.MaxPooling1D(2)(x),
        layers.GlobalAveragePooling1D())),
    "conv2d": ((None, None), stack(
        lambda x: layers.ZeroPadding2D(2)(x),
        lambda x: layers.Conv2D(6, 3, groups=2, strides=2)(x),
        lambda x: layers.Cropping2D(1)(x),
        lambda x: layers.DepthwiseConv2D(3, depth_multiplier=2)(x),
        lambda x: layers.UpSampling2D(2, interpolation="bilinear")(x),
        layers.GlobalMaxPooling2D())),
    "conv3d": ((4, 4, 4), stack(
        lambda x: layers.Conv3D(4, 3)(x),
        lambda x: layers.Conv3DTranspose(3, 2)(x),
        lambda x: layers.AveragePooling3D(2)(x), layers.Flatten())),
    "einsum": ((4,), stack(
        lambda x: layers.EinsumDense("abc,bcd->ad", 5)(x))),
    "excited": ((), excited),
    "norms": ((), stack(
        *(lambda x, n=n: n(x) for n in (
            layers.BatchNormalization(), layers.LayerNormalization(),
            layers.GroupNormalization(2), layers.UnitNormalization(),
            layers.RMSNormalization())))),
    "activations": ((), stack(*(
        lambda x, a=a: layers.Activation(a)(x) for a in (
            "relu", "gelu", "silu", "softmax", "elu", "tanh", "relu6", "mish",
            "hard_silu", "leaky_relu", "log_softmax", "softsign")))),
    "noise": ((), stack(
        *(lambda x, n=n: n(x) for n in (
            layers.Dropout(0.5), layers.GaussianNoise(1.0),
            layers.PReLU(), layers.ActivityRegularization(0.1))))),
    "operations": ((4,), lambda x: ops.mean(ops.concatenate(
        [ops.transpose(x, (0, 2, 1))[:, :4], ops.exp(x[..., 4:])], -1), 1)
    ),
    "spectral": ((), lambda x: layers.SpectralNormalization(
        layers.Dense(4))(x)),
    "masked": ((), lambda x: tfl.layers.Masked(layers.Dense(4))(x)),
}


def between(name, policy="float32"):
    keras.config.set_dtype_policy(policy)
    shape, middle = MIDDLES[name]
    inputs = keras.Input((*shape, 7))
    x = layers.Dense(8, "relu", name="first")(inputs)
    return keras.Model(inputs, layers.Dense(3, name="last")(middle(x)))


@pytest.mark.some(3)
@pytest.mark.parametrize("name", MIDDLES)
def test_layers_hand_on_what_reaches_them(name):
    model = between(name)
    full = paths.effective_masks(model)
    assert all(mask.all() for mask in full.values())
    # Nothing starts in the middle of a model, and nothing ends there.
    for key in ("first/kernel", "last/kernel"):
        masks = random_masks(model, 1)
        masks[key][...] = False
        live = paths.effective_masks(model, masks)
        assert not any(mask.any() for mask in live.values()), key
        assert key in paths.why_dead(model, masks)
    masks = random_masks(model, 0.4)
    live = paths.effective_masks(model, masks)
    assert tfl.masks.nested(live, masks)
    # What is dead can go without a change to the rest.
    assert_equal(paths.effective_masks(model, live), live)


@pytest.mark.some(3)
@pytest.mark.parametrize("name", ["lstm", "conv2d", "attention"])
@pytest.mark.parametrize(
    "policy", ["mixed_float16", "mixed_bfloat16", "float64"]
)
def test_precision_makes_no_difference(name, policy):
    masks = random_masks(between(name), 0.3)
    expected = paths.effective_masks(between(name), masks)
    assert_equal(paths.effective_masks(between(name, policy), masks), expected)


def test_a_dead_gate_lets_pass():
    model = between("excited")
    masks = random_masks(model, 1)
    masks["excite/kernel"][:, :6] = False
    live = paths.effective_masks(model, masks)
    assert live["first/kernel"].all() and live["last/kernel"].all()
    masks["excite/kernel"][...] = False
    live = paths.effective_masks(model, masks)
    assert live["first/kernel"].all() and live["last/kernel"].all()
    assert not live["squeeze/kernel"].any()


def test_gates_of_an_lstm():
    model = sequential(layers.LSTM(4, name="r"), shape=(5, 3))
    masks = random_masks(model, 1)
    masks["r/lstm_cell/kernel"][:, :8] = False
    masks["r/lstm_cell/recurrent_kernel"][...] = False
    live = paths.effective_masks(model, masks)
    assert_equal(live, masks)


@pytest.mark.parametrize(
    "layer", [layers.LayerNormalization, layers.GroupNormalization]
)
def test_normalisation_revives_no_dead_neighbour(layer):
    norm = layer(2) if layer is layers.GroupNormalization else layer()
    model = sequential(
        layers.Dense(4, name="a"), norm, layers.Dense(2, name="b")
    )
    masks = random_masks(model, 1)
    masks["a/kernel"][:, 1] = False
    live = paths.effective_masks(model, masks)["b/kernel"]
    assert live.any(1).tolist() == [True, False, True, True]


def test_tokens():
    model = sequential(
        layers.Embedding(9, 4, mask_zero=True, name="e"),
        layers.LSTM(5), layers.Dense(2, name="d"),
        shape=(None,), dtype="int32",
    )
    assert paths.effective_density(model) == 1.0
    table = np.ones((9, 4), bool)
    table[:, 1:] = False
    kernel = np.ones((4, 20), bool)
    key = "lstm/lstm_cell/kernel"
    live = paths.effective_masks(
        model, {"e/embeddings": table, key: kernel}
    )
    np.testing.assert_array_equal(live["e/embeddings"], table)
    assert live[key].any(1).tolist() == [True, False, False, False]


# Models of all kinds.


@pytest.mark.parametrize("kind", conftest.MODELS)
def test_kinds_of_models(kind):
    model = conftest.MODELS[kind]()
    assert paths.effective_density(model) == 1.0
    masks = random_masks(model, 1)
    first, last = list(masks)[0], list(masks)[-1]
    masks[first][:, 2] = False
    masks[first][1] = False
    live = paths.effective_masks(model, masks)
    np.testing.assert_array_equal(live[first], masks[first])
    # In the functional model a second way leads to the same unit.
    assert live[last][2].any() == (kind == "functional")


def test_shared_and_nested_layers():
    shared = layers.Dense(4, name="shared")
    inner = sequential(shared, layers.Dense(4, name="own"), shape=(4,))
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    joined = layers.Concatenate()([inner(a), shared(b)])
    out = layers.Dense(1, name="out")
    model = keras.Model({"a": a, "b": b}, [out(joined), shared(a)])
    masks = {
        key: np.ones(tuple(v.shape), bool)
        for key, v in tfl.weights.prunable(model).items()
    }
    own = next(key for key in masks if key.endswith("own/kernel"))
    masks[own][:3] = False
    masks["out/kernel"][:4] = False
    live = paths.effective_masks(model, masks)
    assert not live.pop(own).any()
    assert live.pop("out/kernel").sum() == 4
    assert all(mask.all() for mask in live.values())


class TwoInputs(keras.Model):
    def __init__(self):
        super().__init__()
        self.left = layers.Dense(3, name="left")
        self.right = layers.Dense(3, name="right")

    def call(self, inputs, training=None):
        x, y = inputs["x"], inputs["y"]
        return {"sum": self.left(x) + self.right(y) * 2.0, "x": x}


def test_a_subclassed_model_with_a_dict_of_inputs():
    model = TwoInputs()
    data = {"x": np.ones((40, 4), "float32"), "y": np.ones((40, 5), "float32")}
    model(data)
    masks = random_masks(model, 0.5)
    assert_equal(paths.effective_masks(model, masks), masks)


def test_own_layers():
    class Own(layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(1, shape[-1]), name="scale")
            self.free = tf.Variable(tf.ones(shape[-1]))

        def get_prunable_weights(self):
            return [self.scale]

        def call(self, inputs):
            return tf.nn.relu(inputs * self.scale) / self.free

    model = sequential(layers.Dense(4, name="a"), Own(name="own"))
    masks = random_masks(model, 1)
    masks["own/scale"][0, 1] = False
    live = paths.effective_masks(model, masks)
    assert live["a/kernel"].all(0).tolist() == [True, False, True, True]
    np.testing.assert_array_equal(live["own/scale"], masks["own/scale"])


# Which masks.


def test_masks_that_are_held(compiled):
    masks = tfl.prune(compiled, 0.6, exclude=("logits",))
    assert_equal(
        paths.effective_masks(compiled), paths.effective_masks(compiled, masks)
    )
    assert "logits/kernel" not in paths.effective_masks(compiled)
    assert paths.effective_masks(compiled, {}) == {}


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"nope": np.ones(3, bool)}, "no weight 'nope'.*fc1/kernel"),
        ({"fc1/kernel": np.ones((3, 3), bool)}, r"shape \(10, 12\)"),
        ({"fc1/kernel": np.ones((10, 12))}, "boolean.*float64"),
        ([1], "must be a dict"),
    ],
)
def test_masks_that_do_not_fit(masks, message):
    with pytest.raises(ValueError, match=message):
        paths.effective_masks(conftest.functional(), masks)


def test_models_that_cannot_be_followed():
    with pytest.raises(ValueError, match="not built"):
        paths.effective_density(keras.Sequential([layers.Dense(3)]))

    class Blind(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)
            self.dense.build((None, 4))
            self.built = True

        def call(self, inputs):
            return self.dense(inputs)

    with pytest.raises(ValueError, match="shape of its inputs is not known"):
        paths.effective_density(Blind())


class Odd(layers.Layer):
    def call(self, inputs):
        return tf.math.reduce_logsumexp(tf.linalg.eigvalsh(inputs)) + inputs


def test_an_unknown_operation_names_the_layer():
    model = sequential(
        layers.Dense(4), Odd(name="odd"), layers.Dense(3), shape=(4, 4)
    )
    with pytest.raises(ValueError, match="odd.*SelfAdjointEigV2"):
        paths.effective_density(model)


# Nothing is changed.


def state(model):
    everything = [*model.variables, *model.optimizer.variables]
    return (
        [np.array(ops.convert_to_numpy(v)) for v in everything],
        [set(vars(layer)) for layer in model._flatten_layers()],
        [id(function) for function in (
            model.train_function, model.test_function, model.predict_function
        )],
        [id(loss) for loss in model.losses],
    )


@pytest.mark.slow
@pytest.mark.some(1)
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails):
    inputs = keras.Input((4, 4))
    x = layers.Dense(4, activity_regularizer="l2")(inputs)
    x = layers.Dropout(0.5, seed=1)(layers.BatchNormalization()(x))
    x = layers.LayerNormalization()(layers.LSTM(4, return_sequences=True)(x))
    x = Odd(name="odd")(x) if fails else x
    model = keras.Model(inputs, layers.Dense(2)(x))
    model.compile("adam", "mse")
    data = np.random.default_rng(0).normal(size=(8, 4, 4)), np.ones((8, 4, 2))
    model.fit(*data, verbose=0)
    model.predict(data[0], verbose=0)
    # Losses that a training loop of one's own would read now.
    model(data[0])
    before = state(model)
    assert before[-1]
    if fails:
        with pytest.raises(ValueError, match="odd"):
            paths.effective_density(model)
    else:
        paths.effective_density(model)
    after = state(model)
    for a, b in itertools.zip_longest(before[0], after[0]):
        np.testing.assert_array_equal(a, b)
    assert before[2:] == after[2:]
    model.fit(*data, verbose=0)


# What went wrong.


def test_collapsed():
    masks = {"a": np.zeros((2, 2), bool), "b": np.eye(2, dtype=bool)}
    assert paths.collapsed(masks) == ["a"]
    assert paths.collapsed({}) == []


def test_the_weight_that_ends_all_paths():
    model = sequential(
        *(layers.Dense(4, name=name) for name in "abcd"), shape=(4,)
    )
    masks = random_masks(model, 1)
    assert paths.why_dead(model, masks) is None
    assert paths.why_dead(model) is None
    masks["d/kernel"][...] = False
    assert paths.why_dead(model, masks) == (
        "No path leads past 'd/kernel': none of its 16 weights is kept."
    )
    masks["b/kernel"][:, :2] = False
    masks["c/kernel"][2:] = False
    assert paths.why_dead(model, masks) == (
        "No path leads past 'c/kernel', although 8 of its 16 weights are kept."
    )
    masks["a/kernel"][...] = False
    assert "'a/kernel'" in paths.why_dead(model, masks)


def test_a_dead_network_is_followed_twice(monkeypatch):
    from tf_lottery.paths import reachability

    model = sequential(
        *(layers.Dense(4, name=f"fc{i}") for i in range(12)), shape=(4,)
    )
    masks = random_masks(model, 1)
    masks["fc9/kernel"][...] = False
    calls, evaluate = [], reachability.evaluate

    def counting(graph, *args):
        calls.append(graph)
        return evaluate(graph, *args)

    monkeypatch.setattr(reachability, "evaluate", counting)
    assert "'fc9/kernel'" in paths.why_dead(model, masks)
    assert len(calls) == 2


def test_a_dead_branch_is_no_dead_network():
    model, _ = build(2, [[(0, True)], [(1, True), (0, False)]])
    masks = {
        key: np.zeros_like(mask)
        for key, mask in random_masks(model, 1).items()
    }
    assert paths.why_dead(model, masks) is None
    assert paths.effective_density(model, masks) == 0.0
    assert paths.collapsed(masks) == list(masks)
