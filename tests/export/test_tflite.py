"""Every file that is shipped computes what the model computes."""

import gzip
import json
import logging
import pathlib
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_lottery as tfl
from tests.page_reader import Page
from tf_lottery import experiments
from tf_lottery import export
from tf_lottery.export import candidates
from tf_lottery.export import check
from tf_lottery.export import children
from tf_lottery.export import convert
from tf_lottery.export import examining
from tf_lottery.export import runner
from tf_lottery.export import samples as samples_lib
from tf_lottery.export import sources
from tf_lottery.export import traced

_LOGGERS = ("absl", "tensorflow", None)
QUANTIZATIONS = ("float32", "float16", "dynamic", "int8")


def prune(model, sparsity, block=1):
    """Magnitude pruning in blocks along the inputs, at least one left."""
    for layer in model.layers:
        for variable in layer.weights:
            if "kernel" in variable.name:
                value = keras.ops.convert_to_numpy(variable)
                size = block if value.shape[-2] % block == 0 else 1
                score = np.abs(value).reshape(
                    *value.shape[:-2], -1, size, value.shape[-1]
                ).sum(-2)
                kept = score >= np.quantile(score, sparsity)
                variable.assign(value * np.repeat(kept, size, axis=-2))
    return model


def dense_net(inputs=512, units=256, sparsity=0.9, block=1):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((inputs,)),
            keras.layers.Dense(units, "relu", name="fc1"),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    return prune(model, sparsity, block)


def conv_net(sparsity=0.9):
    keras.utils.set_random_seed(1)
    layers = keras.layers
    return prune(
        keras.Sequential(
            [
                keras.Input((10, 10, 3)),
                layers.Conv2D(16, 3, 2, "same", activation="relu"),
                layers.BatchNormalization(),
                layers.DepthwiseConv2D(3, padding="same"),
                layers.Conv2D(64, 1, activation="relu"),
                layers.Conv2D(48, 3, activation="relu"),
                layers.Conv2DTranspose(16, 3),
                layers.GlobalAveragePooling2D(),
                layers.Dense(10),
            ]
        ),
        sparsity,
    )


def normal(model, number=30, seed=0):
    rng = np.random.default_rng(seed)
    shape = (number, *model.input_shape[1:])
    return rng.standard_normal(shape).astype("float32")


@pytest.fixture(scope="module")
def runtimes(child):
    found = [children.Runtime(name) for name in export.installed()[:-1]]
    for runtime in found:
        runtime.start()
    yield [*found, child]
    for runtime in found:
        runtime.close()


@pytest.fixture
def light(monkeypatch):
    """One runtime: TensorFlow's takes seconds to start."""
    name = export.installed()[:1]
    monkeypatch.setattr(examining.children, "installed", lambda: name)


def made(model, quantize, target, runtimes):
    """Returns the candidates of one data type, checked."""
    source = sources.open_model(model)
    x = [normal(model)]
    converter = convert.Converter(source, x, child=runtimes[-1])
    dense = converter.convert(quantize)
    found = candidates.make(dense, quantize, export.targets.get(target))
    samples = samples_lib.Samples.of(source, [x[0][:4]], 1)
    checker = check.Checker(runtimes, samples)
    for candidate in found:
        candidate.row.checks = checker.check(
            candidate.content, quantize, candidate is found[0]
        )
    return found


@pytest.mark.some(3)
@pytest.mark.parametrize("sparsity", [0.95, 0.97, 0.98, 0.99])
@pytest.mark.parametrize("quantize", QUANTIZATIONS)
def test_very_sparse_files_are_right_and_small(quantize, sparsity, runtimes):
    model = dense_net(sparsity=sparsity)
    dense, *others = made(model, quantize, "flash", runtimes)
    assert dense.row.passed
    if quantize == "int8" and not others:
        # Random zeros, no 1x16 blocks: nothing that every runtime takes.
        return
    sparse, = others
    assert sparse.row.passed, sparse.row.verdict
    assert sparse.row.nbytes < dense.row.nbytes
    if quantize != "int8":
        # The converter doubles files here, by blocks: index and value only.
        nonzero = sum(layer.size - layer.zeros for layer in sparse.row.layers)
        width = {"float32": 6, "float16": 4, "dynamic": 3}[quantize]
        assert sparse.row.nbytes < width * nonzero + 13_000


@pytest.mark.some(3)
@pytest.mark.parametrize("quantize", QUANTIZATIONS)
@pytest.mark.parametrize("target", ["size", "flash", "arm"])
def test_convolutions_are_right(quantize, target, runtimes):
    dense, *others = made(conv_net(), quantize, target, runtimes)
    assert dense.row.passed
    for sparse in others:
        assert sparse.row.passed, sparse.row.verdict
    if target == "flash":
        assert others and others[0].row.nbytes < 0.8 * dense.row.nbytes


@pytest.mark.slow
@pytest.mark.some(1)
@pytest.mark.parametrize("sparsity", [0.0, 0.4, 0.7, 0.99])
def test_no_file_is_larger_than_the_dense_one(sparsity, child):
    for model in (conv_net(sparsity), dense_net(96, 64, sparsity)):
        source = sources.open_model(model)
        converter = convert.Converter(source, [normal(model)], child=child)
        for quantize in QUANTIZATIONS:
            content = converter.convert(quantize)
            for target in export.targets.TARGETS:
                dense, *others = candidates.make(
                    content, quantize, export.targets.get(target)
                )
                for other in others:
                    assert other.row.nbytes <= dense.row.nbytes
                    assert target != "size" or (
                        other.row.compressed < dense.row.compressed
                    )
                if sparsity == 0:
                    assert not others


@pytest.mark.parametrize("block, form", [(1, "direct"), (4, "blocks")])
def test_fully_connected_runs_sparse_where_it_pays(block, form, runtimes):
    model = dense_net(sparsity=0.95, block=block)
    dense, sparse = made(model, "float32", "cpu", runtimes)
    assert sparse.row.passed, sparse.row.verdict
    layers = {layer.name.split("/")[1]: layer for layer in sparse.row.layers}
    assert layers["fc1_1"].form == form and layers["fc1_1"].runs_sparse
    found, = (
        constant for constant in export.inspect(sparse.content).constants
        if "fc1" in constant.name
    )
    assert found.sparse and not found.via
    assert sparse.row.nbytes < dense.row.nbytes


def test_half_sparse_fully_connected_runs_dense(runtimes):
    model = dense_net(sparsity=0.5)
    dense, sparse = made(model, "float32", "cpu", runtimes)
    assert not any(layer.runs_sparse for layer in sparse.row.layers)
    assert "do not pay" in sparse.row.layers[0].reason


@pytest.fixture(scope="module")
def digits():
    data = experiments.load("digits")
    model = experiments.models.lenet_300_100((8, 8, 1))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(data.x_train, data.y_train, epochs=2, verbose=0)
    tfl.prune(model, sparsity=0.9)
    model.fit(data.x_train, data.y_train, epochs=3, verbose=0)
    return model, data


@pytest.fixture(scope="module")
def everything(digits, tmp_path_factory):
    """One export that tries all there is, in every runtime."""
    model, data = digits
    path = tmp_path_factory.mktemp("all") / "m.tflite"
    said = []
    report = export.tflite(
        model, path, quantize="auto", representative_data=data.x_train[:100],
        compare_on=(data.x_test, data.y_test), seconds=0.05,
        progress=said.append,
    )
    return path, report, said


@pytest.mark.slow
def test_accuracies_on_digits(digits, everything):
    model, data = digits
    _, report, _ = everything
    said = model.predict(data.x_test, verbose=0).argmax(-1)
    assert report.metric == np.mean(said == data.y_test)
    for row in report.rows:
        # One of 447 images is 0.22 points.
        allowed = 0 if row.quantize == "float32" else 0.01
        assert abs(row.metric - report.metric) <= allowed


@pytest.mark.slow
def test_all_candidates_are_in_the_report(everything):
    path, report, said = everything
    names = [row.name for row in report.rows]
    assert names[0] == "float32 dense"
    for quantize in QUANTIZATIONS:
        assert f"{quantize} dense" in names
    assert {"float32 sparse", "float32 sparse kernels"} < set(names)
    assert all(row.passed for row in report.rows)
    assert report.runtimes == export.installed()
    assert report.shipped.nbytes == path.stat().st_size == report.nbytes
    assert "checking float32 dense" in said
    whole = 64 * 300 + 300 * 100 + 100 * 10
    # What is dead is gone: hardly anything at this sparsity.
    assert 0.95 * whole < report.macs <= whole
    assert report.effective_macs == pytest.approx(whole / 10, rel=0.02)


@pytest.mark.slow
def test_the_file_that_was_checked_is_the_one_written(everything, digits):
    path, report, _ = everything
    model, data = digits
    with children.Runtime(export.installed()[0]) as runtime:
        output, = runtime.run(path.read_bytes(), [data.x_test[:3]], 3)
    expected = model.predict(data.x_test[:3], verbose=0)
    error = check.relative_error([output[0]], [expected])
    assert error <= max(report.shipped.error, 0.1)
    assert [p.name for p in path.parent.iterdir()] == ["m.tflite"]


@pytest.mark.slow
def test_reports_are_written(everything, tmp_path):
    _, report, _ = everything
    for name in ("r.html", "r.json"):
        report.save(tmp_path / name)
    page = Page((tmp_path / "r.html").read_text())
    size, latency = page.charts
    for chart in page.charts:
        records = chart["data"]["values"]
        assert [r["name"] for r in records] == [r.name for r in report.rows]
        assert [r["marked"] for r in records] == [
            row.shipped for row in report.rows
        ]
    assert [r["value"] for r in size["data"]["values"]] == [
        row.nbytes for row in report.rows
    ]
    assert page.loaded == page.links == []
    found = json.loads((tmp_path / "r.json").read_text())
    assert len(found["rows"]) == len(report.rows)
    assert found["rows"][0]["checks"][0]["runtime"] in export.installed()
    assert "float32 sparse kernels" in str(report)
    with pytest.raises(ValueError, match="r.txt"):
        report.save(tmp_path / "r.txt")


def test_masks_end_in_the_file_and_stay_on_the_model(digits, light, tmp_path):
    model, data = digits
    masks = tfl.masks_of(model)
    assert masks
    model.save(tmp_path / "m.keras")
    for given in (model, tmp_path / "m.keras"):
        path = tmp_path / "m.tflite"
        export.tflite(given, path, "flash", compact=False, seconds=0)
        constants = export.inspect(path).constants
        assert sum(c.zeros for c in constants) == sum(
            int(np.sum(~mask)) for mask in masks.values()
        )
    assert tfl.masks_of(model).keys() == masks.keys()


@pytest.mark.slow
def test_gz_is_written_compressed(light, tmp_path):
    model = dense_net(64, 64)
    path = tmp_path / "m.tflite.gz"
    report = export.tflite(model, path, "size", seconds=0)
    assert path.stat().st_size == report.compressed < report.nbytes
    content = gzip.decompress(path.read_bytes())
    assert len(content) == report.nbytes
    assert export.inspect(content).constants


def test_no_zeros_ships_dense_and_says_so(light, tmp_path):
    model = dense_net(64, 64, sparsity=0.0)
    report = export.tflite(model, tmp_path / "m.tflite", "flash", seconds=0)
    assert report.shipped.name == "float32 dense"
    assert "no zeros" in str(report)


def crash_on(monkeypatch, tmp_path, word):
    source = pathlib.Path(runner.__file__).read_text()
    script = tmp_path / "runner.py"
    script.write_text(source.replace(
        "if __name__",
        "def guarded(open_file, model, **rest):\n"
        f"    if {word!r} in open(model, 'rb').read():\n"
        "        os.kill(os.getpid(), 11)\n"
        "    return run(open_file, model, **rest)\n"
        "_REQUESTS['run'] = guarded\nif __name__",
    ))
    fake = types.SimpleNamespace(__file__=str(script))
    monkeypatch.setattr(children, "runner", fake)


@pytest.mark.slow
def test_a_candidate_that_crashes_is_not_shipped(
    light, monkeypatch, tmp_path
):
    crash_on(monkeypatch, tmp_path, b"/sparse")
    out = tmp_path / "out" / "m.tflite"
    out.parent.mkdir()
    report = export.tflite(dense_net(64, 64), out, "flash", seconds=0)
    assert report.shipped.name == "float32 dense"
    assert "SIGSEGV" in report.rows[1].verdict


@pytest.mark.slow
def test_if_all_crash_there_is_an_error_and_no_file(
    light, monkeypatch, tmp_path
):
    crash_on(monkeypatch, tmp_path, b"TFL3")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(export.VerificationError, match="SIGSEGV") as caught:
        export.tflite(dense_net(64, 64), out / "m.tflite", "flash", seconds=0)
    assert caught.value.failures[0].runtime == export.installed()[0]
    assert not list(out.iterdir())


def test_wrong_numbers_are_an_error_and_no_file(light, monkeypatch, tmp_path):
    monkeypatch.setattr(traced.Source, "call", lambda *_: [np.ones((1, 10))])
    with pytest.raises(export.VerificationError, match="the Keras model"):
        export.tflite(dense_net(64, 64), tmp_path / "m.tflite", seconds=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("step", ["converting", "checking", "measuring"])
def test_interrupted_leaves_what_was_there(light, tmp_path, step):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"before")

    def interrupt(said):
        if said.startswith(step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export.tflite(dense_net(64, 64), path, progress=interrupt)
    assert [p.name for p in tmp_path.iterdir()] == ["m.tflite"]
    assert path.read_bytes() == b"before"


class Inverse(keras.layers.Layer):
    def call(self, inputs):
        return tf.linalg.inv(inputs)


@pytest.mark.slow
def test_unsupported_operators_are_named_and_had_on_request(tmp_path):
    model = keras.Sequential([keras.Input((4, 4)), Inverse()])
    path = tmp_path / "m.tflite"
    with pytest.raises(export.ConversionError, match="MatrixInverse") as caught:
        export.tflite(model, path)
    assert "select_tf_ops=True" in str(caught.value) and not path.exists()
    source = sources.open_model(model)
    content = convert.Converter(source, select_tf_ops=True).convert()
    assert "FlexMatrixInverse" in export.inspect(content).operators
    # TensorFlow's wheel may come without the delegate: then nothing is
    # written that nothing here could run.
    try:
        report = export.tflite(model, path, select_tf_ops=True, seconds=0)
        assert report.runtimes == ["tensorflow"] and report.shipped.passed
    except export.VerificationError as error:
        assert "Flex delegate" in str(error) and not path.exists()


def test_int8_where_a_layer_is_always_zero(child):
    model = dense_net(12, 4, sparsity=0)
    dead = model.layers[0].kernel
    dead.assign(-keras.ops.abs(dead))
    x = np.random.default_rng(0).random((32, 12), "float32")
    converter = convert.Converter(sources.open_model(model), [x], child=child)
    # XNNPACK would fail at scales that differ this much.
    (found,) = child.run(converter.convert("int8"), [x], 32)
    np.testing.assert_array_equal(found[0], np.zeros((32, 10)))


def test_conversion_is_quiet_and_leaves_no_log_handler(capfd, child):
    handlers = [logging.getLogger(n).handlers[:] for n in _LOGGERS]
    source, x = sources.open_model(dense_net(8, 8)), np.ones((2, 8), "float32")
    convert.Converter(source, [x], child=child).convert("int8")
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert handlers == [logging.getLogger(n).handlers for n in _LOGGERS]


def net_with_dead_units():
    model = dense_net(64, 32, sparsity=0.5)
    kernel = keras.ops.convert_to_numpy(model.get_layer("logits").kernel)
    kernel = kernel.copy()
    kernel[:12] = 0
    model.get_layer("logits").kernel.assign(kernel)
    return model


@pytest.mark.slow
def test_dead_units_are_removed_first(tmp_path):
    model = net_with_dead_units()
    x = np.random.default_rng(0).normal(size=(8, 64)).astype("float32")
    path = tmp_path / "m.tflite"
    narrow = export.tflite(model, path, "flash", compare_on=x, seconds=0)
    assert "12 dead units were removed" in narrow.notes[0]
    assert narrow.rows[0].error < 1e-5
    assert model.get_layer("fc1").units == 32
    interpreter = tf.lite.Interpreter(str(path))
    interpreter.resize_tensor_input(0, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    found = interpreter.get_tensor(
        interpreter.get_output_details()[0]["index"]
    )
    np.testing.assert_allclose(found, model(x), rtol=1e-4, atol=1e-5)
    wide = export.tflite(
        model, path, "flash", compare_on=x, seconds=0, compact=False
    )
    assert narrow.rows[0].nbytes < wide.rows[0].nbytes


@pytest.mark.slow
def test_models_that_are_no_graph_are_not_narrowed(tmp_path):
    class Opaque(keras.Model):
        def __init__(self):
            super().__init__()
            self.fc = keras.layers.Dense(8, name="fc")

        def call(self, inputs):
            return self.fc(tf.sin(inputs))

    model = Opaque()
    model(np.ones((1, 4), "float32"))
    model.fc.kernel.assign(np.eye(4, 8))
    report = export.tflite(
        model, tmp_path / "m.tflite", "flash",
        compare_on=np.ones((2, 4), "float32"), seconds=0,
    )
    assert any("left where they are" in note for note in report.notes)


@pytest.mark.slow
def test_nothing_dead_says_nothing(tmp_path):
    report = export.tflite(
        dense_net(64, 32, sparsity=0.2), tmp_path / "m.tflite", "flash",
        seconds=0,
    )
    assert not any("dead" in note for note in report.notes)


@pytest.mark.parametrize("target, floats", [
    ("size", True),
    pytest.param("micro", False, marks=pytest.mark.skipif(
        not children.micro_installed(), reason="the extra micro is not there"
    )),
])
def test_products_of_activations_where_xnnpack_runs_them(
    target, floats, tmp_path
):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2, 8, 16), batch_size=1)
    scores = keras.ops.softmax(inputs[..., :8])
    model = keras.Model(inputs, keras.ops.matmul(scores, inputs[..., 8:]))
    x = np.random.default_rng(0).normal(0.3, size=(100, 2, 8, 16))
    report = tfl.export.tflite(
        model, tmp_path / "m.tflite", target, quantize="int8",
        representative_data=x, compare_on=x,
    )
    assert ("BATCH_MATMUL" in " ".join(report.notes)) == floats
    assert max(check.error for check in report.shipped.checks) < 0.06
