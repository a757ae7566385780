"""Files that a process under TensorFlow makes, of a model of this one."""

import importlib.util

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tests import conftest
from tf_lottery import export
from tf_lottery.export import elsewhere as elsewhere_lib
from tf_lottery.utils import backends


class Doubled(keras.layers.Layer):
    """Of no module that a process must import to load a file."""

    def call(self, inputs):
        return 2.0 * inputs


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    monkeypatch.setattr(backends, "is_tensorflow", lambda: False)


@pytest.fixture
def model():
    normalization = keras.layers.Normalization(name="norm")
    normalization.adapt(np.random.default_rng(0).normal(3, 2, (50, 6)))
    inputs = keras.Input((6,))
    x = keras.layers.Dense(16, "relu", name="fc")(normalization(inputs))
    outputs = {
        "a": keras.layers.Dense(3, name="a")(Doubled(name="doubled")(x)),
        "b": keras.layers.Dense(2, name="b")(x),
    }
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    tfl.prune(model, 0.6)
    return model


def samples():
    return np.random.default_rng(1).normal(3, 2, (12, 6)).astype("float32")


def test_a_file_computes_what_the_model_here_does(model, tmp_path):
    def last(labels, outputs):
        said.append(outputs)
        return labels[-1] + outputs["b"][0, 0]

    said = []
    report = export.tflite(
        model, tmp_path / "m.tflite", "flash", quantize="int8",
        representative_data=samples(), seconds=0, metric=last,
        compare_on=(samples(), np.arange(12)), progress=said.append,
    )
    assert report.shipped.quantize == "int8"
    assert report.path == str(tmp_path / "m.tflite")
    assert report.nbytes == (tmp_path / "m.tflite").stat().st_size
    outputs = model(samples())
    b = keras.ops.convert_to_numpy(outputs["b"])
    assert report.metric == pytest.approx(11 + b[0, 0], abs=1e-5)
    assert report.metric_name == "last"
    assert "converting to int8" in said
    assert all(row.error < 0.1 for row in report.rows)


def test_another_function_here_is_no_file(model, tmp_path, monkeypatch):
    def call(inputs):
        return 2.01 * inputs

    for layer in model.layers:
        if isinstance(layer, Doubled):
            monkeypatch.setattr(layer, "call", call)
    # What is exported is a copy without masks; let it be this very model.
    monkeypatch.setattr(export.tflite.__globals__["sources"], "plain",
                        lambda model: (model, []))
    with pytest.raises(tfl.export.VerificationError, match="Keras model"):
        export.tflite(model, tmp_path / "m.tflite", seconds=0)
    assert not list(tmp_path.iterdir())


def test_ranges_of_int8_are_sent_along():
    model = conftest.functional()
    aware = tfl.quantize.aware(model)
    aware.compile("sgd", conftest.loss())
    rng = np.random.default_rng(0)
    aware.fit(rng.normal(size=(16, 10)), np.arange(16) % 4, verbose=0)
    sent = {
        key: keras.ops.convert_to_numpy(variable)
        for key, variable in elsewhere_lib.variables(aware).items()
    }
    again = type(aware).from_config(aware.get_config())
    elsewhere_lib.Model(again, sent, None, []).filled()
    ranges = [
        [layer.ranges for layer in each.layers if hasattr(layer, "ranges")]
        for each in (aware, again)
    ]
    assert ranges[0] == ranges[1] and ranges[0]
    tfl.quantize.check_trained(again)


def test_arguments_are_checked_as_ever(model, tmp_path):
    with pytest.raises(ValueError, match="needs `representative_data`"):
        export.tflite(model, tmp_path / "m.tflite", quantize="int8")
    with pytest.raises(ValueError, match="Received: backend.*Expected: None"):
        export.tflite(model, tmp_path / "m.tflite", signatures={"f": len})
    with pytest.raises(FileNotFoundError, match="no model file"):
        export.tflite(tmp_path / "none.keras", tmp_path / "m.tflite")


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("tf2onnx", "onnxruntime"))),
    reason="the extra onnx is not installed",
)
def test_an_onnx_file_computes_what_the_model_here_does(model, tmp_path):
    path = tmp_path / "m.onnx"
    report = tfl.export.onnx(model, path, samples())
    assert report.path == str(path)
    assert report.nbytes == path.stat().st_size
    assert report.check.passed
    zeros = {kernel.key: kernel.zeros for kernel in report.kernels}
    assert sum(zeros.values()) > 0
