"""The proof refuses what differs, and what it cannot see."""

import contextlib
import dataclasses

import keras
import numpy as np
import pytest
from keras import layers
from keras.ops import convert_to_numpy

from tf_lottery import graph as graph_lib
from tf_lottery import internals
from tf_lottery import structured
from tf_lottery import weights
from tf_lottery.graph import functional
from tf_lottery.structured import comparing
from tf_lottery.structured import inputs as inputs_lib
from tf_lottery.structured import randomising
from tf_lottery.structured import rebuilding
from tf_lottery.structured import running
from tf_lottery.structured import slices


def network(side=8):
    inputs = keras.Input((side, side, 3))
    x = layers.Conv2D(8, 3, padding="same", name="c1")(inputs)
    x = layers.BatchNormalization(name="n1")(x)
    x = layers.Activation("sigmoid", name="s1")(x)
    x = layers.Conv2D(8, 3, padding="same", name="c2")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(4, name="logits")(x))


def wrongly(graph, key, change):
    """A graph in which the bindings of a weight are changed."""
    bindings = [
        dataclasses.replace(b, ids=change(b.ids)) if b.key == key else b
        for b in graph.bindings
    ]
    return dataclasses.replace(graph, bindings=bindings)


@pytest.mark.parametrize("side", [8, 64])
@pytest.mark.parametrize("key", ["n1/gamma", "n1/moving_mean", "c1/bias"])
def test_a_wrong_slice_is_refused(key, side, monkeypatch):
    model = network(side)
    graph = graph_lib.trace(model)
    wrong = wrongly(graph, key, lambda ids: np.roll(ids, 1))
    plan = structured.plan(model, ratio=0.5)
    structured.shrink(model, plan)
    monkeypatch.setattr(graph_lib, "trace", lambda model: wrong)
    with pytest.raises(structured.VerificationError, match="does not compute"):
        structured.shrink(model, plan)


def test_producers_at_zero_are_no_removal():
    """What a sigmoid makes of zero is not zero: readers must be masked."""
    model = network()
    model.get_layer("c2").kernel.assign(
        np.abs(keras.ops.convert_to_numpy(model.get_layer("c2").kernel))
    )
    plan = structured.plan(model, ratio=0.5)
    small = structured.shrink(model, plan)
    graph = graph_lib.trace(model)
    kept = plan.kept(graph)
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3))
    for binding in graph.bindings:
        if binding.kind == "out" and binding.key.startswith("c1"):
            value = np.array(keras.ops.convert_to_numpy(binding.variable))
            value[..., ~kept[binding.ids]] = 0
            binding.variable.assign(value)
    difference = comparing.difference(
        [convert_to_numpy(model(x))], [convert_to_numpy(small(x))]
    )
    assert difference > 1e-3


class Blind(layers.Layer):
    """Passes on nothing of what it gets."""

    def call(self, inputs):
        return 0.0 * inputs

    def compute_output_shape(self, shape):
        return shape


def test_a_comparison_that_sees_nothing_is_refused():
    @graph_lib.register_rule(Blind)
    def blind(call):
        return call.inputs[0].ids

    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(8, name="fc"), Blind(),
         layers.Dense(8, name="fc2"), Blind(), layers.Activation("relu")]
    )
    plan = structured.plan(model, ratio=0.5)
    with pytest.raises(structured.VerificationError, match="says nothing"):
        structured.shrink(model, plan)


def test_a_model_that_cannot_run_in_float64_is_proved_in_float32():
    class Single(layers.Layer):
        def call(self, inputs):
            if keras.backend.standardize_dtype(inputs.dtype) != "float32":
                raise TypeError("float32 only")
            return inputs

    @graph_lib.register_rule(Single)
    def single(call):
        return call.inputs[0].ids

    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(8), Single(), layers.Dense(2)]
    )
    small = structured.shrink(model, structured.plan(model, ratio=0.5))
    proof = structured.proof_of(small)
    assert proof.dtype == "float32"
    assert proof.error <= 1e-5 < 100 * 1e-5 <= proof.control


def test_weights_that_are_not_finite_are_left_to_random_ones():
    model = network()
    kernel = np.array(keras.ops.convert_to_numpy(model.get_layer("c1").kernel))
    plan = structured.plan(model, ratio=0.5)
    kernel[0, 0, 0, 0] = np.nan
    model.get_layer("c1").kernel.assign(kernel)
    proof = structured.proof_of(structured.shrink(model, plan))
    assert proof.weights_error is None
    assert proof.error < 1e-12


def test_inputs_of_the_user_are_taken():
    model = network()
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    plan = structured.plan(model, ratio=0.5)
    small = structured.shrink(model, plan, inputs=x)
    assert structured.proof_of(small).error < 1e-12
    with pytest.raises(structured.VerificationError, match="does not fit"):
        structured.shrink(model, plan, inputs=np.zeros((2, 3), "float32"))


class Unsupported(keras.layers.Layer):
    """Has no kernel for numbers here, as some of TensorFlow's on a CPU."""

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)

    def call(self, x):
        raise NotImplementedError("no kernel here")


def test_a_model_that_does_not_run_itself_is_named():
    model = keras.Sequential([
        keras.Input((4,)), keras.layers.Dense(6), Unsupported(),
        keras.layers.Dense(2),
    ])
    plan = structured.plan(model, ratio=0.0)
    with pytest.raises(structured.VerificationError) as caught:
        structured.shrink(model, plan)
    said = str(caught.value)
    assert "whole as it is, does not run" in said and "no kernel here" in said
    assert "open" not in said


def test_only_what_was_proved_has_a_proof():
    with pytest.raises(ValueError, match="no proof"):
        structured.proof_of(network())


def test_calibration_makes_statistics_those_of_the_batch():
    model = network()
    x = np.random.default_rng(0).normal(3, 2, (16, 8, 8, 3))
    runner, values = runner_of(model), {}
    with runner.opened(), randomising.calibrating(
        runner.layers, runner.keys, values
    ):
        runner.outputs([x], values.get)
    norm = model.get_layer("n1")
    before = convert_to_numpy(keras.Model(model.input, norm.input)(x))
    for name, expected in (
        ("n1/moving_mean", np.mean(before, (0, 1, 2))),
        ("n1/moving_variance", np.var(before, (0, 1, 2))),
    ):
        np.testing.assert_allclose(values[name], expected, rtol=1e-4)


def test_random_inputs_fit_the_model():
    words = keras.Input((None,), dtype="int32", name="words")
    flags = keras.Input((5,), dtype="bool", name="flags")
    image = keras.Input((6, 6, 3), name="image")
    x = layers.Embedding(7, 4)(words)
    x = layers.GlobalAveragePooling1D()(x)
    y = layers.Flatten()(layers.Rescaling(1 / 255.0)(image))
    z = layers.Dense(4)(keras.ops.cast(flags, "float32"))
    model = keras.Model([words, flags, image], layers.Concatenate()([x, y, z]))
    view = graph_lib.trace(model).view
    found = inputs_lib.random_inputs(view, size=11)
    assert [a.dtype.name for a in found] == ["int32", "bool", "float32"]
    assert found[0].shape[1:] == (11,) and found[0].max() == 6
    assert 100 < found[2].max() <= 255
    model(inputs_lib.packed(view, found))


@pytest.mark.parametrize("layer, number", [
    (layers.ReLU(), 2), (layers.BatchNormalization(), 4),
])
def test_samples_that_take_long_are_few(layer, number):
    model = keras.Sequential([keras.Input((3,)), layer, layers.Dense(2)])
    found = inputs_lib.random_inputs(functional.view(model), macs=2**40)
    assert len(found[0]) == number


def runner_of(model, dtype="float64"):
    return running.Runner(
        functional.view(model), weights.variables(model), dtype
    )


def test_a_model_runs_in_float64_itself_and_stays_as_it_is():
    model = keras.Sequential(
        [
            keras.Input((9, 9, 4)),
            layers.Conv2D(8, 3, groups=4, activity_regularizer="l2"),
            layers.BatchNormalization(scale=False),
            layers.Conv2D(8, 3, 2, groups=2, padding="same"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(3, activation="tanh", dtype="mixed_float16"),
        ]
    )
    x = np.random.default_rng(0).normal(size=(4, 9, 9, 4)).astype("float32")
    expected = convert_to_numpy(model(x))
    before = [
        (layer, dict(vars(layer)), list(layer.losses))
        for layer in internals.layers.flat(model)
    ]
    runner = runner_of(model)
    kernel = convert_to_numpy(model.layers[-1].kernel)
    with runner.opened():
        (found,) = runner.outputs([x], lambda key: None)
        (other,) = runner.outputs(
            [x], {"dense/kernel": np.zeros_like(kernel)}.get
        )
        with pytest.raises(ValueError):
            runner.outputs([x[..., :3]], lambda key: None)
    assert found.dtype == "float64" and not other.any()
    np.testing.assert_allclose(expected, found, atol=2e-3)
    assert keras.config.floatx() == "float32"
    np.testing.assert_array_equal(convert_to_numpy(model(x)), expected)
    for layer, attributes, losses in before:
        assert vars(layer) == attributes
        assert len(layer.losses) == len(losses)
    assert {v.dtype for v in model.trainable_variables} == {"float32"}


def test_what_a_fault_does_not_reach_is_not_run_again():
    inputs = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    x = layers.Dense(4, name="first")(shared(inputs))
    x = layers.Dense(4, name="last")(shared(x))
    model = keras.Model(inputs, x)
    runner, x = runner_of(model), [np.ones((2, 4))]
    values = {
        key: convert_to_numpy(v) for key, v in runner.variables.items()
    }
    runs = []

    def count(call):
        def counted(*args, **kwargs):
            runs.append(1)
            return call(*args, **kwargs)

        return counted

    with runner.opened(), contextlib.ExitStack() as stack:
        for layer in model.layers[1:]:
            stack.enter_context(
                internals.layers.call_replaced(layer, count)
            )
        runner.outputs(x, values.get, remember=True)
        for key, number in (
            ("last/kernel", 1), ("first/bias", 3), ("shared/kernel", 4)
        ):
            runs.clear()
            wrong = {**values, key: values[key] + 1}
            (found,) = runner.outputs(x, wrong.get, changed=key)
            assert len(runs) == number
            runner_of_all = running.Runner(
                runner.view, runner.variables, "float64"
            )
            (expected,) = runner_of_all.outputs(x, wrong.get)
            np.testing.assert_array_equal(found, expected)


def test_difference():
    a = [np.array([1.0, -4.0])]
    assert comparing.difference(a, [np.array([1.0, -3.0])]) == 0.25
    assert comparing.difference(a, [np.array([1.0, np.nan])]) == np.inf
    assert comparing.difference(a, [np.zeros(3)]) == np.inf
    assert comparing.difference([np.zeros(2)], [np.zeros(2)]) == 0


class OfOneSize(layers.Layer):
    """Adds a constant that has the size of an image."""

    def call(self, inputs):
        return inputs + keras.ops.ones((64, 64, 1), inputs.dtype)


def side_of_proof(*middle):
    """The side of the images on which a model of 64 x 64 is proved."""
    model = keras.Sequential([
        keras.Input((64, 64, 3)),
        layers.Conv2D(8, 3, strides=2, padding="same", name="c1"),
        layers.Conv2DTranspose(4, 2, strides=2, name="c2"),
        *middle,
        layers.Dense(4, name="logits"),
    ])
    graph = graph_lib.trace(model)
    kept = structured.plan(model, ratio=0.5).kept(graph)
    cut = slices.Cut.of(graph, kept)
    twin = rebuilding.rebuild(graph, kept)
    pair = comparing.Pair(graph, kept, cut, twin, "float64")
    with pair.opened():
        return pair.inputs[0].shape[1]


def test_images_are_as_small_as_the_layers_allow():
    assert side_of_proof(layers.GlobalAveragePooling2D()) == 8
    assert side_of_proof(
        layers.GlobalAveragePooling2D(), layers.Reshape((1, 4)),
        layers.Flatten(),
    ) == 8
    assert side_of_proof(layers.Flatten()) == 64


def test_a_layer_of_one_size_gets_its_size():
    @graph_lib.register_rule(OfOneSize)
    def of_one_size(call):
        return call.inputs[0].ids

    pool = layers.GlobalAveragePooling2D()
    assert side_of_proof(OfOneSize(), pool) == 64
