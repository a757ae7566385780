"""The command line: what it prints, writes and returns."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tests import conftest
from tf_lottery import __main__ as cli
from tf_lottery import experiments
from tf_lottery.commands import parsers
from tf_lottery.commands.parsers import preset as preset_flags

SMALL = [
    "run", "lenet-digits", "--iterations", "40", "--trials", "1", "--rounds",
    "1",
    "--control-trials", "1", "--rate", "*=0.5,logits=0.2",
]


@pytest.fixture(autouse=True)
def narrow(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_run(capsys, tmp_path):
    assert cli.main([*SMALL, "--output-dir", "here"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("lenet-digits: lenet_300_100 on digits")
    assert lines[1].startswith("round  0/1: density 100.0 %")
    assert lines[2].startswith("round  1/1: density 50.6 %")
    assert lines[3].startswith("round  1/1: random re-init")
    assert "Not tested: one trial, 447 test images" in out
    assert "- No paper's numbers are known" in out
    assert "here/results.csv" in out
    assert err == ""
    config = json.loads((tmp_path / "here" / "config.json").read_text())
    assert config["rate"] == {"*": 0.5, "logits": 0.2}
    assert config["iterations"] == 40


@pytest.mark.parametrize(("words", "expected"), [
    ([], False), (["--compact"], True), (["--compact", "--no-compact"], False),
])
def test_compact_is_a_switch(words, expected):
    arguments = parsers.make().parse_args(["run", "lenet-digits", *words])
    preset = experiments.preset(
        "lenet-digits", **preset_flags.changes(arguments)
    )
    assert preset.compact is expected


@pytest.mark.slow
def test_run_writes_to_runs_by_default(capsys, tmp_path):
    assert cli.main([*SMALL[:8], "--control-trials", "0"]) == 0
    assert (tmp_path / "runs" / "lenet-digits" / "results.json").exists()
    assert not (tmp_path / "runs" / "lenet-digits" / "controls.csv").exists()
    assert "random re-init " not in capsys.readouterr().out


@pytest.mark.slow
def test_trials_are_labelled_as_what_they_are(capsys, tmp_path):
    arguments = ["--trials", "2", "--also-rewind-to", "20it"]
    assert cli.main([
        *SMALL[:8], "--control-trials", "0", *arguments, "--output-dir", "r",
    ]) == 0
    lines = capsys.readouterr().out.splitlines()
    for trial in range(2):
        found = [
            line.partition(": density")[0] for line in lines
            if line.startswith(f"trial {trial}, ") and ": density" in line
        ]
        assert found == [
            f"trial {trial}, round  0/1", f"trial {trial}, round  1/1",
            f"trial {trial}, rewound to step 20, round  1/1",
        ]
    for name in ("r/results.csv", "r/trial-0/results.csv"):
        heads, *rows = (tmp_path / name).read_text().splitlines()
        heads = heads.split(",")
        assert len(heads) == len(set(heads)) and "density" in heads
        for row in rows:
            value = row.split(",")[heads.index("val_accuracy")]
            # Of 350 images; float32 noise takes 17 digits.
            assert len(value) < 12, value


def test_a_mistake_writes_nothing(capsys, tmp_path):
    for mistake in (["--exclude", "fc9"], ["--rate", "*=.2,fc9=.1"]):
        arguments = ["lenet-digits", *mistake, "--output-dir", "here"]
        assert "fc9" in error_of(capsys, *arguments)
        assert list(tmp_path.iterdir()) == []


def test_list(capsys):
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    for name in experiments.PRESETS:
        assert name in out


def error_of(capsys, *arguments):
    assert cli.main(["run", *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and err.count("\n") == 1 and not out
    assert "Traceback" not in out + err
    return err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["lenet-digits", "--rounds", "0"], "--rounds must"),
        (["lenet-digits", "--iterations", "50"], "The nearest is 40"),
        (["lenet-digits", "--rate", "1.5"], "--rate must"),
        (["lenet-digits", "--rate", "*=.2,fc9=.1"], "fc9"),
        (["lenet-digits", "--rewind-to", "2weeks"], "--rewind-to='2weeks'"),
        (["lenet-digits", "--rewind-to", "30it"], "The nearest is 40"),
    ],
)
def test_bad_arguments(capsys, arguments, words):
    assert words in error_of(capsys, *arguments)


def test_bad_output_directory(capsys, tmp_path):
    (tmp_path / "file").write_text("precious")
    for place in ("file", "file/below"):
        error = error_of(capsys, "lenet-digits", "--output-dir", place)
        assert f"'{place}' cannot be written" in error
    assert "other files" in error_of(
        capsys, "lenet-digits", "--output-dir", str(tmp_path)
    )
    assert (tmp_path / "file").read_text() == "precious"


def test_missing_data_leaves_an_earlier_run(capsys, tmp_path, monkeypatch):
    from tf_lottery.experiments import datasets

    earlier = tmp_path / "runs" / "lenet-mnist"
    earlier.mkdir(parents=True)
    (earlier / "config.json").write_text('{"name": "lenet-mnist"}')
    (earlier / "results.csv").write_text("precious")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    monkeypatch.setitem(datasets._HOSTS, "mnist", "http://localhost:9")
    assert "TFDS_DATA_DIR" in error_of(capsys, "lenet-mnist")
    assert (earlier / "results.csv").read_text() == "precious"


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["run"], ["fly"], ["run", "lenet-digits", "--rate", "much"],
        ["run", "lenet"], ["shrink", "m.keras", "--plan", "none.json"],
        ["shrink", "m.keras", "--ratio", "0.5", "--criterion", "magic"],
        ["export", "m.keras", "--report", "report.txt"],
    ],
)
def test_usage_errors(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1


def test_interrupted(capsys, monkeypatch):
    def run(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments, "run", run)
    assert cli.main(["run", "lenet-digits"]) == 130
    assert capsys.readouterr().err.startswith("interrupted")


def test_every_value_of_a_preset_has_a_flag(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    fields = set(experiments.PRESETS["lenet-digits"].to_dict())
    for name in fields - {"name", "summary", "dataset", "model"}:
        assert f"--{name.replace('_', '-')}" in out


@pytest.mark.parametrize(
    "text, value", [("0", 0), ("0.05", 0.05), ("500it", "500it")]
)
def test_rewind_to(text, value):
    arguments = parsers.make().parse_args(
        ["run", "lenet-digits", "--rewind-to", text]
    )
    assert arguments.rewind_to == value
    assert type(arguments.rewind_to) is type(value)


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "tf_lottery", "--version"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert done.stdout.strip() == tfl.__version__


@pytest.fixture
def saved(tmp_path):
    model = conftest.functional()
    model.compile("adam", "mse")
    model.save(tmp_path / "model.keras")
    return model


PRUNE = ["prune", "model.keras", "--sparsity"]


def test_prune(capsys, tmp_path, saved):
    assert cli.main([*PRUNE, "0.75", "--exclude", "@last"]) == 0
    out = capsys.readouterr().out
    assert "model.pruned.keras" in out and "25.0" in out
    found = keras.saving.load_model(tmp_path / "model.pruned.keras")
    masks = tfl.masks_of(found)
    assert list(masks) == ["fc1/kernel", "fc2/kernel"]
    assert tfl.masks.density(masks) == 0.25
    expected = tfl.prune(saved, 0.75, exclude="@last")
    for key, mask in masks.items():
        np.testing.assert_array_equal(mask, expected[key])


def test_prune_by_layer_and_strip(tmp_path, saved):
    arguments = ["*=0.5,logits=0.25", "--scope", "layer", "--strip"]
    assert cli.main([*PRUNE, *arguments, "--output", "deep/small.keras"]) == 0
    found = keras.saving.load_model(tmp_path / "deep" / "small.keras")
    assert tfl.masks_of(found) == {}
    kernels = {
        name: found.get_layer(name).kernel.numpy() for name in ("fc1", "logits")
    }
    assert np.count_nonzero(kernels["fc1"]) == kernels["fc1"].size / 2
    assert np.count_nonzero(kernels["logits"]) == 0.75 * kernels["logits"].size


def test_prune_an_uncompiled_model(tmp_path):
    conftest.functional().save(tmp_path / "model.keras")
    assert cli.main([*PRUNE, "0.5"]) == 0
    found = keras.saving.load_model(tmp_path / "model.pruned.keras")
    assert tfl.masks.density(tfl.masks_of(found)) == 0.5


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["0.5", "--exclude", "fc9"], "fc9"),
        (["1.0"], "--sparsity"),
        (["0.5", "--pattern", "stripes"], "--pattern"),
        (["0.5", "--output", "small.h5"], "'.keras'"),
        (["0.5", "--criterion", "snip"], "data"),
        (["0.998", "--collapse", "error"], "Layer collapse"),
    ],
)
def test_prune_errors(capsys, tmp_path, saved, arguments, words):
    assert cli.main([*PRUNE, *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and words in err
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]


def test_prune_unreadable_models(capsys, tmp_path):
    (tmp_path / "model.keras").write_bytes(b"no model")
    assert cli.main([*PRUNE, "0.5"]) == 2
    assert "'model.keras' cannot be loaded" in capsys.readouterr().err
    assert cli.main(["prune", "none.keras", "--sparsity", "0.5"]) == 2
    assert "no model file 'none.keras'" in capsys.readouterr().err


SHRINK = ["shrink", "model.keras"]


@pytest.mark.slow
def test_shrink(capsys, tmp_path, saved):
    arguments = ["--macs", "0.5", "--output", "deep/small.keras", "--report"]
    assert cli.main([*SHRINK, *arguments, "--save-plan", "plan.json"]) == 0
    out = capsys.readouterr().out
    assert "Proved equal in float64" in out and "model output" in out
    small = keras.saving.load_model(tmp_path / "deep" / "small.keras")
    assert small.count_params() < saved.count_params()
    plan = tfl.structured.Plan.from_json((tmp_path / "plan.json").read_text())
    assert plan.after["macs"] <= 0.5 * plan.before["macs"]
    assert cli.main([*SHRINK, "--plan", "plan.json"]) == 0
    again = keras.saving.load_model(tmp_path / "model.small.keras")
    for one, other in zip(small.weights, again.weights):
        np.testing.assert_array_equal(one, other)


def test_shrink_compacts_masks(capsys, tmp_path, saved):
    mask = np.ones((12, 4), bool)
    mask[:5] = False
    read = np.zeros((12, 12), bool)
    read[5:, 5:] = True
    tfl.hold(saved, {"logits/kernel": mask, "fc2/kernel": read})
    saved.save(tmp_path / "model.keras")
    assert cli.main([*SHRINK, "--compact"]) == 0
    assert "5 units that nothing reads" in capsys.readouterr().out
    small = keras.saving.load_model(tmp_path / "model.small.keras")
    assert small.get_layer("fc1").units == 7


def test_shrink_recalibrates(capsys, tmp_path):
    model = keras.Sequential([
        keras.Input((4,)), keras.layers.Dense(6, name="fc"),
        keras.layers.BatchNormalization(name="norm"), keras.layers.Dense(2),
    ])
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(3, 2, (50, 4)).astype("float32")
    np.savez(tmp_path / "data.npz", x=x, y=np.zeros(50))
    arguments = [*SHRINK, "--ratio", "0.5", "--recalibrate", "data.npz"]
    assert cli.main(arguments) == 0
    assert "recalibrated: 1 layers" in capsys.readouterr().out
    small = keras.saving.load_model(tmp_path / "model.small.keras")
    np.testing.assert_allclose(
        small.get_layer("norm").moving_mean,
        np.mean(small.get_layer("fc")(x), 0), rtol=1e-4,
    )


def test_shrink_dry_run(capsys, tmp_path, saved):
    assert cli.main([*SHRINK, "--ratio", "0.5", "--dry-run"]) == 0
    assert "params" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--ratio", "1.5"], "--ratio"),
        (["--macs", "1e-9"], "--macs"),
        (["--ratio", "0.5", "--criterion", "snip"], "needs data"),
        (["--ratio", "0.5", "--exclude", "fc9"], "fc9"),
    ],
)
def test_shrink_errors(capsys, tmp_path, saved, arguments, words):
    assert cli.main([*SHRINK, *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and words in err
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]


@pytest.mark.slow
def test_export(capsys, tmp_path, saved):
    tfl.prune(saved, 0.9)
    saved.save(tmp_path / "model.keras")
    arguments = ["export", "model.keras", "--target", "flash"]
    assert cli.main([*arguments, "--report", "report.html"]) == 0
    out = capsys.readouterr().out
    assert "shipped" in out and "model.tflite" in out
    assert "Saved artifact" not in out
    assert "data-chart=" in (tmp_path / "report.html").read_text()
    found = tfl.export.inspect(tmp_path / "model.tflite")
    assert found.effective_macs < found.macs
    comparing = ["export", "model.tflite", "--compare", "model.tflite"]
    assert cli.main(comparing) == 0
    out = capsys.readouterr().out
    assert "FULLY_CONNECTED" in out and "1.00x" in out


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["model.keras", "--quantize", "int8"], "needs --data"),
        (["none.keras"], "no model file 'none.keras'"),
        (["model.keras", "--output", "nowhere/m.tflite"], "no directory"),
        (["damaged.tflite"], "damaged.tflite"),
        (["model.keras", "--memory-mode", "Shared_Sram"], "Only an Ethos-U"),
        (["model.keras", "--input-shapes", "mel=49x10"], "'mel'"),
    ],
)
def test_export_errors(capsys, tmp_path, saved, arguments, words):
    (tmp_path / "damaged.tflite").write_bytes(b"no model")
    before = sorted(tmp_path.iterdir())
    assert cli.main(["export", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and words in err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_compress_writes_the_file_and_its_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    conftest.functional().save("m.keras")
    shape = conftest.functional().input_shape[1:]
    np.savez("d.npz", x=np.zeros((60, *shape)), y=np.arange(60) % 3)
    arguments = [
        "compress", "m.keras", "--data", "d.npz", "--max-drop", "0.9",
        "--candidates", "1", "--report", "page.html",
    ]
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    assert "written: m.compressed/model.keras" in said
    assert "12 of its 60 examples, every fifth, are held out" in said
    assert (tmp_path / "page.html").exists()
    keras.saving.load_model("m.compressed/model.keras")
    with pytest.raises(SystemExit):
        cli.main(["compress", "m.keras", "--budget", "flash"])
