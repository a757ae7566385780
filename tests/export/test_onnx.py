"""Files of ONNX: run, compared, and their zeros counted."""

import importlib.util

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tf_lottery import structured
from tf_lottery.export import initializers

converter = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("tf2onnx", "onnxruntime"))),
    reason="the extra onnx is not installed",
)


def image_model():
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.RandomFlip(seed=0)(inputs)
    x = keras.layers.Conv2D(8, 3, use_bias=False, name="conv")(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.DepthwiseConv2D(3, name="depth")(x)
    x = keras.layers.Flatten()(x)
    outputs = {
        "a": keras.layers.Dense(10, name="a")(x),
        "b": keras.layers.Dense(4, name="b")(x),
    }
    return keras.Model(inputs, outputs, name="net")


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    model = image_model()
    model.compile("sgd", "mse")
    tfl.prune(model, 0.8, scope="layer", include="depth")
    return model


def counted(report):
    return {kernel.key: kernel for kernel in report.kernels}


@converter
def test_a_file_has_the_outputs_and_the_zeros_of_its_model(model, tmp_path):
    import onnxruntime

    path = tmp_path / "m.onnx"
    report = tfl.export.onnx(model, path, compact=False)
    images = np.random.default_rng(1).normal(size=(5, 8, 8, 3))
    session = onnxruntime.InferenceSession(path)
    found = session.run(None, {"image": images.astype("float32")})
    wanted = model.predict(images, verbose=0)
    for output, name in zip(found, "ab"):
        np.testing.assert_allclose(output, wanted[name], atol=1e-5)
    assert [path] == list(tmp_path.iterdir())
    assert report.nbytes == path.stat().st_size > report.compressed
    kernels = counted(report)
    assert kernels["conv/kernel"].zeros == round(0.8 * 216) == (
        kernels["conv/kernel"].found
    )
    assert all(k.found >= k.zeros > 0 for k in kernels.values())
    assert f"{kernels['a/kernel'].zeros:,}" in str(report)
    assert report.to_dict()["check"]["runtime"] == "onnxruntime"


@converter
def test_dead_units_are_removed_and_small_models_taken(model, tmp_path):
    small = structured.shrink(model, structured.plan(model, 0.5))
    whole = tfl.export.onnx(model, tmp_path / "m.onnx")
    report = tfl.export.onnx(small, tmp_path / "small.onnx", batch_size=2)
    assert report.nbytes < whole.nbytes
    assert report.check.passed


@converter
@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((6,), keras.layers.Activation("gelu")),
        ((6,), keras.layers.Activation("celu")),
        ((6,), keras.layers.Lambda(keras.ops.log1p)),
        ((9, 9, 4), keras.layers.Conv2D(8, 3, groups=4)),
    ],
    ids=("Erfc", "Expm1", "Log1p", "StatefulPartitionedCall"),
)
def test_operators_that_the_converter_leaves(tmp_path, shape, layer):
    model = keras.Sequential(
        [keras.Input(shape), keras.layers.ReLU(), layer, keras.layers.Dense(2)]
    )
    assert tfl.export.onnx(model, tmp_path / "m.onnx").check.passed


class Net(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = keras.layers.Dense(8, "relu")
        self.outer = keras.layers.Dense(2)

    def call(self, inputs):
        return self.outer(self.inner(inputs))


@converter
def test_no_warning_of_the_small_model(tmp_path):
    model = Net()
    model(np.ones((1, 4), "float32"))
    model.inner.kernel.assign(model.inner.kernel * ([0.0] * 4 + [1.0] * 4))
    report = tfl.export.onnx(model, tmp_path / "m.onnx")
    assert "4 dead units were removed" in str(report)


@converter
def test_sizes_may_be_open(tmp_path):
    model = keras.Sequential([
        keras.Input((None, 4), name="time"), keras.layers.Conv1D(5, 3),
        keras.layers.GlobalMaxPooling1D(), keras.layers.Dense(3),
    ])
    with pytest.raises(ValueError, match="open shape"):
        tfl.export.onnx(model, tmp_path / "m.onnx")
    samples = np.ones((3, 7, 4), "float32")
    assert tfl.export.onnx(
        model, tmp_path / "m.onnx", compare_on=(samples, np.zeros(3))
    ).check.passed


@converter
def test_a_wrong_file_is_not_written(model, tmp_path, monkeypatch):
    names = tfl.export.onnx.__globals__
    converted = names["_converted"]

    def of_another(source, opset_version):
        kernel = source.model.get_layer("b").kernel
        before = keras.ops.convert_to_numpy(kernel)
        kernel.assign(before + 1e-3)
        content = converted(source, opset_version)
        kernel.assign(before)
        return content

    monkeypatch.setitem(names, "_converted", of_another)
    with pytest.raises(tfl.export.VerificationError) as raised:
        tfl.export.onnx(model, tmp_path / "m.onnx", compact=False)
    assert "difference to the Keras model" in str(raised.value)
    assert "'b/kernel': 0 zeros in the file" in str(raised.value)
    assert not list(tmp_path.iterdir())


@converter
def test_what_the_converter_lacks_is_named(tmp_path):
    inputs = keras.Input((4, 4))
    model = keras.Model(inputs, keras.ops.slogdet(inputs)[1])
    with pytest.raises(tfl.export.ConversionError, match="No Op.*Determinant"):
        tfl.export.onnx(model, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@converter
def test_kernels_that_cannot_be_told_apart_are_not_counted(tmp_path):
    import onnx

    model = keras.Sequential([
        keras.Input((3,)), keras.layers.Dense(3, name="a"),
        keras.layers.Dense(3, name="b"),
    ])
    graph = onnx.helper.make_graph([], "g", [], [], [
        onnx.numpy_helper.from_array(np.ones((3, 3), "float32"), "c")
    ])
    content = onnx.helper.make_model(graph).SerializeToString()
    found = initializers.compare(model, content)
    assert [kernel.found for kernel in found] == [None, None]


def test_what_is_missing_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"tf_lottery\[onnx\]"):
        tfl.export.onnx(model, tmp_path / "m.onnx")
