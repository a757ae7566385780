"""Models of tf_keras with every layer that TFMOT can prune."""

import tensorflow as tf
import tf_keras
from tf_keras import layers


class Scale(layers.Layer):
    """A layer of one's own that TFMOT can prune."""

    def build(self, input_shape):
        self.table = self.add_weight(
            "table", (input_shape[-1], 6), initializer="random_normal"
        )
        self.shift = self.add_weight("shift", (6,), initializer="zeros")

    def call(self, inputs):
        return tf.matmul(inputs, self.table) + self.shift

    def get_prunable_weights(self):
        return [self.table]


def sequential():
    return tf_keras.Sequential([
        layers.Conv2D(4, 3, padding="same", input_shape=(8, 8, 3), name="c1"),
        layers.BatchNormalization(),
        layers.ReLU(6.0),
        layers.MaxPooling2D(),
        layers.Dropout(0.3),
        layers.Flatten(),
        layers.Dense(8, "swish", kernel_regularizer="l2", name="fc"),
        layers.LayerNormalization(),
        layers.Dense(3, "softmax"),
    ])


def convolutions():
    image = layers.Input((8, 8, 4), name="image")
    flat = []
    x = layers.ZeroPadding2D(((1, 0), (0, 1)))(image)
    x = layers.Conv2D(8, 3, strides=2, groups=2, name="grouped")(x)
    x = layers.LayerNormalization(axis=[1, 3])(x)
    x = layers.LeakyReLU(0.2)(x)
    x = layers.SeparableConv2D(6, 3, padding="same", name="separable")(x)
    x = layers.BatchNormalization(axis=-1)(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.ELU(0.5)(x)
    x = layers.Conv2DTranspose(
        4, 3, strides=2, padding="same", name="transpose")(x)
    x = layers.ThresholdedReLU(0.1)(x)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = layers.Cropping2D(1)(x)
    flat.append(layers.GlobalAveragePooling2D()(x))
    y = layers.Reshape((16, 16))(image)
    y = layers.Conv1D(5, 3, dilation_rate=2, padding="causal", name="one")(y)
    y = layers.SeparableConv1D(4, 2, name="separable1")(y)
    y = layers.Softmax()(layers.AveragePooling1D(2)(y))
    y = layers.Permute((2, 1))(y)
    flat.append(layers.GlobalMaxPooling1D()(layers.GaussianNoise(0.1)(y)))
    z = layers.Reshape((4, 4, 4, 4))(image)
    z = layers.Conv3D(3, 2, name="three")(z)
    z = layers.SpatialDropout3D(0.1)(z)
    z = layers.Conv3DTranspose(2, 2, name="transpose3")(z)
    flat.append(layers.Flatten()(layers.MaxPooling3D(2)(z)))
    joined = layers.Concatenate()(flat)
    joined = layers.RepeatVector(2)(layers.Dense(4, name="fc")(joined))
    return tf_keras.Model(image, layers.Activation("tanh")(joined))


def recurrent():
    words = layers.Input((6,), dtype="int32", name="words")
    x = layers.Embedding(11, 6, name="table", input_length=6)(words)
    x = layers.LSTM(5, return_sequences=True, name="lstm")(x)
    x = layers.GRU(4, return_sequences=True, name="gru")(x)
    x = layers.RNN(
        [layers.GRUCell(4), layers.LSTMCell(3), layers.LSTMCell(5)],
        return_sequences=True, name="stack")(x)
    x = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = layers.SimpleRNN(4, return_sequences=True, name="simple")(x)
    x = layers.TimeDistributed(layers.Dense(3), name="timed")(x)
    x = layers.Bidirectional(layers.LSTM(2), name="both")(x)
    return tf_keras.Model(words, layers.Dense(2, name="fc")(x))


def graph():
    left, right = layers.Input((4,), name="a"), layers.Input((4,), name="b")
    shared = layers.Dense(4, "relu", name="shared")
    inner = tf_keras.Sequential([
        layers.Input((4,)), layers.Dense(5, "relu", name="wide"),
        layers.BatchNormalization(name="norm"), layers.Dense(4, name="narrow"),
    ], name="inner")
    image = layers.Input((4,))
    deep = tf_keras.Sequential([layers.Dense(4, name="deep")], name="late")
    other = tf_keras.Model(
        image, layers.Add()([image, deep(layers.Dense(4, name="skip")(image))]),
        name="residual")
    x, y = shared(inner(shared(left))), other(inner(right))
    y = other(layers.Subtract()([y, x]))
    joined = layers.Concatenate(name="join")([x, y])
    return tf_keras.Model(
        [left, right],
        [layers.Dense(3, "softmax", name="label")(joined),
         layers.Dense(1, name="value")(layers.Multiply()([x, y]))],
        name="graph")


def states():
    words = layers.Input((5, 3))
    coded, *state = layers.LSTM(4, return_state=True, name="encoder")(words)
    x = layers.LSTM(4, name="decoder")(words, initial_state=state)
    return tf_keras.Model(words, layers.Average()([x, coded]))


def frozen():
    x = inputs = layers.Input((4,))
    inner = tf_keras.Sequential([
        layers.Input((4,)), layers.Dense(4, name="half"),
        layers.BatchNormalization(name="norm"), layers.Dense(4, name="free"),
    ], name="inner")
    inner.layers[0].trainable = False
    x = layers.BatchNormalization(trainable=False, name="still")(inner(x))
    return tf_keras.Model(inputs, layers.Dense(2, name="fc")(x))


def half():
    return tf_keras.Sequential([
        layers.Input((4,)), layers.Dense(6, name="fc"),
        layers.BatchNormalization(), layers.Dense(2, name="logits"),
    ])


def custom():
    inputs = layers.Input((4,))
    x = Scale(name="scale")(inputs)
    return tf_keras.Model(inputs, layers.Dense(2, name="fc")(x))


MODELS = {
    "sequential": sequential, "convolutions": convolutions,
    "recurrent": recurrent, "graph": graph, "states": states,
    "frozen": frozen, "half": half, "custom": custom,
}
