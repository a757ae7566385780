"""Ethos-U: what Vela says is read back, and nothing is written without it."""

import keras
import numpy as np
import pytest

from tests.export.test_tflite import dense_net
from tests.export.test_tflite import light
from tests.export.test_tflite import normal
from tf_lottery import export
from tf_lottery.export import convert
from tf_lottery.export import encoding
from tf_lottery.export import flatbuffer
from tf_lottery.export import inspection
from tf_lottery.export import npu
from tf_lottery.export import sources
from tf_lottery.export import targets
from tf_lottery.export import vela

light = light
needs_vela = pytest.mark.skipif(
    vela.command() is None, reason="ethos-u-vela is not installed"
)


@pytest.fixture(scope="module")
def model():
    return dense_net(sparsity=0.9)


@pytest.fixture(scope="module")
def content(model, child):
    return _converted(model, child, ("int8", "int8"))


def _converted(model, child, dtypes=("float32", "float32"), **options):
    return convert.Converter(
        sources.open_model(model, batch_size=1), [normal(model)],
        child=child, dtypes=dtypes, **options
    ).convert("int8")


@needs_vela
def test_zeros_are_flash_and_time(content):
    compiled, found = vela.compile(content, "ethos-u55-128")
    _, dense = vela.compile(npu.filled(content), "ethos-u55-128")
    assert found.compiler.startswith("Vela ") and not found.on_cpu
    assert found.nbytes == len(compiled)
    assert found.accelerator == "ethos-u55-128"
    assert found.original_weights == 512 * 256 + 256 * 10
    assert found.flash > found.encoded_weights > 0 and found.sram > 0
    assert found.seconds == pytest.approx(found.cycles / 500e6)
    both = npu.Comparison(found, dense)
    assert found.flash < 0.2 * dense.flash and both.speedup > 3
    first, last = dense.operators
    assert first.macs == 512 * 256 and first.cycles == first.memory_cycles
    assert first.reason == "memory-bound: zeros pay"
    assert sum(o.cycles for o in found.operators) == pytest.approx(
        found.cycles, rel=0.01
    )
    cells = {name: row for name, *row in both.cells()}
    assert cells["flash, bytes"][0] == f"{dense.flash:,}"
    assert "time, us" in cells and "DRAM, bytes" not in cells
    assert [row[3] for row in both.operator_cells()] == [
        f"{o.cycles:,}" for o in found.operators
    ]
    assert "estimates, nothing was run" in str(both)


@needs_vela
def test_what_is_left_to_the_cpu_says_why(model, child):
    floats = _converted(model, child)
    _, found = vela.compile(floats, "ethos-u85-256")
    assert [o.kind for o in found.on_cpu] == ["Quantize", "Dequantize"]
    assert "unsupported DataType Float32" in found.on_cpu[0].reason
    assert found.flash == 0 < found.dram


@needs_vela
@pytest.mark.parametrize("wrong", ["system_config", "memory_mode"])
def test_configurations_that_vela_does_not_have(wrong, content):
    target = targets.get("ethos-u55", **{wrong: "nowhere"})
    with pytest.raises(vela.CompilationError, match="nowhere not found"):
        target.compile(content)


def test_filled_files_keep_what_was_kept(content):
    before, after = (
        [
            encoding.dense_values(file, weight)
            for weight in flatbuffer.weights(file)
        ] for file in map(flatbuffer.read, (content, npu.filled(content)))
    )
    for zeros, full in zip(before, after):
        assert full.all() and not zeros.all()
        np.testing.assert_array_equal(zeros[zeros != 0], full[zeros != 0])
        assert np.abs(full[zeros == 0]).max() <= np.median(
            np.abs(zeros[zeros != 0])
        )
    assert npu.filled(content) == npu.filled(content)


@pytest.mark.parametrize(
    "target, accelerator, name",
    [
        ("ethos-u55", None, "ethos-u55"),
        ("ethos-u65-512", None, "ethos-u65"),
        ("ethos-u85", "ethos-u85-1024", "ethos-u85"),
    ],
)
def test_targets_by_name(target, accelerator, name):
    assert targets.get(target, accelerator).name == name


@pytest.mark.parametrize(
    "target, accelerator",
    [("ethos-u55", "ethos-u85-256"), ("flash", "ethos-u55-128"),
     ("ethos-u55", "ethos-u55-512"), ("ethos-u55-512", None)],
)
def test_accelerators_that_do_not_exist_or_belong_elsewhere(
    target, accelerator
):
    with pytest.raises(ValueError, match=accelerator or target):
        targets.get(target, accelerator)


def test_only_an_ethos_u_has_modes():
    with pytest.raises(ValueError, match="Only an Ethos-U"):
        targets.get("flash", memory_mode="Shared_Sram")


def test_vela_is_asked_for(model, monkeypatch, tmp_path):
    monkeypatch.setattr(vela, "command", lambda: None)
    with pytest.raises(ImportError, match=r"tf_lottery\[ethosu\]"):
        export.tflite(
            model, tmp_path / "m.tflite", "ethos-u55",
            representative_data=normal(model),
        )
    assert not list(tmp_path.iterdir())


@needs_vela
def test_data_are_asked_for(model, tmp_path):
    with pytest.raises(ValueError, match="representative_data"):
        export.tflite(model, tmp_path / "m.tflite", "ethos-u55-128")


@needs_vela
def test_the_int8_file_and_the_compiled_one_are_written(
    model, light, tmp_path
):
    report = export.tflite(
        model, tmp_path / "m.tflite", "ethos-u55",
        accelerator="ethos-u55-32", compact=False,
        representative_data=(batch for batch in (normal(model),)),
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "m.tflite", "m_vela.tflite"
    ]
    assert report.sources == [str(tmp_path / "m_vela.tflite")]
    assert report.shipped.name == "int8 dense" and report.shipped.passed
    found = inspection.inspect(tmp_path / "m.tflite")
    assert not {"QUANTIZE", "DEQUANTIZE", "DENSIFY"} & set(found.operators)
    assert report.npu.file.accelerator == "ethos-u55-32"
    assert "Ethos-U" in report.shipped.runs_in
    for text in (str(report), report.to_html(), report.to_json()):
        assert report.npu.file.compiler in text
    assert "MAC-bound: shrink" in str(report)


@pytest.mark.slow
@needs_vela
def test_what_vela_refuses_is_not_written(
    model, light, monkeypatch, tmp_path
):
    def refuse(*args):
        raise vela.CompilationError("refused")

    monkeypatch.setattr(vela, "compile", refuse)
    with pytest.raises(vela.CompilationError):
        export.tflite(
            model, tmp_path / "m.tflite", "ethos-u55",
            representative_data=normal(model),
        )
    assert not list(tmp_path.iterdir())


def test_layers_stay_in_float(model, child):
    floats = inspection.inspect(
        _converted(model, child, ("int8", "int8"), float_layers=["logits"])
    ).float_operators
    assert len(floats) == 1 and floats[0].startswith("FULLY_CONNECTED")
    whole = inspection.inspect(_converted(model, child, ("int8", "int8")))
    assert not whole.float_operators
    with pytest.raises(ValueError, match="nowhere"):
        _converted(model, child, float_layers=["nowhere"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Layer InputLayer does not")
def test_loops_do_not_kill_the_process(child):
    model = keras.Sequential(
        [keras.Input((5, 3), batch_size=1), keras.layers.GRU(4)]
    )
    with pytest.raises(export.ConversionError, match="unroll=True"):
        convert.Converter(
            sources.open_model(model), [np.ones((9, 5, 3), "float32")],
            child=child,
        ).convert("int8")


def test_sequences_count_every_step(child):
    model = keras.Sequential(
        [keras.Input((5, 8)), keras.layers.Dense(4, name="fc")]
    )
    converter = convert.Converter(sources.open_model(model), child=child)
    content = converter.convert()
    shapes = converter.shapes(content, [np.ones((2, 5, 8), "float32")])
    assert inspection.inspect(content, shapes).macs == 5 * 8 * 4
