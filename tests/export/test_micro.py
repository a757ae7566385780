"""Bitmap weights: the format by hand, and the runtime that reads it."""

import shutil
import subprocess

import keras
import numpy as np
import pytest

from tf_lottery import export
from tf_lottery.export import children
from tf_lottery.export import convert
from tf_lottery.export import flatbuffer
from tf_lottery.export import sources
from tf_lottery.export.targets import micro

needs_runtime = pytest.mark.skipif(
    not children.micro_installed(), reason="tflite-micro is not installed"
)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    found = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, activation="relu", name="conv"),
            layers.DepthwiseConv2D(3, name="depthwise"),
            layers.Flatten(),
            layers.Dense(48, "relu", name="fc"),
            layers.Dense(5, name="logits"),
        ]
    )
    for layer in found.layers:
        for variable in layer.weights:
            if variable.name == "kernel":
                value = keras.ops.convert_to_numpy(variable)
                limit = np.quantile(np.abs(value), 0.9)
                variable.assign(value * (np.abs(value) >= limit))
    return found


def data(number=20):
    rng = np.random.default_rng(0)
    return rng.standard_normal((number, 8, 8, 1)).astype("float32")


@pytest.mark.parametrize("quantize", ["float32", "int8"])
def test_the_format_restores_the_weights(model, quantize, child):
    source = sources.open_model(model, batch_size=1)
    converter = convert.Converter(source, [data()], child=child)
    dense = converter.convert(quantize)
    content, layers = micro.encode(dense)
    before = {
        w.name: flatbuffer.stored(flatbuffer.read(dense), w.tensor)
        for w in flatbuffer.weights(flatbuffer.read(dense))
    }
    after = flatbuffer.read(content)
    graph, seen = after.subgraphs[0], 0
    for operator in graph.operators:
        if flatbuffer.operator_name(after, operator) != "TFLM_DECODE":
            continue
        bitmap, values = (
            flatbuffer.raw(after, graph.tensors[i]) for i in operator.inputs
        )
        output = graph.tensors[operator.outputs[0]]
        expected = before[flatbuffer.text(output.name)]
        assert values[:16].tolist() == [2, 1, 0, 0, 1] + 11 * [0]
        kept = np.unpackbits(bitmap)[:expected.size].astype(bool)
        restored = np.zeros_like(expected)
        restored[kept] = np.frombuffer(
            values[16:].tobytes(), expected.dtype
        )
        np.testing.assert_array_equal(restored, expected)
        seen += 1
    assert seen == sum(layer.form == "bitmap" for layer in layers) >= 1
    assert len(content) < len(dense)


@needs_runtime
@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.some(1)
def test_outputs_equal_those_of_the_dense_file(model, quantize, tmp_path):
    x = data()
    report = export.tflite(
        model, tmp_path / "tiny-net.tflite", "micro", quantize,
        representative_data=x, compact=False, seconds=0,
    )
    name = f"{quantize or 'float32'} bitmap"
    assert report.shipped.name == name and report.runtimes == ["tflite_micro"]
    check, = report.shipped.checks
    assert check.error == check.limit == 0.0
    by_name = {row.name: row for row in report.rows}
    dense = by_name[name.replace("bitmap", "dense")]
    assert report.nbytes < 0.5 * dense.nbytes
    assert report.shipped.arena > dense.arena > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "tiny-net.tflite", "tiny_net.c", "tiny_net.h"
    ]


@needs_runtime
def test_open_shapes_are_refused(tmp_path):
    inputs = keras.Input((None, 4))
    net = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(inputs))
    with pytest.raises(ValueError, match="fixed shapes only"):
        export.tflite(net, tmp_path / "m.tflite", "micro")


def test_the_source_holds_the_file():
    content = bytes(range(256)) + b"end"
    header, source = micro.source_pair(content, "net")
    body = source[source.index("{") + 1:source.index("}")]
    assert bytes(int(n, 16) for n in body.split(",")) == content
    assert "net_len = 259" in source and '#include "net.h"' in source
    with pytest.raises(ValueError, match="2net"):
        micro.source_pair(content, "2net")


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
@pytest.mark.parametrize("stem", ["net", "int", "main", "2net", "new"])
def test_the_source_compiles(stem, tmp_path):
    written = micro.Micro().write_sources(
        tmp_path / f"{stem}.tflite", b"TFL3" * 9, None
    )
    assert len(written) == 2
    subprocess.run(
        ["cc", "-std=c11", "-Wall", "-Werror", "-c", written[1]],
        cwd=tmp_path, check=True, capture_output=True,
    )


@pytest.mark.slow
@needs_runtime
def test_runtimes_that_are_asked_for_decide(model, tmp_path):
    wanted = ["tensorflow", "tflite_micro"]
    either, both = (
        export.tflite(
            model, tmp_path / "m.tflite", "flash", batch_size=1, seconds=0,
            runtimes=runtimes,
        ) for runtimes in (wanted[:1], wanted)
    )
    assert either.shipped.name == "float32 sparse"
    assert "TFLM" not in either.shipped.runs_in
    assert any("DENSIFY" in note for note in either.notes)
    assert both.shipped.name == "float32 dense"
    assert both.shipped.runs_in == ["TensorFlow Lite", "TFLM"]
    assert "DENSIFY" in both.rows[1].verdict
