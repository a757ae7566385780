"""Attention put together in every way, and layers that no rule is for."""

import itertools

import keras
import pytest
from keras import layers
from keras import ops

from tests.graph.graph_harness import check_exact
from tests.graph.graph_harness import counts
from tests.graph.graph_harness import reason_of

HEADS, SIZE, STEPS = 3, 4, 5


def _whole(x):
    packed = layers.Dense(3 * HEADS * SIZE, name="qkv")(x)
    return ops.reshape(packed, (-1, STEPS, 3, HEADS, SIZE))


def picked(x):
    whole = _whole(x)
    return [whole[:, :, i] for i in range(3)]


def unstacked(x):
    return ops.unstack(_whole(x), axis=2)


def moved(x):
    """The batch is in the middle for a while."""
    first = ops.transpose(_whole(x), (2, 0, 1, 3, 4))
    return [first[i] for i in range(3)]


def split(x):
    packed = layers.Dense(3 * HEADS * SIZE, name="qkv")(x)
    parts = ops.split(packed, 3, axis=-1)
    return [ops.reshape(part, (-1, STEPS, HEADS, SIZE)) for part in parts]


def sliced(x):
    width = HEADS * SIZE
    packed = layers.Dense(3 * width, name="qkv")(x)
    parts = [packed[..., i * width : (i + 1) * width] for i in range(3)]
    return [ops.reshape(part, (-1, STEPS, HEADS, SIZE)) for part in parts]


def heads_first(x):
    packed = layers.Dense(3 * HEADS * SIZE, name="qkv")(x)
    packed = ops.reshape(packed, (-1, STEPS, HEADS, 3 * SIZE))
    return ops.split(packed, 3, axis=-1)


def einsum(q, k, v):
    scores = ops.softmax(ops.einsum("bqhd,bkhd->bhqk", q, k))
    return ops.einsum("bhqk,bkhd->bqhd", scores, v)


def matmul(q, k, v):
    q, k, v = (ops.transpose(x, (0, 2, 1, 3)) for x in (q, k, v))
    scores = ops.softmax(ops.matmul(q, ops.swapaxes(k, -1, -2)))
    return ops.transpose(ops.matmul(scores, v), (0, 2, 1, 3))


def rotated(q, k, v):
    """Halves of each head are paired, with a constant for each."""
    angles = ops.reshape(ops.arange(2.0), (1, 1, 1, 2))
    q, k = (
        ops.concatenate([a * ops.cos(angles) - b, b + a], -1)
        for a, b in (ops.split(x, 2, axis=-1) for x in (q, k))
    )
    return einsum(q, k, v)


def normed(q, k, v):
    """As unit vectors within each head."""
    q, k = (
        x / ops.sqrt(ops.sum(x * x, -1, keepdims=True) + 1e-3) for x in (q, k)
    )
    return einsum(q, k, v)


def fused(q, k, v):
    return ops.dot_product_attention(q, k, v)


PAIRS = list(itertools.product(
    (picked, unstacked, moved, split, sliced, heads_first),
    (einsum, matmul, rotated, normed, fused),
))


@pytest.mark.some(4)
@pytest.mark.parametrize("pack, attend", PAIRS)
def test_heads_of_packed_attention_go(pack, attend):
    inputs = keras.Input((STEPS, 4))
    x = layers.Dense(6, name="a")(inputs)
    y = ops.reshape(attend(*pack(x)), (-1, STEPS, HEADS * SIZE))
    x = x + layers.Dense(6, name="b")(y)
    model = keras.Model(inputs, layers.Dense(2, name="logits")(x))
    assert counts(check_exact(model)) == [("a", 6), ("qkv", HEADS)]


class Scale(layers.Layer):
    """A vector along the last axis."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")

    def call(self, inputs):
        return inputs * self.scale


class Sized(Scale):
    """One whose configuration says how long the vector is."""

    def __init__(self, dim, **kwargs):
        super().__init__(**kwargs)
        self.dim = dim

    def build(self, shape):
        super().build((self.dim,))

    def get_config(self):
        return super().get_config() | {"dim": self.dim}


class Table(Scale):
    """A vector for each step, as many as there are channels."""

    def build(self, shape):
        self.scale = self.add_weight(shape=shape[1:], name="table")

    def call(self, inputs):
        return ops.tanh(inputs + self.scale)


class Steps(Scale):
    """A vector of another axis, as long."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[1], 1), name="scale")


class Reader(Scale):
    """A kernel."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1], 4), name="kernel")

    def call(self, inputs):
        return ops.matmul(inputs, self.scale)


class Mean(Scale):
    """Mixes what it scales."""

    def call(self, inputs):
        return super().call(inputs - ops.mean(inputs, -1, keepdims=True))


class Stubborn(Scale):
    """Takes one width alone."""

    def build(self, shape):
        super().build((5,))


def around(layer):
    inputs = keras.Input((5, 3))
    x = layer(layers.Dense(5, name="a")(inputs))
    x = layers.Dense(4, name="b")(layers.GlobalAveragePooling1D()(x))
    return keras.Model(inputs, layers.Dense(2, name="logits")(x))


@pytest.mark.parametrize(
    "layer",
    [Scale(), Sized(5), Table(), Steps(), Reader(),
     layers.Lambda(lambda x: 2 * x), layers.Solarization()],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_without_a_rule_join(layer):
    assert counts(check_exact(around(layer))) == [("a", 5), ("b", 4)]


@pytest.mark.parametrize(
    "layer, why",
    [
        (Mean(name="own"), "fewer channels change what it makes of the others"),
        (Stubborn(name="own"), "it takes no fewer channels "),
        (layers.Lambda(lambda x: x[..., ::-1], name="own"), "fewer channels"),
    ],
    ids=["mean", "stubborn", "reversed"],
)
def test_layers_that_stay_are_named_with_what_to_do(layer, why):
    graph = check_exact(around(layer))
    assert counts(graph) == [("b", 4)]
    reason = reason_of(graph, "a")
    assert "'own'" in reason and why in reason
    assert "`structured.register_rule` can say" in reason


def test_zeros_go_with_what_they_meet():
    inputs = keras.Input((4, 3))
    x = layers.Dense(4, name="a")(inputs)
    y = layers.Dense(7, name="b")(x)
    x = ops.pad(x, ((0, 0), (0, 0), (1, 2))) + y
    model = keras.Model(inputs, layers.Dense(2, name="logits")(x))
    assert counts(check_exact(model)) == [("a", 7)]


def test_a_mask_for_every_head_keeps_the_heads():
    inputs, mask = keras.Input((4, 3)), keras.Input((2, 4, 4))
    attention = layers.MultiHeadAttention(2, 3, name="m")
    x = attention(inputs, inputs, attention_mask=mask > 0)
    model = keras.Model([inputs, mask], layers.Dense(2, name="logits")(x))
    graph = check_exact(model)
    reason = "MultiHeadAttention 'm' is given a number for every head"
    assert reason_of(graph, "m", "heads") == reason
    assert graph.units == 3 + 3 + 3
