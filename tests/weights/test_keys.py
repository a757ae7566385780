"""Keys of weights, and which weights can be pruned."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import tests
import tf_lottery as tfl
from tests import conftest

DENSE = {"fc/kernel": None, "fc/bias": "bias or vector"}


class Residual(layers.Layer):
    """A composite layer with layers in lists and dicts and a weight of its own.

    It has no `build`: Keras finds the shapes by calling it.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.blocks = [layers.Dense(units), layers.Dense(units)]
        self.named = {"in": layers.Dense(units), "out": layers.Dense(units)}

    def call(self, inputs):
        for layer in (*self.blocks, *self.named.values()):
            inputs = inputs + layer(inputs)
        return inputs

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Linear(layers.Layer):
    """A layer of a user's own, without a hook."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape):
        self.table = self.add_weight(
            shape=(shape[-1], self.units), name="table"
        )

    def call(self, inputs):
        return inputs @ self.table


class Joined(Linear):
    def get_prunable_weights(self):
        return [self.table]


class Parts(keras.Model):
    """A subclassed model with layers in nested containers."""

    def __init__(self):
        super().__init__()
        self.stages = [{"conv": layers.Dense(3), "more": [layers.Dense(3)]}]
        self.pair = (layers.Dense(3), Residual(3))

    def call(self, x):
        x = self.stages[0]["more"][0](self.stages[0]["conv"](x))
        return self.pair[1](self.pair[0](x))


def sequential(*stack, shape=(6,)):
    return keras.Sequential([keras.Input(shape), *stack])


def auto_named():
    """Every kind of nesting, and no name given by the user."""
    inner = sequential(layers.Dense(4), layers.Dense(4), shape=(4,))
    inputs = keras.Input((6,))
    x = layers.Dense(4)(inputs)
    x = layers.Dropout(0.1)(inner(x))
    x = layers.BatchNormalization()(Residual(4)(x))
    return keras.Model(inputs, layers.Dense(2)(x))


def reasons(model, **kwargs):
    return {w.key: w.reason for w in tfl.weights.inspect(model, **kwargs)}


def prunable(model, **kwargs):
    return list(tfl.weights.prunable(model, **kwargs))


def test_keys_of_a_sequential_model():
    model = sequential(layers.Dense(3, name="fc"))
    assert reasons(model) == DENSE
    (kernel, bias) = tfl.weights.inspect(model)
    assert kernel.variable is model.layers[0].kernel
    assert bias.variable is model.layers[0].bias
    assert kernel.layer is model.layers[0]


def test_keys_of_a_functional_model():
    assert prunable(conftest.functional()) == [
        "fc1/kernel", "fc2/kernel", "logits/kernel"
    ]
    variables = tfl.weights.variables(conftest.functional())
    assert "drop/seed_generator_state" in variables
    assert "norm/moving_variance" in variables
    # Statistics and seeds are no weights to prune.
    assert reasons(conftest.functional())["norm/gamma"] == "normalisation"
    assert "drop/seed_generator_state" not in reasons(conftest.functional())


def test_keys_of_a_subclassed_model():
    assert prunable(conftest.subclassed()) == [
        "hidden/kernel", "logits/kernel"
    ]
    model = Parts()
    model(np.zeros((1, 6)))
    assert prunable(model) == [
        "dense/kernel", "dense_1/kernel", "dense_2/kernel",
        "residual/dense/kernel", "residual/dense_1/kernel",
        "residual/dense_2/kernel", "residual/dense_3/kernel",
    ]


def test_keys_of_nested_models():
    inner = sequential(layers.Dense(6, name="a"), layers.Dense(6, name="b"))
    inner.name = "trunk"
    block = keras.Model(x := keras.Input((6,)), inner(x), name="block")
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(1, name="head")(block(inputs)))
    assert prunable(model) == [
        "block/trunk/a/kernel", "block/trunk/b/kernel", "head/kernel"
    ]


def test_every_variable_has_one_key(any_model):
    variables = tfl.weights.variables(any_model)
    assert {id(v) for v in variables.values()} == {
        id(v) for v in any_model.variables
    }
    assert len(variables) == len(any_model.variables)


def test_auto_named_layers_keep_their_keys_in_another_instance():
    keras.utils.clear_session(free_memory=False)
    first, second = auto_named(), auto_named()
    assert first.layers[1].name != second.layers[1].name
    keys = list(tfl.weights.variables(first))
    assert keys == list(tfl.weights.variables(second))
    assert prunable(first) == [
        "dense/kernel",
        "sequential/dense/kernel",
        "sequential/dense_1/kernel",
        "residual/dense/kernel",
        "residual/dense_1/kernel",
        "residual/dense_2/kernel",
        "residual/dense_3/kernel",
        "dense_1/kernel",
    ]


def test_keys_are_the_same_in_another_process():
    code = (
        "import json, keras; keras.layers.Dense(1); keras.layers.Dense(1); "
        "import tests.weights.test_keys as t, tf_lottery as tfl; "
        "print(json.dumps(list(tfl.weights.variables(t.auto_named()))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tests.ROOT,
        capture_output=True, text=True, check=True,
    )
    keys = json.loads(done.stdout.splitlines()[-1])
    assert keys == list(tfl.weights.variables(auto_named()))


def test_layers_of_the_same_name_have_different_keys():
    class Twins(keras.Model):
        def __init__(self):
            super().__init__()
            self.twins = [layers.Dense(2, name="x"), layers.Dense(2, name="x")]

        def call(self, x):
            return self.twins[1](self.twins[0](x))

    model = Twins()
    model(np.zeros((1, 6)))
    assert prunable(model) == ["x/kernel", "x/kernel_1"]
    assert prunable(model, exclude=["x/kernel_1"]) == ["x/kernel"]


ATTENTION = ["query", "key", "value", "attention_output"]
LAYERS = {
    "attention": (
        lambda: layers.MultiHeadAttention(2, 3, name="l"), (4, 6),
        [f"{part}/kernel" for part in ATTENTION],
    ),
    "grouped": (
        lambda: layers.GroupQueryAttention(3, 4, 2, name="l"), (4, 6),
        [f"{part}/kernel" for part in ATTENTION],
    ),
    "gru": (
        lambda: layers.GRU(3, name="l"), (4, 6),
        ["gru_cell/kernel", "gru_cell/recurrent_kernel"],
    ),
    "lstm": (
        lambda: layers.LSTM(3, dropout=0.1, name="l"), (4, 6),
        ["lstm_cell/kernel", "lstm_cell/recurrent_kernel"],
    ),
    "simple": (
        lambda: layers.SimpleRNN(3, name="l"), (4, 6),
        ["simple_rnn_cell/kernel", "simple_rnn_cell/recurrent_kernel"],
    ),
    "stacked": (
        lambda: layers.RNN([layers.GRUCell(3), layers.GRUCell(3)], name="l"),
        (4, 6),
        [
            f"stacked_rnn_cells/gru_cell{n}/{kind}"
            for n in ("", "_1") for kind in ("kernel", "recurrent_kernel")
        ],
    ),
    "bidirectional": (
        lambda: layers.Bidirectional(layers.LSTM(3), name="l"), (4, 6),
        [
            f"{way}_lstm/lstm_cell/{kind}"
            for way in ("forward", "backward")
            for kind in ("kernel", "recurrent_kernel")
        ],
    ),
    "time": (
        lambda: layers.TimeDistributed(layers.Dense(3), name="l"), (4, 6),
        ["dense/kernel"],
    ),
    "convlstm": (
        lambda: layers.ConvLSTM1D(3, 2, name="l"), (3, 4, 6),
        ["conv_lstm_cell/kernel", "conv_lstm_cell/recurrent_kernel"],
    ),
    "separable1d": (
        lambda: layers.SeparableConv1D(3, 2, name="l"), (4, 6),
        ["depthwise_kernel", "pointwise_kernel"],
    ),
    "separable2d": (
        lambda: layers.SeparableConv2D(3, 2, name="l"), (4, 4, 6),
        ["depthwise_kernel", "pointwise_kernel"],
    ),
    "einsum": (
        lambda: layers.EinsumDense(
            "ab,bcd->acd", (3, 2), bias_axes="cd", name="l"
        ),
        (6,), ["kernel"],
    ),
    "spectral": (
        lambda: layers.SpectralNormalization(layers.Dense(3), name="l"),
        (6,), ["dense/kernel"],
    ),
}


def convolution(name, rank):
    arguments = (2,) if name.startswith("Depthwise") else (3, 2)
    return (
        lambda: getattr(layers, name)(*arguments, name="l"),
        (4,) * rank + (6,),
        ["kernel"],
    )


LAYERS |= {
    name: convolution(name, rank)
    for name, rank in {
        "Conv1D": 1,
        "Conv2D": 2,
        "Conv3D": 3,
        "Conv1DTranspose": 1,
        "Conv2DTranspose": 2,
        "Conv3DTranspose": 3,
        "DepthwiseConv1D": 1,
        "DepthwiseConv2D": 2,
    }.items()
}


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_that_keras_has(kind):
    make, shape, expected = LAYERS[kind]
    inputs = keras.Input(shape)
    calls = 2 if kind in ("attention", "grouped") else 1
    model = keras.Model(inputs, make()(*[inputs] * calls))
    assert prunable(model, include="*") == [f"l/{key}" for key in expected]
    found = reasons(model)
    biases = {found[key] for key in found if key.endswith("/bias")}
    assert biases == {"bias or vector"}


@pytest.mark.parametrize("kind", ["Embedding", "ReversibleEmbedding"])
def test_embeddings_are_pruned_on_request(kind):
    model = sequential(
        getattr(layers, kind)(9, 4, name="words"),
        layers.Flatten(),
        layers.Dense(2, name="fc"),
    )
    assert prunable(model) == ["fc/kernel"]
    assert "only on request" in reasons(model)["words/embeddings"]
    for include in (
        "words", ["wor*"], ["words/embeddings"],
        ["words", "words/embeddings", "fc", "fc/kernel"],
    ):
        assert prunable(model, include=include) == [
            "words/embeddings", "fc/kernel"
        ]
    # Asking for a bias does not make it prunable.
    assert prunable(model, include=["*"]) == ["words/embeddings", "fc/kernel"]
    both = {"include": ["*"], "exclude": ["words"]}
    assert prunable(model, **both) == ["fc/kernel"]
    with pytest.raises(ValueError, match="'fc/bias', of which nothing can be"):
        prunable(model, include=["words", "fc/bias"])


def test_shared_layers_count_once():
    shared = layers.Dense(6, name="shared")
    inputs = keras.Input((6,))
    nested = keras.Model(x := keras.Input((6,)), shared(x), name="nested")
    model = keras.Model(inputs, nested(shared(shared(inputs))))
    assert reasons(model).keys() == {"shared/kernel", "shared/bias"}
    assert len(tfl.weights.variables(model)) == 2


def test_tied_weights_count_once():
    class Tied(layers.Layer):
        def __init__(self, other, **kwargs):
            super().__init__(**kwargs)
            self.other = other

        def call(self, inputs):
            return inputs @ keras.ops.transpose(self.other.kernel)

    dense = layers.Dense(3, use_bias=False, name="dense")
    model = sequential(dense, Tied(dense, name="tied"))
    assert reasons(model) == {"dense/kernel": None}
    words = sequential(
        layers.ReversibleEmbedding(9, 4, tie_weights=True, name="words")
    )
    assert list(reasons(words)) == ["words/embeddings"]


def test_frozen_layers_are_left_alone():
    model = sequential(layers.Dense(4, name="a"), layers.Dense(4, name="b"))
    model.layers[0].trainable = False
    assert prunable(model) == ["b/kernel"]
    assert reasons(model)["a/kernel"] == "frozen"
    model.layers[0].trainable = True
    assert prunable(model) == ["a/kernel", "b/kernel"]


def test_custom_layer_joins_by_a_hook():
    model = sequential(Joined(4, name="mine"), layers.Dense(2, name="fc"))
    assert prunable(model) == ["mine/table", "fc/kernel"]
    model.layers[0].trainable = False
    assert reasons(model)["mine/table"] == "frozen"


def test_custom_layer_without_the_hook_is_listed():
    model = sequential(Linear(4, name="mine"))
    assert reasons(model) == {"mine/table": "no rule for Linear.table"}
    with pytest.raises(ValueError, match="no rule for Linear.table") as error:
        tfl.weights.prunable(model)
    assert "get_prunable_weights" in str(error.value)


def test_exclude():
    model = auto_named()
    everything = prunable(model)
    for pattern, left_out in {
        "residual": ["residual/"],
        "sequential/*": ["sequential/"],
        "dense_1/kernel": ["dense_1/"],
    }.items():
        # In this instance the names that are shown are others.
        keep = [k for k in everything if not k.startswith(tuple(left_out))]
        if pattern == "residual":
            pattern = "residual*/*"
        assert prunable(model, exclude=[pattern]) == keep
    found = reasons(model, exclude="sequential*/*")
    assert found["sequential/dense/kernel"] == "excluded by 'sequential*/*'"
    assert found["sequential/dense/bias"] == "bias or vector"


def test_a_shown_name_comes_before_a_key():
    keras.layers.Dense(1)
    model = sequential(layers.Dense(2), layers.Dense(2))
    first, second = (layer.name for layer in model.layers)
    assert (first, second) == ("dense_1", "dense_2")
    # "dense_1" is the key of the second and the shown name of the first.
    assert prunable(model) == ["dense/kernel", "dense_1/kernel"]
    assert prunable(model, exclude=["dense_1"]) == ["dense_1/kernel"]
    assert prunable(model, exclude=["dense_2"]) == ["dense/kernel"]


@pytest.mark.parametrize("name", ["exclude", "include"])
def test_unknown_patterns(name):
    with pytest.raises(ValueError, match="Did you mean 'logits'") as error:
        tfl.weights.inspect(conftest.functional(), **{name: ["logit"]})
    for part in (name, "'logit'", "fc1", "fc2", "logits"):
        assert part in str(error.value)


def test_unbuilt_model():
    model = keras.Sequential([layers.Dense(2)], name="young")
    for ask in (tfl.weights.inspect, tfl.weights.prunable, tfl.masks_of):
        with pytest.raises(ValueError, match="'young' is not built"):
            ask(model)
    with pytest.raises(ValueError, match="Layer 'dense.*' is not built"):
        tfl.weights.prunable(model.layers[0])
    parts = Parts()
    with pytest.warns(UserWarning, match="does not have a `build"):
        parts.build((None, 6))
    assert parts.built
    with pytest.raises(ValueError, match="is not built.*batch of data"):
        tfl.weights.prunable(parts)


@pytest.mark.parametrize("model", [None, "model", {}, np.ones(3)])
def test_what_is_no_model(model):
    with pytest.raises(ValueError, match="must be a `keras.Model`"):
        tfl.weights.prunable(model)


def test_nothing_to_prune():
    model = sequential(layers.BatchNormalization(name="norm"), layers.ReLU())
    with pytest.raises(ValueError, match="no prunable weight") as error:
        tfl.weights.prunable(model)
    assert "norm/gamma: normalisation" in str(error.value)
    with pytest.raises(ValueError, match="no weights at all"):
        tfl.weights.prunable(sequential(layers.ReLU()))
    with pytest.raises(ValueError, match="excluded by 'fc'"):
        tfl.weights.prunable(
            sequential(layers.Dense(2, name="fc")), exclude=["fc"]
        )


def test_low_rank_adaptation_freezes_the_kernel():
    model = sequential(layers.Dense(4, name="a"), layers.Dense(2, name="b"))
    model.layers[0].enable_lora(2)
    assert prunable(model) == ["b/kernel"]
    assert reasons(model)["a/kernel"] == "frozen"
    assert "a/lora_kernel_a" in reasons(model)


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_quantized_layers(mode):
    model = sequential(layers.Dense(8, name="a"), layers.Dense(2, name="b"))
    model.layers[0].quantize(mode)
    found = reasons(model)
    assert found["b/kernel"] is None
    assert found["a/kernel"] == (None if mode == "float8" else "frozen")


def test_looking_at_a_model_leaves_it_alone(any_model):
    before = [np.array(v) for v in any_model.variables]
    tfl.weights.inspect(any_model)
    for variable, value in zip(any_model.variables, before):
        np.testing.assert_array_equal(variable.numpy(), value)
        assert getattr(variable, "constraint", None) is None


@pytest.mark.parametrize(
    "exclude, left",
    [
        ("@first", ["fc2/kernel", "logits/kernel"]),
        (["@last"], ["fc1/kernel", "fc2/kernel"]),
        (["@first", "@last"], ["fc2/kernel"]),
        (["@last", "fc2"], ["fc1/kernel"]),
    ],
)
def test_first_and_last_layer(exclude, left):
    model = conftest.functional()
    assert list(tfl.weights.prunable(model, exclude)) == left
    reasons = {w.key: w.reason for w in tfl.weights.inspect(model, "@last")}
    assert reasons["logits/kernel"] == "excluded by '@last'"


def test_every_weight_of_the_last_layer():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, name="conv"),
            keras.layers.SeparableConv2D(4, 3, name="last"),
        ]
    )
    assert list(tfl.weights.prunable(model, "@last")) == ["conv/kernel"]
