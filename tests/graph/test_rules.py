"""One small model per rule: groups by hand, reasons, and exact removal."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from tests import conftest
from tests.graph.graph_harness import check_exact
from tests.graph.graph_harness import counts
from tests.graph.graph_harness import reason_of
from tf_lottery import graph as graphs
from tf_lottery import structured

MODELS = {}
image = (8, 8, 3)


def expect(*groups, **reasons):
    """Registers a model with its groups and the reasons of frozen layers."""

    def register(build):
        MODELS[build.__name__] = build, list(groups), reasons
        return build

    return register


def ending(inputs, x):
    """The logits of something of any rank."""
    pool = {
        3: layers.GlobalAveragePooling1D,
        4: layers.GlobalAveragePooling2D,
        5: layers.GlobalAveragePooling3D,
    }.get(len(x.shape))
    x = x if pool is None else pool()(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


@expect(("a", 8), ("b", 6), logits="model output")
def dense():
    inputs = keras.Input((5,))
    x = layers.Dense(8, "sigmoid", name="a")(inputs)
    return ending(inputs, layers.Dense(6, "relu", name="b")(x))


@expect(b="activation 'softmax' mixes channels of 'b'")
def dense_softmax():
    inputs = keras.Input((5,))
    return ending(inputs, layers.Dense(6, "softmax", name="b")(inputs))


@expect(b="unknown activation 'twice' of 'b'")
def dense_unknown_activation():
    @keras.saving.register_keras_serializable("test_graph_rules")
    def twice(x):
        return 2 * x

    inputs = keras.Input((5,))
    return ending(inputs, layers.Dense(6, twice, name="b")(inputs))


@expect(
    ("e", 8),
    a="Dense 'a' works next to units of another axis",
    b="Dense 'b' works next to units of another axis",
)
def dense_on_another_axis():
    # An MLP-Mixer: channels pass by the layers that mix tokens.
    inputs = keras.Input((6, 4))
    x = layers.Dense(8, name="e")(inputs)
    y = layers.Permute((2, 1))(x)
    y = layers.Dense(5, "relu", name="a")(y)
    y = layers.Dense(6, name="b")(y)
    return ending(inputs, x + layers.Permute((2, 1))(y))


@expect(("a", 4), ("b", 5), ("c", 6))
def convolutions():
    inputs = keras.Input((6, 6, 6, 2))
    x = layers.Conv3D(4, 3, padding="same", name="a")(inputs)
    x = layers.Reshape((36, 6, 4))(x)
    x = layers.Conv2D(5, 3, strides=2, name="b")(x)
    x = layers.GlobalMaxPooling2D(keepdims=True)(x)
    x = layers.Reshape((1, 5))(x)
    x = layers.Conv1D(6, 3, padding="causal", name="c")(x)
    return ending(inputs, x)


@expect(("a", 4), ("b", 5), ("c", 6))
def transposed_convolutions():
    inputs = keras.Input((2, 2, 2, 2))
    x = layers.Conv3DTranspose(4, 2, name="a")(inputs)
    x = layers.GlobalAveragePooling3D(keepdims=True)(x)
    x = layers.Reshape((1, 1, 4))(x)
    x = layers.Conv2DTranspose(5, 3, name="b")(x)
    x = layers.Reshape((9, 5))(x)
    return ending(inputs, layers.Conv1DTranspose(6, 2, name="c")(x))


# Position i of all 4 groups: 8 / 4 on the way in, 12 / 4 on the way out.
@expect(("a", 2), ("b", 3))
def grouped_convolution():
    inputs = keras.Input(image)
    x = layers.Conv2D(8, 3, name="a")(inputs)
    return ending(inputs, layers.Conv2D(12, 3, groups=4, name="b")(x))


@expect(("a", 6))
def grouped_convolution_per_channel():
    inputs = keras.Input(image)
    x = layers.Conv2D(6, 3, name="a")(inputs)
    x = layers.Conv2D(6, 3, groups=6, name="b")(x)
    return ending(inputs, layers.Conv2D(18, 3, groups=6, name="c")(x))


@expect(("a", 6), ("b", 4))
def depthwise_convolution():
    inputs = keras.Input(image)
    x = layers.Conv2D(6, 3, name="a")(inputs)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = layers.Conv2D(4, 1, name="b")(x)
    x = layers.Reshape((16, 4))(x)
    return ending(inputs, layers.DepthwiseConv1D(3)(x))


@expect(("a", 6), ("b", 5), ("c", 4))
def separable_convolution():
    inputs = keras.Input(image)
    x = layers.Conv2D(6, 3, name="a")(inputs)
    x = layers.SeparableConv2D(5, 3, depth_multiplier=2, name="b")(x)
    x = layers.Reshape((-1, 5))(x)
    return ending(inputs, layers.SeparableConv1D(4, 2, name="c")(x))


# Sizes differ from widths: where they are the same, Keras 3.15 adds the bias
# along the wrong axis.
@expect(("a", 5), ("b", 4))
def channels_first():
    first = {"data_format": "channels_first"}
    inputs = keras.Input((3, 11, 11))
    x = layers.Conv2D(5, 3, activation="relu", name="a", **first)(inputs)
    x = layers.BatchNormalization(axis=1)(x)
    x = layers.ZeroPadding2D(1, **first)(x)
    y = layers.GlobalAveragePooling2D(**first)(x)
    x = layers.Flatten(**first)(x)
    x = layers.Dense(4, name="b")(x) * layers.Dense(4)(y)
    return ending(inputs, x)


@expect(("a", 8), ("b", 5), ("c:heads", 2), ("d", 4))
def einsum_dense():
    inputs = keras.Input((6, 4))
    x = layers.EinsumDense(
        "abc,cd->abd", (None, 8), bias_axes="d", activation="relu", name="a"
    )(inputs)
    x = layers.EinsumDense("...x,xy->...y", 5, name="b")(x)
    x = layers.EinsumDense("abc,cde->abde", (None, 2, 3), name="c")(x)
    x = layers.EinsumDense("abde,def->abf", (None, 4), name="d")(x)
    return keras.Model(inputs, layers.Dense(3)(x))


@expect(("q:heads", 2), ("v", 4))
def einsum():
    inputs = keras.Input((6, 4))

    def heads(name, equation="abc,cde->abde"):
        return layers.EinsumDense(equation, (None, 2, 3), name=name)(inputs)

    scores = ops.einsum("aqhe,akhe->ahqk", heads("q"), heads("k"))
    values = ops.einsum("ahqk,ake->aqhe", ops.softmax(scores), inputs)
    x = layers.EinsumDense("aqhe,hef->aqf", (None, 4), name="v")(values)
    return ending(inputs, x)


@expect(("a", 5))
def einsum_dense_with_ellipsis():
    inputs = keras.Input((6, 4))
    x = layers.EinsumDense("...x,xy->...y", 5, name="a")(inputs)
    return ending(inputs, x)


@expect(("a", 6), ("b", 5))
def embedding():
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 6, mask_zero=True, name="a")(inputs)
    return ending(inputs, layers.Dense(5, name="b")(x))


@expect(("a", 6))
def batch_normalization():
    inputs = keras.Input(image)
    x = layers.Conv2D(6, 3, name="a")(inputs)
    return ending(inputs, layers.BatchNormalization()(x))


@expect(("a", 6), ("b", 6), c="GroupNormalization 'one' mixes channels")
def group_normalization():
    # 12 channels in 6 groups, then every channel for itself, then one group.
    inputs = keras.Input(image)
    x = layers.Conv2D(12, 3, name="a")(inputs)
    x = layers.GroupNormalization(6)(x)
    x = layers.Conv2D(6, 3, name="b")(x)
    x = layers.GroupNormalization(-1)(x)
    x = layers.Conv2D(4, 1, name="c")(x)
    return ending(inputs, layers.GroupNormalization(1, name="one")(x))


@expect(
    ("e", 7),
    a="LayerNormalization 'one' mixes channels",
    b="UnitNormalization 'two' mixes channels",
    c="RMSNormalization 'three' counts units that are not zero with their "
    "weights",
    d="Softmax 'four' mixes channels",
    f="Normalization 'five' holds statistics of every channel",
)
def mixing_normalization():
    inputs = keras.Input((4, 3))
    x = layers.Dense(6, name="a")(inputs)
    x = layers.LayerNormalization(name="one")(x)
    x = layers.Dense(6, name="b")(x)
    x = layers.UnitNormalization(name="two")(x)
    x = layers.Dense(5, "sigmoid", name="c")(x)
    x = layers.RMSNormalization(name="three")(x)
    x = layers.Dense(5, name="d")(x)
    x = layers.Softmax(name="four")(x)
    x = layers.Dense(7, name="e")(x)
    x = layers.Softmax(axis=1)(x)
    x = layers.Dense(4, name="f")(x)
    return ending(inputs, layers.Normalization(name="five")(x))


@expect(("a", 6))
def prelu():
    inputs = keras.Input(image)
    x = layers.Conv2D(6, 3, name="a")(inputs)
    x = layers.PReLU()(x)
    return ending(inputs, layers.PReLU(shared_axes=[1, 2])(x))


@expect(("a", 6))
def layer_scale():
    from keras.src.applications.convnext import LayerScale
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    inputs = keras.Input(image)
    x = layers.Conv2D(6, 3, name="a")(inputs)
    y = LayerScale(0.5, 6, name="scale")(x)
    return ending(inputs, CustomScaleLayer(0.3)([x, y]))


@expect(("a", 6), ("e", 5), g="model input")
def residual():
    inputs = keras.Input((6,))
    a = layers.Dense(6, name="a")(inputs)
    b = layers.Dense(6, name="b")(a)
    c = layers.Dense(6, name="c")(b)
    x = layers.Average()([a, layers.Maximum()([b, c])])
    x = layers.Subtract()([x, layers.Minimum()([b, c])])
    d, e, f = (layers.Dense(5, name=n)(x) for n in "def")
    x = ops.where(d > 0.1, ops.minimum(e, f) / 2.0, ops.maximum(e, 0.0))
    x = layers.Dense(6, name="g")(x)
    return ending(inputs, layers.Add()([x, inputs]))


@expect(("a", 8), ("b", 4))
def squeeze_and_excite():
    inputs = keras.Input(image)
    x = layers.Conv2D(8, 3, name="a")(inputs)
    y = layers.GlobalAveragePooling2D()(x)
    y = layers.Reshape((1, 1, 8))(y)
    y = layers.Conv2D(4, 1, activation="relu", name="b")(y)
    y = layers.Conv2D(8, 1, activation="sigmoid", name="c")(y)
    return ending(inputs, layers.Multiply()([x, y]))


@expect(("a", 8), b="operation Multiply spreads it over channels")
def spatial_gate():
    inputs = keras.Input(image)
    x = layers.Conv2D(8, 3, name="a")(inputs)
    gate = layers.Conv2D(1, 1, activation="sigmoid", name="b")(x)
    return ending(inputs, x * gate)


@expect(("a", 6), ("b", 2))
def constants():
    inputs = keras.Input(image)
    x = layers.Conv2D(6, 3, name="a")(inputs)
    x = x * np.ones((6, 6, 1), "float32") + 1.0
    x = layers.Rescaling(2.0)(x)
    x = layers.Conv2D(2, 3, name="b")(x)
    return ending(inputs, x * np.array([1.0, 2.0], "float32"))


@expect(("a", 6), ("b", 8))
def u_net():
    inputs = keras.Input((None, None, 3))
    a = layers.Conv2D(6, 3, padding="same", name="a")(inputs)
    b = layers.MaxPooling2D()(a)
    b = layers.Conv2D(8, 3, padding="same", name="b")(b)
    x = layers.Concatenate()([a, layers.UpSampling2D()(b)])
    x = layers.BatchNormalization()(x)
    return keras.Model(inputs, layers.Conv2D(2, 1)(x))


@expect(("a", 6))
def concatenate_in_time():
    inputs = keras.Input((4, 3))
    x = layers.Dense(6, name="a")(inputs)
    y = layers.Dense(6, name="b")(inputs)
    return ending(inputs, layers.Concatenate(axis=1)([x, y]))


# 12 channels in two halves that stay equal; 9 in parts of 2, 3 and 4.
@expect(("a", 6), ("b", 9), ("e", 3))
def split():
    inputs = keras.Input(image)
    x, y = ops.split(layers.Conv2D(12, 3, name="a")(inputs), 2, axis=-1)
    w = layers.Conv2D(3, 1, name="e")(y)
    x = layers.Conv2D(9, 1, name="b")(x)
    x, y, z = ops.split(x, [2, 5], axis=-1)
    x = layers.Conv2D(3, 1, name="c")(layers.Concatenate()([y, x]))
    return ending(inputs, w + x + layers.Conv2D(3, 1, name="d")(z))


@expect(
    ("a", 12),
    ("c", 4),
    ("b", 4),
    d="operation GetItem picks single units",
)
def get_item():
    inputs = keras.Input(image)
    x = layers.Conv2D(12, 3, name="a")(inputs)
    y = layers.Conv2D(4, 1, name="b")(x[..., :5])
    z = layers.Conv2D(4, 1, name="c")(x[:, 1:3, ::2, 5:])
    y = layers.Dense(3)(y[:, 0, 1][:, None])
    z = layers.Dense(4, name="d")(layers.Flatten()(z))
    return keras.Model(inputs, [y, layers.Dense(3)(z[:, ::2])])


# A generator: every channel of the image has 16 units of the dense layer.
@expect(("a", 6), ("b", 5))
def reshape_to_image():
    inputs = keras.Input((5,))
    x = layers.Dense(4 * 4 * 6, name="a")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Reshape((4, 4, 6))(x)
    x = layers.Conv2DTranspose(5, 3, name="b")(x)
    return ending(inputs, x)


@expect(("a", 6))
def reshape_to_image_channels_first():
    inputs = keras.Input((5,))
    x = layers.Dense(4 * 4 * 6, name="a")(inputs)
    x = layers.Reshape((6, 4, 4))(x)
    x = layers.Conv2D(3, 3, data_format="channels_first")(x)
    return keras.Model(inputs, layers.Flatten()(x))


# The shape between must stay a rectangle: its last axis is pruned.
@expect(("a", 4))
def reshape_and_back():
    inputs = keras.Input((5,))
    x = layers.Dense(12, name="a")(inputs)
    return ending(inputs, layers.Flatten()(layers.Reshape((3, 4))(x)))


@expect(("a", 6), ("b", 4))
def tokens():
    inputs = keras.Input(image)
    x = layers.Conv2D(6, 4, strides=4, name="a")(inputs)
    x = layers.Reshape((-1, 6))(x)
    x = ops.swapaxes(ops.transpose(x, (0, 2, 1)), 1, 2)
    x = ops.moveaxis(ops.reshape(x, (-1, 2, 2, 6)), 3, 1)
    x = layers.Permute((2, 3, 1))(x)
    x = layers.Conv2D(4, 1, name="b")(x)
    return ending(inputs, layers.Flatten()(x))


@expect(("a", 6), ("b", 4), ("c", 5))
def repeating():
    inputs = keras.Input((5,))
    x = layers.Dense(6, name="a")(inputs)
    y = ops.squeeze(ops.expand_dims(x, 1), 1)
    y = ops.repeat(y, 2, axis=-1)
    x = layers.Concatenate()([x, y, ops.tile(x, [1, 2])])
    x = layers.RepeatVector(3)(layers.Dense(4, name="b")(x))
    x = ops.stack([x, x], axis=1)
    return ending(inputs, layers.Dense(5, name="c")(x))


@expect(("a", 6))
def positions():
    inputs = keras.Input(image)
    x = layers.Conv2D(6, 3, name="a")(inputs)
    x = ops.pad(x, [[0, 0], [1, 1], [0, 1], [0, 0]])
    x = layers.ZeroPadding2D()(x)
    x = layers.Cropping2D(1)(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Resizing(5, 5)(x)
    x = ops.average_pool(x, 2)
    x = layers.SpatialDropout2D(0.1)(layers.ReLU()(x))
    return ending(inputs, ops.mean(x, axis=(1, 2)))


@expect(("a", 6), b="operation Max mixes channels")
def reductions():
    inputs = keras.Input((4, 5))
    x = layers.Dense(6, name="a")(inputs)
    x = ops.max(x, axis=1, keepdims=True) + ops.std(x, axis=1, keepdims=True)
    y = ops.max(layers.Dense(4, name="b")(x), axis=-1, keepdims=True)
    return ending(inputs, x * y)


@expect(("e", 8), ("m:heads", 3), ("m:key_dim", 4), ("m:value_dim", 5))
def multi_head_attention():
    inputs = keras.Input((6, 5))
    x = layers.Dense(8, name="e")(inputs)
    x = x + layers.MultiHeadAttention(3, 4, value_dim=5, name="m")(x, x)
    return ending(inputs, x)


@expect(
    ("e", 8),
    ("k", 7),
    ("m:heads", 3),
    ("m:key_dim", 4),
    ("m:value_dim", 4),
    ("m", 6),
)
def cross_attention_with_scores():
    inputs = [keras.Input((6, 5)), keras.Input((4, 3))]
    x = layers.Dense(8, name="e")(inputs[0])
    k = layers.Dense(7, name="k")(inputs[1])
    x, scores = layers.MultiHeadAttention(
        3, 4, output_shape=6, use_gate=True, name="m"
    )(query=x, value=k, return_attention_scores=True)
    scores = layers.Dense(2)(layers.Permute((2, 3, 1))(scores))
    return keras.Model(inputs, [layers.Dense(2)(x), scores])


@expect(("e", 8), ("m:heads", 6), ("m:key_dim", 4))
def single_key_head():
    inputs = keras.Input((6, 5))
    x = layers.Dense(8, name="e")(inputs)
    return ending(
        inputs, layers.GroupQueryAttention(4, 6, 1, name="m")(x, x)
    )


def projected(x, heads, name):
    return layers.EinsumDense("btm,mhd->bthd", (5, heads, 3), name=name)(x)


@expect(("k:heads", 1), ("q:heads", 4), ("p", 7))
def repeated_key_head():
    inputs = keras.Input((5, 6))
    q, k = projected(inputs, 4, "q"), projected(inputs, 1, "k")
    k = ops.repeat(k, 4, axis=2)
    scores = ops.softmax(ops.einsum("bthd,bshd->bhts", q, k))
    y = ops.einsum("bhts,bshd->bthd", scores, k)
    return ending(inputs, layers.EinsumDense(
        "bthd,hdm->btm", (5, 7), name="p"
    )(y))


# The output is as wide as the query, so that the two go together.
@expect(("e", 8), ("m:heads", 2), ("m:key_dim", 4))
def grouped_query_attention():
    inputs = keras.Input((6, 5))
    x = layers.Dense(8, name="e")(inputs)
    return ending(
        inputs, layers.GroupQueryAttention(4, 6, 2, name="m")(x, x)
    )


# Scores sum over the channels of a head, so that heads go as a whole.
@expect(("e", 12), ("k", 3))
def attention_by_hand():
    inputs = keras.Input((5, 6))
    x = layers.Dense(12, name="e")(inputs)

    def heads(name):
        y = ops.reshape(layers.Dense(12, name=name)(x), (-1, 5, 3, 4))
        return ops.transpose(y, (0, 2, 1, 3))

    q, k, v = heads("q"), heads("k"), heads("v")
    y = ops.matmul(ops.softmax(ops.matmul(q, ops.swapaxes(k, 2, 3)) / 2), v)
    y = layers.Reshape((5, 12))(ops.moveaxis(y, 1, 2))
    return ending(inputs, x + layers.Dense(12, name="p")(y))


@expect(("v", 8), q="Attention 'dot' mixes channels")
def dot_attention():
    inputs = keras.Input((6, 5))
    q, k = layers.Dense(4, name="q")(inputs), layers.Dense(4)(inputs)
    v = layers.Dense(8, name="v")(inputs)
    return ending(inputs, layers.Attention(name="dot")([q, v, k]))


@expect(("a", 6), ("b", 7), ("c", 5), ("d", 4), ("e", 3))
def recurrent():
    inputs = keras.Input((4, 3))
    x = layers.LSTM(6, return_sequences=True, name="a")(inputs)
    x = layers.GRU(7, return_sequences=True, name="b")(x)
    x = layers.GRU(
        5, return_sequences=True, reset_after=False, use_bias=False, name="c"
    )(x)
    x = layers.RNN(layers.LSTMCell(4), return_sequences=True, name="d")(x)
    return ending(inputs, layers.SimpleRNN(3, name="e")(x))


@expect(("a", 6))
def recurrent_states():
    inputs = [keras.Input((6, 4)), keras.Input((5, 4))]
    _, *states = layers.LSTM(6, return_state=True, name="a")(inputs[0])
    x = layers.LSTM(6, name="b")(inputs[1], initial_state=states)
    return ending(inputs, x)


@expect(
    a="RNN 'a' has a cell StackedRNNCells without a rule",
    b="SimpleRNN 'b' keeps its state between batches",
    c="activation 'softmax' mixes channels of 'c'",
)
def recurrent_frozen():
    inputs = keras.Input((4, 3), batch_size=3)
    cells = [layers.GRUCell(5), layers.GRUCell(4)]
    x = layers.RNN(cells, return_sequences=True, name="a")(inputs)
    x = layers.SimpleRNN(4, stateful=True, return_sequences=True, name="b")(x)
    return ending(inputs, layers.GRU(4, "softmax", name="c")(x))


@expect(("a", 5), ("b/conv2d", 4))
def convolutional_recurrent():
    inputs = keras.Input((4, 6, 6, 2))
    x = layers.ConvLSTM2D(5, 3, return_sequences=True, name="a")(inputs)
    conv = layers.Conv2D(4, 3, name="conv2d")
    x = layers.TimeDistributed(conv, name="b")(x)
    x = layers.TimeDistributed(layers.GlobalAveragePooling2D())(x)
    return ending(inputs, x)


# Both directions have one configuration, so they go together.
@expect(("a/forward_lstm", 6), ("b/forward_gru", 4), ("c/forward_lstm", 5))
def bidirectional():
    inputs = keras.Input((6, 4))
    lstm = layers.LSTM(6, return_sequences=True)
    x = layers.Bidirectional(lstm, name="a")(inputs)
    gru = layers.GRU(4, return_sequences=True)
    x = layers.Bidirectional(gru, merge_mode="sum", name="b")(x)
    states = layers.Bidirectional(
        layers.LSTM(5, return_state=True), name="c"
    )(x)
    return ending(inputs, layers.Concatenate()(states))


@expect(("a", 6), ("b/forward_lstm", 4), ("c", 5))
def masks():
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 6, mask_zero=True, name="a")(inputs)
    lstm = layers.LSTM(4, return_sequences=True)
    y = layers.Bidirectional(lstm, name="b")(x)
    x = layers.Concatenate()([x, y])
    return ending(inputs, layers.GRU(5, return_sequences=True, name="c")(x))


@expect(("b", 5), a="Masking 'hide' mixes channels")
def masking():
    inputs = keras.Input((6, 2))
    x = layers.Dense(4, "relu", name="a")(inputs)
    x = layers.Masking(name="hide")(x)
    return ending(inputs, layers.LSTM(5, name="b")(x))


@expect(
    ("d", 5),
    a="unknown layer 'b' (Lambda): fewer channels change what it makes of the "
    "others; `structured.register_rule` can say what becomes of units in it",
)
def unknown():
    inputs = keras.Input((4,))
    x = layers.Dense(6, name="a")(inputs)
    x = layers.Lambda(lambda x: x[:, ::-1], name="b")(x)
    x = layers.Dense(5, name="c")(x)
    x = layers.SpectralNormalization(layers.Dense(5), name="s")(x)
    return ending(inputs, layers.Dense(5, name="d")(x))


@expect(("a", 6), ("b", 4), ("c", 2))
def dropout():
    inputs = keras.Input(image)
    x = layers.Conv2D(6, 3, name="a")(inputs)
    x = layers.Dropout(0.2, noise_shape=(None, 1, 1, 1))(x)
    x = layers.GaussianNoise(0.1)(layers.SpatialDropout2D(0.2)(x))
    x = layers.ActivityRegularization(1e-3)(layers.Identity()(x))
    x = layers.Conv2D(4, 1, name="b")(layers.LeakyReLU()(x))
    x = layers.Activation("gelu")(layers.ELU()(x))
    x = layers.Conv2D(2, 1, name="c")(x)
    return ending(inputs, x + np.ones(2, "float32"))


@expect(a="Dropout 'drop' has a constant per channel")
def dropout_with_a_shape():
    inputs = keras.Input((5,))
    x = layers.Dense(6, name="a")(inputs)
    return ending(
        inputs, layers.Dropout(0.2, noise_shape=(1, 6), name="drop")(x)
    )


class Attention(layers.Layer):
    """Heads with relative positions and a class token of its own."""

    def __init__(self, **options):
        super().__init__(**options)
        self.project = [layers.Dense(8, name=name) for name in "qkvo"]

    def build(self, shape):
        for layer in self.project:
            layer.build((*shape[:-1], 8))
        self.table = self.add_weight((9, 4), name="table")
        self.token = self.add_weight((1, 1, 8), name="token")

    def call(self, x):
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, 8))
        x = ops.concatenate([token, x], 1)
        q, k, v = (
            ops.transpose(ops.reshape(f(x), (-1, 5, 4, 2)), (0, 2, 1, 3))
            for f in self.project[:3]
        )
        places = np.arange(5)[:, None] - np.arange(5) + 4
        bias = ops.transpose(ops.take(self.table, places, 0), (2, 0, 1))
        bias = bias[None] + ops.zeros((1, 4, 5, 5))
        scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) + bias
        found = ops.transpose(ops.matmul(ops.softmax(scores), v), (0, 2, 1, 3))
        return x + self.project[3](ops.reshape(found, (-1, 5, 8)))


def test_weights_next_to_layers():
    inputs = keras.Input((4, 3))
    x = layers.Dense(8, name="a")(inputs)
    graph = check_exact(ending(inputs, Attention(name="b")(x)))
    assert counts(graph) == [("a", 8), ("b/k", 4)]
    cut = {b.key: len(b.ids) for b in graph.bindings}
    assert (cut["b/table"], cut["b/token"]) == (4, 8)


class Mixer(layers.Layer):
    """Tokens, parts of two that add up to one, and matrices of its own."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = layers.Dense(8, name="inner")

    def build(self, shape):
        self.inner.build(shape)
        shapes = {"tokens": (3, 8), "parts": (2,), "up": (8, 6), "down": (6, 8)}
        self.own = {k: self.add_weight(v, name=k) for k, v in shapes.items()}

    def call(self, x):
        tokens = ops.repeat(self.own["tokens"][None], ops.shape(x)[0], 0)
        x = ops.concatenate([x, tokens], 1)
        y = ops.einsum("btc,cd->btd", self.inner(x), self.own["up"])
        y = ops.tensordot(ops.relu(y), self.own["down"], 1)
        parts = ops.softmax(self.own["parts"])
        return x * parts[0] + y * parts[1]


class Scaled(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.inner = layers.Dense(8, name="inner")

    def call(self, x):
        return self.inner(x) * self.scale


class Sharing(layers.Layer):
    """Two layers of the same names inside, with one weight."""

    def __init__(self, **options):
        super().__init__(**options)
        self.parts = [Scaled(name="b"), Scaled(name="c")]

    def build(self, shape):
        weight = self.add_weight(shape[-1:], name="scale")
        for part in self.parts:
            part.inner.build(shape)
            part.scale = weight

    def call(self, x):
        return self.parts[1](ops.relu(self.parts[0](x)))


@pytest.mark.parametrize("layer, expected", [
    (Mixer, [("a", 8), ("b/inner", 8), ("b_up", 6)]),
    (Sharing, [("a", 8), ("b/b/inner", 8)]),
])
def test_weights_that_are_used_in_many_ways(layer, expected):
    inputs = keras.Input((4, 3))
    x = layers.Dense(8, name="a")(inputs)
    model = ending(inputs, layer(name="b")(x))
    assert counts(check_exact(model)) == expected
    small = structured.shrink(model, structured.plan(model, ratio=0.5))
    assert structured.proof_of(small).weights_error < 1e-5


@pytest.mark.some(3)
@pytest.mark.parametrize("name", MODELS)
def test_removal_is_exact_and_nothing_more_is_frozen(name):
    conftest.skip_channels_first(name)
    build, groups, reasons = MODELS[name]
    graph = check_exact(build())
    assert counts(graph) == groups
    for path, reason in reasons.items():
        assert reason_of(graph, path) == reason


def test_parts_of_a_split_keep_one_unit():
    graph = graphs.trace(split())
    parts = [p for p in graph.producers if p.role == "part"]
    assert [(p.path, len(p.ids)) for p in parts] == [
        ("b", 2),
        ("b", 3),
        ("b", 4),
    ]


def test_key_dimensions_of_queries_are_scaled():
    graph = graphs.trace(multi_head_attention())
    keys = next(p for p in graph.producers if p.role == "key_dim")
    scales = graph.scales(graph.kept(keys.ids[:3]))
    assert scales == {"m/query/kernel": 0.5, "m/query/bias": 0.5}
    assert graph.scales(graph.kept()) == {}
