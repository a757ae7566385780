"""Tracing whole models: how they are put together, and what comes out."""

import time

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from keras import layers
from keras import ops

import tf_lottery as tfl
from tests import conftest
from tests.graph.graph_harness import check_exact
from tests.graph.graph_harness import choose
from tests.graph.graph_harness import counts
from tests.graph.graph_harness import reason_of
from tests.graph.graph_harness import shrink
from tf_lottery import graph as graphs
from tf_lottery import weights
from tf_lottery.graph import functional
from tf_lottery.graph import reassembly
from tf_lottery.graph import registry
from tf_lottery.graph import renewing
from tf_lottery.graph.units import Units

# ResNet50: 16 blocks of 2 inner convolutions, 4 streams and the stem.
# MobileNetV2: 16 expansions, 7 streams, the stem, the last convolution.
# VGG16: 13 convolutions, 2 dense layers. DenseNet121: 58 blocks of two
# convolutions, 3 transitions, the stem.
APPLICATIONS = {
    "ResNet50": (37, 7552 + 256 + 512 + 1024 + 2048 + 64),
    "ResNet50V2": (37, 11456),
    "MobileNetV2": (25, 7104 + 712 + 32 + 1280),
    "VGG16": (15, 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512 + 2 * 4096),
    "DenseNet121": (120, 58 * (32 + 128) + 128 + 256 + 512 + 64),
    "ConvNeXtTiny": (18, 4 * (3 * 96 + 3 * 192 + 9 * 384 + 3 * 768)),
}


class Block(layers.Layer):
    """Two layers and what is added; the names are those of attributes."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(units, "relu", name="first")
        self.drop = layers.Dropout(0.1)
        self.second = layers.Dense(6, name="second")

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], self.first.units))
        self.built = True

    def call(self, x, training=None):
        y = self.drop(self.first(x), training=training)
        return x + self.second(y)


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.start = layers.Dense(6, name="start")
        self.blocks = [Block(7, name="one"), Block(4, name="two")]
        self.logits = layers.Dense(2, name="logits")

    def call(self, x, training=None):
        x = self.start(x)
        for block in self.blocks:
            x = block(x, training=training)
        return self.logits(ops.relu(x))


class Named(keras.Model):
    def __init__(self):
        super().__init__()
        self.a = layers.Dense(5, name="a")
        self.b = layers.Dense(5, name="b")
        self.logits = layers.Dense(2, name="logits")

    def call(self, inputs):
        x = self.a(inputs["one"]) + self.b(inputs["two"])
        return {"logits": self.logits(ops.relu(x))}


class Branching(keras.Model):
    def __init__(self):
        super().__init__()
        self.logits = layers.Dense(2)

    def call(self, x, training=None):
        return self.logits(-x if training else x)


class Owner(layers.Layer):
    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], 6), name="matrix")

    def call(self, x):
        return ops.matmul(x, self.matrix)


class Overridden(layers.Dense):
    def call(self, x):
        return super().call(x) / ops.sum(x)


def sequential():
    return keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(8, "relu", name="a"),
            keras.Sequential([layers.Dense(4, name="b")], name="inner"),
            layers.Dense(3, name="logits"),
        ]
    )


def shared_layers():
    inputs = [keras.Input((4,)), keras.Input((4,))]
    first = layers.Dense(6, "relu", name="a")
    second = layers.Dense(6, "tanh", name="b")
    x, y = first(inputs[0]), first(inputs[1])
    x = second(x) + second(y) - x
    return keras.Model(inputs, layers.Dense(2, name="logits")(x))


def nested_called_twice():
    inner = keras.Input((6,))
    x = layers.Dense(8, "relu", name="b")(inner)
    x = layers.Dense(6, name="c")(x) + inner
    block = keras.Model(inner, x, name="block")
    inputs = keras.Input((4,))
    x = block(block(layers.Dense(6, name="a")(inputs)))
    return keras.Model(inputs, layers.Dense(2, name="logits")(x))


def nested_with_two_inputs():
    pair = [keras.Input((4,)), keras.Input((4,))]
    x = layers.Dense(5, name="a")(pair[0]) + layers.Dense(5)(pair[1])
    inner = keras.Model(pair, [x, layers.Dense(3, name="b")(pair[1])])
    inputs = keras.Input((4,))
    y = layers.Dense(4, name="c")(inputs)
    parts = [*inner([y, inputs]), *inner([inputs, y])]
    x = layers.Concatenate()(parts)
    return keras.Model(inputs, layers.Dense(2, name="logits")(x))


def dicts():
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    x, y = layers.Dense(6, name="x")(a), layers.Dense(5, name="y")(b)
    joined = layers.Concatenate()([x, y])
    outputs = {"p": layers.Dense(2)(joined), "q": layers.Dense(3)(x)}
    return keras.Model({"a": a, "b": b}, outputs)


def wrapped():
    inputs = keras.Input((6, 5))
    x = layers.Dense(8, name="a")(inputs)
    attention = layers.MultiHeadAttention(2, 3, name="b")
    x = attention(query=x, value=x)
    outputs = layers.Dense(2, name="logits")(x)
    return tfl.layers.wrap(keras.Model(inputs, outputs))


def composite_layers():
    inputs = keras.Input((4,))
    x = layers.Dense(6, name="a")(inputs)
    block = Block(7, name="b")
    x = Block(5, name="c")(block(block(x)))
    return keras.Model(inputs, layers.Dense(2, name="logits")(x))


def subclassed():
    model = Subclassed(name="whole")
    model(np.zeros((1, 4), "float32"))
    return model


def shared_reshape():
    inputs = [keras.Input((4,)), keras.Input((6,))]
    reshape = layers.Reshape((2, 3))
    x = reshape(layers.Dense(6, name="a")(inputs[0]))
    y = layers.Flatten()(reshape(inputs[1]))
    two = layers.Reshape((4, 2))
    b = two(layers.Dense(8, name="b")(inputs[0]))
    c = two(layers.Dense(8, name="c")(inputs[0]))
    b, c = layers.Dense(2)(b), layers.Dense(2)(c)
    return keras.Model(inputs, [layers.Dense(2)(x), y, b, c])


def subclassed_with_dicts():
    model = Named()
    inputs = {"one": np.zeros((1, 4)), "two": np.zeros((1, 3))}
    model({key: value.astype("float32") for key, value in inputs.items()})
    return model


def mixed_precision():
    policy = {"dtype": "mixed_bfloat16"}
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, name="a", **policy)(inputs)
    x = layers.BatchNormalization(**policy)(x)
    x = layers.GlobalAveragePooling2D(**policy)(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def double_precision():
    inputs = keras.Input((5,), dtype="float64")
    x = layers.Dense(6, name="a", dtype="float64")(inputs)
    return keras.Model(inputs, layers.Dense(3, dtype="float64")(x))


MODELS = {
    sequential: [("a", 8), ("inner/b", 4)],
    shared_layers: [("a", 6)],
    nested_called_twice: [("a", 6), ("block/b", 8)],
    nested_with_two_inputs: [("functional/a", 5), ("functional/b", 3)],
    dicts: [("x", 6), ("y", 5)],
    wrapped: [
        ("a", 8),
        ("b:heads", 2),
        ("b:key_dim", 3),
        ("b:value_dim", 3),
        ("b", 8),
    ],
    composite_layers: [("a", 6), ("b/first", 7), ("c/first", 5)],
    subclassed: [("start", 6), ("one/first", 7), ("two/first", 4)],
    subclassed_with_dicts: [("a", 5)],
    double_precision: [("a", 6)],
}


@pytest.mark.parametrize("build", MODELS, ids=lambda f: f.__name__)
def test_removal_is_exact(build):
    bound = 1e-12 if build is double_precision else 2e-5
    assert counts(check_exact(build(), bound)) == MODELS[build]


def test_one_configuration_for_all_calls():
    graph = check_exact(shared_reshape())
    assert counts(graph) == [("c", 2)]
    assert reason_of(graph, "a") == "model input"


def test_mixed_precision():
    assert counts(check_exact(mixed_precision(), 2e-2)) == [("a", 6)]


@given(seed=st.integers(0, 10**6), ratio=st.floats(0, 1))
@settings(max_examples=5, deadline=None)
def test_any_choice_of_units_is_exact(seed, ratio):
    check_exact(composite_layers(), seed=seed, ratio=ratio)


def test_the_check_can_fail():
    def move(small):
        kernel = small.get_layer("b").kernel
        kernel.assign(np.roll(kernel, 1, axis=0))

    with pytest.raises(AssertionError):
        check_exact(shared_layers(), move=move)


def test_ratio_zero_is_the_identity():
    model = nested_called_twice()
    graph = graphs.trace(model)
    kept = graph.kept()
    assert graph.slices(kept) == graph.edits(kept) == graph.scales(kept) == {}
    small = shrink(graph, kept)
    for a, b in zip(model.weights, small.weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("build", MODELS, ids=lambda f: f.__name__)
def test_small_models_are_traced_again(build):
    graph = graphs.trace(build())
    kept = choose(graph)
    again = graphs.trace(shrink(graph, kept))
    assert again.units == sum(kept[graph.ids])


@pytest.mark.parametrize("build", MODELS, ids=lambda f: f.__name__)
def test_invariants(build):
    model = build()
    before = [np.array(v) for v in model.weights]
    graph = graphs.trace(model)
    variables = weights.variables(model)
    places = [(b.key, b.axis) for b in graph.bindings]
    assert len(places) == len(set(places))
    for binding in graph.bindings:
        assert variables[binding.key] is binding.variable
        assert binding.layer.weights[binding.index] is binding.variable
        assert binding.ids.shape == (binding.variable.shape[binding.axis],)
        assert binding.kind in ("in", "out", "pass", "zero")
        assert all(i == 0 or i in graph.ids for i in binding.ids.tolist())
    ids = np.concatenate([group.classes for group in graph.groups])
    assert sorted(ids) == graph.ids.tolist() and len(ids) == graph.units
    for producer in graph.producers:
        found = [
            group
            for group in graph.groups
            if np.isin(producer.ids, group.classes).any()
        ]
        assert len(found) <= 1
        if found:
            assert producer in found[0].producers
    for a, b in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_names_and_shapes_stay():
    graph = graphs.trace(nested_called_twice())
    small = shrink(graph, choose(graph))
    names = [layer.name for layer in graph.model.layers]
    assert [layer.name for layer in small.layers] == names
    assert small.input_shape == (None, 4) and small.output_shape == (None, 2)
    assert set(weights.variables(small)) == set(weights.variables(graph.model))
    kinds = [type(layer) for layer in graphs.trace(sequential()).model.layers]
    rebuilt = reassembly.rebuild(functional.view(sequential()))
    assert type(rebuilt) is keras.Sequential
    assert [type(layer) for layer in rebuilt.layers] == kinds


@pytest.mark.parametrize("name", ["ResNet50", "MobileNetV2"])
def test_reference_counts(name):
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(32, 32, 3)
    )
    start = time.thread_time()
    graph = graphs.trace(model)
    assert time.thread_time() - start < 1
    assert (len(graph.groups), graph.units) == APPLICATIONS[name]
    (frozen,) = graph.frozen
    assert (frozen.path, frozen.units) == ("predictions", 1000)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n for n in dir(keras.applications) if n[0].isupper()]
)
def test_every_application(name):
    # The smallest inputs that the architectures take.
    side = {"Inception": 75, "Xception": 71, "NASNetM": 224, "NASNetL": 331}
    size = next((s for n, s in side.items() if name.startswith(n)), 32)
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3)
    )
    graph = graphs.trace(model)
    found = len(graph.groups), graph.units
    assert found == APPLICATIONS.get(name, found)
    frozen = {f.reason for f in graph.frozen}
    # All there is to freeze are logits and streams with LayerNormalization.
    assert all("softmax" in r or "LayerNormal" in r for r in frozen)
    assert len(frozen) == 1 or name.startswith("ConvNeXt")
    assert found[1] > 4000
    keras.backend.clear_session()


def frozen_by(layer):
    inputs = keras.Input((6,))
    x = layers.Dense(6, name="a")(inputs)
    x = layers.Dense(2, name="logits")(layer(x))
    return graphs.trace(keras.Model(inputs, x))


def test_unknown_layers_freeze_what_they_make_with_the_reason():
    graph = frozen_by(Owner(name="own"))
    assert counts(graph) == [("a", 6)]
    assert reason_of(graph, "own") == (
        "Owner 'own' makes them; `structured.register_rule` can say what "
        "becomes of units in it"
    )


def test_rules_do_not_hold_for_layers_that_override_call():
    graph = frozen_by(Overridden(4, name="own"))
    assert "unknown layer 'own' (Overridden)" in reason_of(graph, "a")


class Tied(layers.Layer):
    """Reads the kernel of the layer inside, as a constant if `turned`."""

    def __init__(self, turned, **options):
        super().__init__(**options)
        self.turned, self.inner = turned, layers.Dense(6, name="inner")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        kernel = self.inner.kernel
        kernel = ops.transpose(kernel) if self.turned else kernel
        return ops.matmul(self.inner(x), kernel)


@pytest.mark.parametrize("turned", [True, False])
def test_layers_that_read_weights_of_others_stay_whole(turned):
    graph = frozen_by(Tied(turned, name="tied"))
    assert counts(graph) == []
    reason = reason_of(graph, "a")
    assert "reads" in reason and "itself" in reason


class TiedModel(keras.Model):
    """Reads the table of the layer inside by its transpose, or as it is."""

    def __init__(self, turned):
        super().__init__()
        self.turned = turned
        self.table = layers.Embedding(9, 4, name="table")
        self.fc = layers.Dense(4, name="fc")

    def call(self, x):
        x = self.fc(self.table(x))
        table = self.table.embeddings
        if self.turned:
            return ops.matmul(x, ops.transpose(table))
        return ops.einsum("btc,vc->btv", x, table)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("turned", [True, False])
def test_models_that_read_weights_of_layers_are_refused(turned, frozen):
    if frozen and turned and keras.backend.backend() == "torch":
        pytest.skip("nothing tells there")
    model = TiedModel(turned)
    model(np.zeros((2, 3), "int32"))
    model.table.trainable = not frozen
    with pytest.raises(ValueError, match="itself, which a copy of"):
        graphs.trace(model)


def test_weights_in_the_calls_of_a_functional_model_are_refused():
    table = layers.Embedding(9, 4)
    inputs = keras.Input((3,), dtype="int32")
    x = ops.einsum("btc,vc->btv", table(inputs), table.embeddings)
    model = keras.Model(inputs, x)
    for make in (
        tfl.strip, lambda model: reassembly.rebuild(functional.view(model))
    ):
        with pytest.raises(ValueError, match="itself, which a copy of"):
            make(model)


def test_a_rule_of_the_users(monkeypatch):
    monkeypatch.setattr(registry, "_RULES", dict(registry._RULES))

    @graphs.register_rule(Owner)
    def rule(call):
        x, matrix = call.inputs[0], call.layer.matrix
        call.bind(matrix, 0, call.along(x, -1), "in")
        return call.place(call.fresh(6), -1, len(x.shape))

    assert counts(frozen_by(Owner(name="own"))) == [("a", 6), ("own", 6)]


def test_rules_are_registered_for_classes():
    with pytest.raises(TypeError, match="Received: 'Dense'"):
        graphs.register_rule("Dense")


def test_inlined_layers_leave_a_plain_model():
    graph = graphs.trace(composite_layers())
    small = shrink(graph, choose(graph))
    assert not any(
        isinstance(layer, Block) for layer in small._flatten_layers()
    )
    assert small.get_layer("b").get_layer("first").units < 7


@pytest.mark.parametrize(
    "build, message",
    [
        (Branching, "branches on `training`"),
        (Subclassed, "not built"),
        (lambda: keras.Sequential([layers.Dense(2)]), "not built"),
        (lambda: "model", "must be a `keras.Model`"),
    ],
)
def test_models_that_cannot_be_read(build, message):
    model = build()
    if isinstance(model, Branching):
        model(np.zeros((1, 4), "float32"))
    with pytest.raises(ValueError, match=message):
        graphs.trace(model)


@conftest.tensorflow_only("the operations are its own")
def test_raw_operations_are_refused():
    import tensorflow as tf

    class Raw(keras.Model):
        def __init__(self):
            super().__init__()
            self.logits = layers.Dense(2)

        def call(self, x):
            return self.logits(tf.nn.relu(x))

    model = Raw()
    model(np.zeros((1, 4), "float32"))
    with pytest.raises(ValueError, match="does not take symbolic tensors"):
        graphs.trace(model)


def test_kept_is_checked():
    graph = graphs.trace(sequential())
    some = int(graph.ids[0])
    kept = graph.kept([some])
    assert not kept[some] and kept.sum() == graph.size - 1
    assert graph.slices({some: False}).keys() == graph.slices(kept).keys()
    with pytest.raises(ValueError, match="Only classes can be removed"):
        graph.kept([0])
    with pytest.raises(ValueError, match="boolean array of length"):
        graph.slices(np.ones(3, bool))


def test_channel_units_couple_kernels():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="a")(inputs)
    y = layers.DepthwiseConv2D(3, padding="same", name="b")(x)
    x = x + layers.Conv2D(4, 1, name="c")(y)
    x = layers.Flatten()(x)
    model = keras.Model(inputs, layers.Dense(2, name="logits")(x))
    keys = ["a/kernel", "b/kernel", "c/kernel", "logits/kernel"]
    units = graphs.channel_units(model, keys)
    assert list(units) == keys
    assert [axis for axis, _ in units.values()] == [3, 2, 3, 1]
    a, b, c, logits = [ids.tolist() for _, ids in units.values()]
    assert a == b == c and len(set(a)) == 4 and 0 not in a
    assert logits == [0, 0]
    assert list(graphs.channel_units(model, ["a/kernel"])) == ["a/kernel"]


@given(
    unions=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9))),
    frozen=st.sets(st.integers(0, 9), max_size=3),
)
@settings(max_examples=50, deadline=None)
def test_units_are_connected_components(unions, frozen):
    units = Units()
    ids = units.fresh(10)
    for index, (a, b) in enumerate(unions):
        if index == len(unions) // 2:
            units.freeze(ids[sorted(frozen)], "some")
        units.union(ids[a], ids[b])
    units.freeze(ids[sorted(frozen)], "more")
    near = np.eye(10, dtype=bool)
    for a, b in unions:
        near[a, b] = near[b, a] = True
    for _ in range(4):
        near = near @ near
    expected = [
        0 if near[i, sorted(frozen)].any() else ids[near[i]].min()
        for i in range(10)
    ]
    assert units.final(ids).tolist() == expected
    reasons = units.reasons(ids)
    assert [r is not None for r in reasons] == [e == 0 for e in expected]


def test_configurations_that_hold_tracked_lists_are_edited():
    layer = layers.RandomBrightness(0.1, value_range=[0, 1])
    copy = renewing.edited(layer, {("factor",): 0.2})
    assert list(copy.value_range) == [0, 1]
    assert tuple(copy.factor) == (-0.2, 0.2)
    assert tuple(layer.factor) == (-0.1, 0.1)
