"""What can be exported, and what is refused, before it takes time."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_lottery as tfl
from tests import conftest
from tests.conftest import MODELS
from tests.conftest import random_masks
from tf_lottery import export
from tf_lottery.export import children
from tf_lottery.export import examining
from tf_lottery.export import sources


@pytest.fixture(autouse=True)
def light(monkeypatch):
    """One runtime: TensorFlow's takes seconds to start."""
    name = export.installed()[:1]
    monkeypatch.setattr(examining.children, "installed", lambda: name)


def run(path, arrays, batch=1):
    with children.Runtime(export.installed()[0]) as runtime:
        return runtime.run(path.read_bytes(), arrays, batch)


def shipped(model, tmp_path, *args, **kwargs):
    path = tmp_path / "m.tflite"
    report = export.tflite(model, path, *args, seconds=0, **kwargs)
    return path, report


# Dead units go, and a class of its own cannot say so: it becomes Functional.
@pytest.mark.some(2)
@pytest.mark.filterwarnings("ignore:The configuration of `Subclassed` cannot")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("masked", [False, True])
def test_every_kind_of_model(name, masked, tmp_path):
    model = MODELS[name]()
    if masked:
        model.compile("sgd", "mse")
        tfl.hold(model, random_masks(model))
    x = np.random.default_rng(0).standard_normal((3, 10)).astype("float32")
    path, report = shipped(model, tmp_path, "flash", compare_on=x)
    output, = run(path, [x], 3)
    np.testing.assert_allclose(output[0], model(x), atol=1e-5)
    assert bool(tfl.masks_of(model)) == masked


@pytest.mark.slow
def test_layers_that_hold_masks(tmp_path):
    model = tfl.layers.wrap(MODELS["functional"]())
    masks = random_masks(model)
    tfl.hold(model, masks)
    path, _ = shipped(model, tmp_path, "flash")
    zeros = sum(c.zeros for c in export.inspect(path).constants)
    assert zeros == sum(int((~mask).sum()) for mask in masks.values())


@pytest.mark.slow
def test_several_inputs_and_outputs_keep_their_order(tmp_path):
    z, a = keras.Input((4,), name="z"), keras.Input((3,), name="a")
    first = keras.layers.Dense(2, name="zz")(z)
    second = keras.layers.Dense(5, name="aa")(keras.layers.Concatenate()(
        [a, z]
    ))
    model = keras.Model([z, a], [first, second])
    path, report = shipped(model, tmp_path)
    inputs = [np.ones((1, 4), "float32"), np.zeros((1, 3), "float32")]
    found = run(path, inputs)
    for output, expected in zip(found, model(inputs)):
        np.testing.assert_allclose(output[0], expected, atol=1e-6)


@pytest.mark.slow
def test_outputs_by_name_and_inputs_by_name(tmp_path):
    inputs = {name: keras.Input((4,), name=name) for name in ("b", "a")}
    x = keras.layers.Subtract()([inputs["b"], inputs["a"]])
    model = keras.Model(inputs, {"y": keras.layers.Dense(2)(x), "x": x})
    given = {
        "a": np.ones((2, 4), "float32"), "b": np.full((2, 4), 3, "float32"),
    }
    path, _ = shipped(model, tmp_path, compare_on=given)
    with children.Runtime(export.installed()[0]) as runtime:
        found = runtime.run_signature(
            path.read_bytes(), "serving_default",
            {name: array[:1] for name, array in given.items()},
        )
    expected = model(given)
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name][:1], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "batch_size", conftest.slow_but([None], [None, 1, 4])
)
def test_batches_fixed_and_open(batch_size, tmp_path):
    model = MODELS["sequential"]()
    path, _ = shipped(model, tmp_path, batch_size=batch_size)
    tensor = tf.lite.Interpreter(str(path)).get_input_details()[0]
    assert tensor["shape_signature"][0] == (batch_size or -1)
    x = np.ones((4, 10), "float32")
    if batch_size != 1:
        output, = run(path, [x], 4)
        np.testing.assert_allclose(output[0], model(x), atol=1e-6)


@pytest.mark.slow
def test_integer_inputs(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(11, 4),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    x = np.random.default_rng(0).integers(0, 11, (6, 5))
    path, report = shipped(model, tmp_path, "flash", compare_on=x)
    assert report.shipped.passed


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16"])
def test_half_precision_becomes_float32(policy, tmp_path):
    net = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(6, "relu", dtype=policy),
            keras.layers.Dense(3, dtype="float32"),
        ]
    )
    path, report = shipped(net, tmp_path)
    assert report.shipped.passed and "float32" in report.notes[0]
    x = np.ones((1, 8), "float32")
    np.testing.assert_allclose(run(path, [x])[0][0], net(x), atol=0.02)


@pytest.mark.slow
def test_loops_are_converted(tmp_path):
    model = keras.Sequential(
        [keras.Input((5, 3)), keras.layers.LSTM(4), keras.layers.Dense(2)]
    )
    with pytest.raises(export.ConversionError, match="batch_size=1"):
        shipped(model, tmp_path)
    _, report = shipped(model, tmp_path, batch_size=1)
    assert report.shipped.passed


@pytest.mark.slow
def test_shared_layers_are_stored_once(tmp_path):
    shared = keras.layers.Dense(64, name="shared")
    a = keras.Input((64,))
    model = keras.Model(a, shared(keras.layers.ReLU()(shared(a))))
    kernel = np.zeros((64, 64), "float32")
    kernel[::7, ::3] = 1.0
    shared.kernel.assign(kernel)
    for target in ("flash", "cpu"):
        _, report = shipped(model, tmp_path, target)
        assert report.shipped.passed and len(report.layers) == 2
        assert report.nbytes < kernel.nbytes / 3


@pytest.mark.slow
def test_several_signatures(tmp_path):
    model = MODELS["sequential"]()
    spec = tf.TensorSpec((None, 10), tf.float32)
    functions = {
        "logits": tf.function(
            lambda x: {"y": model(x)}, input_signature=[spec]
        ),
        "hidden": tf.function(
            lambda x: {"h": model.layers[0](x)}, input_signature=[spec]
        ),
    }
    path, report = shipped(
        model, tmp_path, "flash", signatures=functions
    )
    assert sorted(export.inspect(path).signatures) == ["hidden", "logits"]
    assert report.shipped.passed
    with children.Runtime(export.installed()[0]) as runtime:
        x = np.ones((1, 10), "float32")
        found = runtime.run_signature(path.read_bytes(), "logits", {"x": x})
    np.testing.assert_allclose(found["y"], model(x), atol=1e-6)


class TwoInputs(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def call(self, inputs):
        return self.dense(inputs[0] * inputs[1])


@pytest.mark.slow
def test_subclassed_models_learn_their_shapes_from_data(tmp_path):
    model, x = TwoInputs(), [np.ones((2, 4), "float32")] * 2
    model(x)
    _, report = shipped(model, tmp_path, compare_on=x)
    assert report.shipped.passed


def model():
    return MODELS["sequential"]()


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"target": "gpu"}, ValueError, "target='gpu'"),
        ({"quantize": "int4"}, ValueError, "quantize='int4'"),
        ({"quantize": "int8"}, ValueError, "representative_data"),
        (
            {"target": "micro", "quantize": "float16"}, ValueError,
            "float32 or int8",
        ),
        ({"compare_on": (1, 2, 3)}, ValueError, "a tuple of 3"),
        ({"compare_on": np.ones((3, 7))}, ValueError, r"shape \(3, 7\)"),
        ({"compare_on": np.ones((0, 10))}, ValueError, "at least one"),
        (
            {"compare_on": [np.ones((3, 10))] * 2}, ValueError,
            "one array for each input",
        ),
        ({"signatures": {}, "target": "micro"}, ValueError, "signatures"),
    ],
)
def test_wrong_arguments(arguments, error, message, tmp_path):
    with pytest.raises(error, match=message):
        export.tflite(model(), tmp_path / "m.tflite", **arguments)
    assert not list(tmp_path.iterdir())


class Dense16(export.targets.Target):
    name, dtypes = "dense-16", ("float32", "float16")

    def choose(self, found):
        return found[-1]


@pytest.mark.slow
def test_a_target_of_ones_own(tmp_path):
    _, report = shipped(model(), tmp_path, Dense16(), "float16")
    assert report.target == "dense-16"
    assert report.shipped.name == "float16 dense"
    with pytest.raises(ValueError, match="computes in float32 or float16"):
        shipped(model(), tmp_path, Dense16(), "dynamic")


def test_a_batch_needs_as_many_samples(tmp_path):
    with pytest.raises(ValueError, match="batch size is 4"):
        export.tflite(
            model(), tmp_path / "m.tflite", batch_size=4,
            compare_on=np.ones((3, 10)),
        )


def test_paths_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="no directory"):
        export.tflite(model(), tmp_path / "no" / "m.tflite")
    with pytest.raises(PermissionError):
        export.tflite(model(), tmp_path)


def test_models_that_cannot_be_read(tmp_path):
    path = tmp_path / "m.keras"
    with pytest.raises(FileNotFoundError, match="m.keras"):
        export.tflite(path, tmp_path / "m.tflite")
    model().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="m.keras"):
        export.tflite(path, tmp_path / "m.tflite")
    with pytest.raises(TypeError, match="Received: 7"):
        export.tflite(7, tmp_path / "m.tflite")
    with pytest.raises(ValueError, match="not built"):
        unbuilt = keras.Sequential([keras.layers.Dense(2)])
        export.tflite(unbuilt, tmp_path / "m.tflite")


@pytest.mark.slow
def test_open_shapes_need_data(tmp_path):
    inputs = keras.Input((None, 4))
    x = keras.layers.Conv1D(3, 2)(inputs)
    net = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(x))
    with pytest.raises(ValueError, match="open shape"):
        export.tflite(net, tmp_path / "m.tflite")
    data = np.random.default_rng(0).normal(size=(8, 6, 4))
    _, report = shipped(net, tmp_path, compare_on=data)
    assert report.shipped.passed


def test_micro_needs_its_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(children, "micro_installed", lambda: False)
    with pytest.raises(ImportError, match=r"pip install tf_lottery\[micro\]"):
        export.tflite(model(), tmp_path / "m.tflite", "micro")


def test_open_sizes_are_set_by_input_shapes():
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(4)])
    for given in ((5, 3), {model.inputs[0].name: (5, 3)}):
        found = sources.open_model(model, 1, input_shapes=given)
        assert tuple(found.specs[0].shape) == (1, 5, 3)
    for wrong in ((5, 4), (3,), {"nowhere": (5, 3)}):
        with pytest.raises(ValueError, match="input_shapes"):
            sources.open_model(model, 1, input_shapes=wrong)


def test_strings_are_refused_with_the_way_out():
    model = keras.Sequential([
        keras.Input((1,), dtype="string"),
        keras.layers.TextVectorization(
            output_sequence_length=4, vocabulary=["a", "b"]
        ),
        keras.layers.Embedding(4, 3),
    ])
    with pytest.raises(ValueError, match="behind its text layer"):
        sources.open_model(model)


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not")
def test_models_that_keras_quantised_are_refused_with_the_reason():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8)])
    model.quantize("int8")
    with pytest.raises(ValueError, match="were quantised by Keras"):
        sources.open_model(model)


@pytest.mark.slow
def test_lora_is_in_the_file(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8)])
    plain = model(np.ones((1, 4), "float32"))
    model.layers[0].enable_lora(2)
    model.layers[0].lora_kernel_b.assign(np.ones((2, 8)))
    path, _ = shipped(model, tmp_path, "flash")
    output, = run(path, [np.ones((1, 4), "float32")])
    assert np.abs(output[0] - plain).max() > 1e-3
    np.testing.assert_allclose(
        output[0], model(np.ones((1, 4), "float32")), atol=1e-6
    )
