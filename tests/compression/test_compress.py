"""`compress`: what it chooses, resumes and refuses.

Files are stood in for by what they would weigh, but in the slow tests.
"""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import types

import keras
import numpy as np
import pytest

import tests
import tf_lottery as tfl
from tests.export.test_ethos_u import needs_vela
from tf_lottery import files
from tf_lottery.compression import candidates
from tf_lottery.compression import places
from tf_lottery.search import secant

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(3, 6, 6, 2))
Y = np.arange(600) % 3
X = (CENTRES[Y] + RNG.normal(size=(600, 6, 6, 2))).astype("float32")
TRAIN, VALIDATION = (X[:300], Y[:300]), (X[300:], Y[300:])
SCRIPT = """
import os, signal, sys, warnings
import pytest
from tests.compression import test_compress as t
warnings.simplefilter("ignore")
said = []
def say(text):
    said.append(text)
    if len(said) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
model = t.keras.saving.load_model(sys.argv[3])
t.compress(model, directory=sys.argv[1], progress=say, epochs=1)
"""


def cnn(compiled=True):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(8, 3, use_bias=False, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(8, 3, padding="same", name="inner")(x) + x
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(8, "relu", name="fc")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(x))
    if compiled:
        model.compile(
            keras.optimizers.Adam(0.01),
            keras.losses.SparseCategoricalCrossentropy(True),
            metrics=["accuracy"],
        )
        model.fit(*TRAIN, epochs=3, verbose=0)
    return model


def weigh(
    model, path, target, quantize, ranges, validation, *, metric, seconds,
    batch_size, progress,
):
    """Stands in for `export.tflite`: a byte for each nonzero weight."""
    progress("weighing")
    hits = tfl.export.metrics.agreement(
        keras.ops.convert_to_numpy(model(validation[0], training=False)),
        validation[1],
    )
    size = 100 + sum(
        int(np.count_nonzero(w)) for w in model.get_weights()
    )
    pathlib.Path(path).write_bytes(b"\0" * size)
    return types.SimpleNamespace(
        metric=hits, metric_name="accuracy", nbytes=size, compressed=size,
        macs=model.count_params(), npu=None,
        shipped=types.SimpleNamespace(metric=hits, timing=None),
    )


@pytest.fixture
def weighed(monkeypatch):
    monkeypatch.setattr(candidates.export, "tflite", weigh)


@pytest.fixture(scope="module")
def model():
    return cnn()


def compress(model, *args, **kwargs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates.export, "tflite", weigh)
        return tfl.compress(
            model, TRAIN, VALIDATION, *args,
            **{"candidates": 3, "samples": 200, **kwargs},
        )


def values(model):
    return [w.copy() for w in model.get_weights()]


def equal(a, b):
    return all(map(np.array_equal, a, b)) and len(a) == len(b)


@pytest.mark.filterwarnings("ignore:.*validation examples cannot")
def test_the_smallest_file_within_the_drop_is_chosen(model, tmp_path):
    before = values(model)
    found = compress(model, max_drop=0.05, directory=tmp_path)
    assert equal(values(model), before) and not tfl.masks_of(model)
    assert found.met and found.number > 0
    assert found.chosen.cost < 0.8 * found.candidates[0].cost
    for other in found.candidates:
        if other.cost < found.chosen.cost:
            assert other.drop > 0.05
    reached = found.model.evaluate(*VALIDATION, verbose=0)[1]
    assert reached == pytest.approx(found.chosen.metric)
    assert found.reference == pytest.approx(
        model.evaluate(*VALIDATION, verbose=0)[1]
    )
    assert found.chosen.low < reached < found.chosen.high
    assert tfl.masks_of(found.model)
    assert pathlib.Path(found.file).parent == tmp_path
    costs = [c.cost for c in found.pareto()]
    assert costs == sorted(costs, reverse=True)
    assert sum("removed" in line for line in found.decisions()) >= 2
    saved = json.loads((tmp_path / "result.json").read_text())
    assert saved == json.loads(found.to_json())
    assert str(len(found.candidates)) in found.sentence()
    assert "0.05 may be lost" in found.sentence()
    assert "on others" in str(found) and "on others" in found._repr_html_()
    # What counts is a column already.
    assert " size " in str(found) and " gzip " not in str(found)
    found.report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert all(name in page for name in found.chosen.removed)


@pytest.mark.filterwarnings("ignore:.*validation examples cannot")
def test_channels_alone_where_zeros_are_worth_nothing(model):
    found = compress(model, "macs", max_drop=0.3)
    assert found.met and found.chosen.cost < found.candidates[0].cost
    assert found.model.count_params() < model.count_params()
    assert not tfl.masks_of(found.model)
    for made, candidate in ((model, found.candidates[0]),
                            (found.model, found.chosen)):
        graph = tfl.graph.trace(made)
        counted = tfl.structured.Costs(graph).count(graph.kept())
        assert candidate.cost == candidate.macs == counted["macs"]
    reached = found.model.evaluate(*VALIDATION, verbose=0)[1]
    assert reached == pytest.approx(found.chosen.metric)


def test_a_budget_is_met_by_the_best_file(model):
    found = compress(model, budget={"size": "0.6 kB"}, candidates=4)
    assert found.met and found.chosen.cost <= 600 < 1.3 * found.chosen.cost


def test_a_budget_that_is_met_already_takes_the_model_as_it_was(model):
    found = compress(model, budget={"size": "1 MB"})
    assert found.number == 0 and len(found.candidates) == 1
    assert found.decisions()[0].endswith(": whole")


@pytest.mark.parametrize("metric, words", [
    ("mae", "does not fit"), (lambda y, outputs: np.nan, "not finite"),
])
def test_a_metric_that_cannot_be_taken_is_refused_at_once(metric, words):
    said = []
    with pytest.raises(ValueError, match=words):
        compress(
            cnn(False), max_drop=0.1, metric=metric, progress=said.append
        )
    assert not said


@pytest.mark.parametrize("name", ["train", "validation"])
def test_data_that_are_not_finite(name):
    broken = X[:300].copy()
    broken[0] = np.nan
    data = {"train": TRAIN, "validation": VALIDATION}
    with pytest.raises(ValueError, match=f"`{name}` must hold finite"):
        tfl.compress(cnn(False), **data | {name: (broken, Y[:300])})


def test_a_budget_that_is_not_met_says_what_is_in_the_way(model):
    with pytest.warns(UserWarning, match="not met.*inner/kernel") as caught:
        found = compress(
            model, budget={"size": 150}, candidates=5, exclude="conv",
        )
    assert not found.met
    assert sum(w.category is UserWarning for w in caught) == 1
    assert found.chosen.cost == min(c.cost for c in found.candidates)
    (text,) = dataclasses.replace(found, rest=1e6).caveats()
    rest = found.chosen.cost - sum(found.least.values())
    assert f"{rest:,.0f} that no pruning touches" in text


@pytest.mark.filterwarnings("ignore:.*validation examples cannot")
def test_what_was_interrupted_resumes_with_the_same_bits(model, tmp_path):
    class Stop(Exception):
        pass

    said = []
    whole = compress(
        model, max_drop=0.05, directory=tmp_path / "whole",
        progress=said.append, candidates=2,
    )
    for moment in (4, len(said)):
        heard = []

        def say(text):
            heard.append(text)
            if len(heard) == moment:
                raise Stop

        place = tmp_path / str(moment)
        with pytest.raises(Stop):
            compress(
                model, max_drop=0.05, directory=place, progress=say,
                candidates=2,
            )
        found = compress(
            model, max_drop=0.05, directory=place, candidates=2
        )
        assert found.candidates[0].metric == whole.candidates[0].metric
        assert equal(values(found.model), values(whole.model))
    again = []
    compress(
        model, max_drop=0.05, directory=tmp_path / "whole",
        progress=again.append, candidates=2,
    )
    assert again == []


@pytest.mark.slow
def test_one_that_was_killed_resumes_with_the_same_bits(model, tmp_path):
    path = tmp_path / "m.keras"
    model.save(path)

    def run(name, moment):
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, tmp_path / name, str(moment), path],
            cwd=tests.ROOT, capture_output=True, text=True,
        )

    assert run("whole", 0).returncode == 0
    assert run("killed", 9).returncode == -signal.SIGKILL
    assert run("killed", 0).returncode == 0
    names = {p.name for p in (tmp_path / "whole").iterdir()}
    assert names == {p.name for p in (tmp_path / "killed").iterdir()}
    for name in names - {"lock"}:
        whole = (tmp_path / "whole" / name).read_bytes().replace(
            bytes(tmp_path / "whole"), bytes(tmp_path / "killed")
        )
        assert whole == (tmp_path / "killed" / name).read_bytes(), name


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_signal_takes_the_temporary_directory_with_it(monkeypatch):
    raised = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    place = places.Place(None, cnn(), X, VALIDATION, {})
    before = signal.getsignal(signal.SIGTERM)
    with place.locked():
        assert place.path.exists()
        os.kill(os.getpid(), signal.SIGTERM)
        assert raised == [signal.SIGTERM] and not place.path.exists()
    assert signal.getsignal(signal.SIGTERM) == before == signal.SIG_DFL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_signal_to_another_process_or_the_user_s_changes_nothing():
    place = places.Place(None, cnn(), X, VALIDATION, {})
    with place.locked():
        child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGTERM
        assert place.path.exists()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    found = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert found == signal.SIG_IGN


@pytest.mark.filterwarnings("ignore:.*validation examples cannot")
def test_another_compression_is_refused(model, tmp_path):
    def run(**change):
        return compress(model, max_drop=0.3, candidates=1, **{
            "directory": tmp_path / "one", **change
        })

    file = pathlib.Path(run().file)
    for change in (
        {"epochs": 1}, {"exclude": "fc"}, {"quantize": None},
    ):
        with pytest.raises(ValueError, match="that of another compression"):
            run(**change)
    # Files that changed or went meanwhile.
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(files.DamagedFileError, match="not the one verified"):
        run()
    file.unlink()
    assert pathlib.Path(run().file).read_bytes() == content
    dense = (tmp_path / "one" / "000.safetensors").read_bytes()
    file.with_suffix(".safetensors").write_bytes(dense)
    with pytest.raises(files.DamagedFileError, match="of another compression"):
        run()

    def trained(y=TRAIN[1], **options):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(candidates.export, "tflite", weigh)
            tfl.compress(
                model, (X[:300], y), VALIDATION, max_drop=0.3, candidates=1,
                samples=100, epochs=1, directory=tmp_path / "it", **options,
            )

    (tmp_path / "other").mkdir()
    trained()
    trained()
    for change in ({"y": 2 - TRAIN[1]}, {"teacher": cnn(False)}):
        with pytest.raises(ValueError, match="compression.*training: "):
            trained(**change)
    with pytest.raises(ValueError) as error:
        run(samples=150)
    assert "Differences: samples: 200 there, 150 now. Exp" in str(error.value)
    (tmp_path / "taken").write_text("mine")
    for place in ("taken", "taken/below"):
        with pytest.raises(OSError, match=f"{place}' cannot be written.*Exp"):
            run(directory=tmp_path / place)
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds other files"):
        compress(model, directory=tmp_path / "other", max_drop=0.3)


@pytest.mark.filterwarnings("ignore:The budget")
@pytest.mark.slow
@pytest.mark.parametrize("teacher", ["self", None])
def test_training_recovers_what_pruning_lost(model, teacher):
    limit = {"size": 150}
    pruned = compress(model, budget=limit)
    trained = compress(
        model, budget=limit, epochs=3, batch_size=16, teacher=teacher
    )
    assert trained.number == pruned.number
    assert trained.chosen.metric > pruned.chosen.metric
    kernels = {
        f"{layer.name}/kernel": layer.kernel.numpy()
        for layer in trained.model.layers if hasattr(layer, "kernel")
    }
    masks = tfl.masks_of(trained.model)
    trained.model.fit(*TRAIN, verbose=0)
    assert masks and not any(
        kernels[key][~mask].any() for key, mask in masks.items()
    )


@pytest.mark.slow
def test_masks_that_are_held_stay(model):
    masks = tfl.prune(cnn(), 0.5)
    pruned = cnn()
    tfl.hold(pruned, masks)
    found = compress(pruned, budget={"size": 600}, candidates=2)
    kernel = found.model.get_layer("logits").kernel.numpy()
    if kernel.shape == masks["logits/kernel"].shape:
        assert not kernel[~masks["logits/kernel"]].any()
    assert found.candidates[0].weights < compress(
        model, budget={"size": 1e6}, candidates=1
    ).candidates[0].weights


def test_nothing_within_the_drop_names_the_nearest(model, monkeypatch):
    def worse(*args, **kwargs):
        found = weigh(*args, **kwargs)
        found.shipped.metric -= 0.2
        return found

    monkeypatch.setattr(candidates.export, "tflite", worse)
    with pytest.warns(UserWarning, match="data type alone loses 0.2"):
        found = tfl.compress(
            model, TRAIN, VALIDATION, max_drop=0.05, samples=100,
            candidates=1,
        )
    assert not found.met


def test_a_metric_that_is_not_monotone_is_told(model, monkeypatch):
    def odd(model, path, *args, **kwargs):
        found = weigh(model, path, *args, **kwargs)
        found.shipped.metric -= 0.5 * (pathlib.Path(path).stem == "005")
        return found

    monkeypatch.setattr(candidates.export, "tflite", odd)
    monkeypatch.setattr(
        secant, "last_within", lambda value, *numbers: 10 + (value(5) < 0.4)
    )
    with pytest.warns(UserWarning, match="not monotone"):
        found = tfl.compress(
            model, TRAIN, VALIDATION, max_drop=0.4, samples=100,
        )
    assert found.number == 12


def test_too_few_examples():
    with pytest.raises(ValueError, match="at least 100 examples"):
        tfl.compress(cnn(False), TRAIN, (X[:40], Y[:40]), max_drop=0.01)
    with pytest.warns(UserWarning, match="validation examples cannot show"):
        compress(cnn(), max_drop=0.02, candidates=1)


def other(outputs):
    return keras.Sequential([
        keras.Input((6, 6, 2)), keras.layers.Flatten(),
        keras.layers.Dense(outputs),
    ])


@pytest.mark.parametrize("change, words", [
    ({"train": (X[:, 1:], Y)}, r"`train` does not fit.*\(600, 5, 6, 2\)"),
    ({"validation": (X[:, 1:], Y)}, "`validation` does not fit"),
    ({"validation": (X, Y + 1)}, "from 0 to 2, those here are 1 to 3"),
    ({"train": (X[:0], Y[:0])}, "`train` must hold examples"),
    ({"train": (X[:3].tolist(), Y[:3])}, "make lists of numbers arrays"),
    ({"train": (X, Y[:3])}, r"compress\(train=\).*of equal length"),
    ({"validation": None}, r"compress\(validation=\).*needs data"),
    ({"epochs": 1, "teacher": other(4)}, r"outputs of.*\(1, 3\).*\(1, 4\)"),
])
def test_data_and_teachers_of_another_model(change, words):
    model = other(3)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=words):
        tfl.compress(
            model, **{"train": TRAIN, "validation": VALIDATION, **change}
        )


def test_labels_without_a_loss_and_files_that_cannot_be_made(monkeypatch):
    model = other(3)
    model.compile("sgd")
    with pytest.raises(ValueError, match="compiled without a loss"):
        tfl.compress(model, TRAIN, VALIDATION, epochs=1, teacher=None)

    def refuse(*args, **kwargs):
        raise tfl.export.ConversionError("no such file")

    monkeypatch.setattr(candidates.export, "tflite", refuse)
    said = []
    with pytest.raises(tfl.export.ConversionError):
        tfl.compress(model, TRAIN, VALIDATION, progress=said.append)
    assert said == ["candidate 0: pruning"]


@pytest.mark.filterwarnings("ignore:.*validation examples cannot")
@pytest.mark.parametrize("asked", [
    {"max_drop": 0.5}, {"budget": {"size": 300}},
])
def test_files_that_fail_their_checks_are_left_out(
    model, asked, monkeypatch, recwarn
):
    made = []

    def odd(model, path, *args, **kwargs):
        made.append(pathlib.Path(path).stem)
        if len(made) in (2, 3):
            raise tfl.export.VerificationError(
                "None was written.\n  int8 dense: difference 0.53 > 0.5", []
            )
        return weigh(model, path, *args, **kwargs)

    monkeypatch.setattr(candidates.export, "tflite", odd)
    found = tfl.compress(
        model, TRAIN, VALIDATION, samples=100, candidates=4, **asked
    )
    assert len(made) >= 3
    assert [c.number for c in found.candidates] == sorted(
        int(n) for i, n in enumerate(made) if i not in (1, 2)
    )
    assert sorted(found.failed) == sorted(map(int, made[1:3]))
    (said, _) = [c for c in found.caveats() if "failed its checks" in c]
    assert said.endswith("left out: int8 dense: difference 0.53 > 0.5.")
    assert any("left out" in str(w.message) for w in recwarn)


@pytest.mark.parametrize("change, words", [
    ({"budget": {"size": "1.2.3 KiB"}}, "`budget` must be.*'KiB'"),
    ({"target": "nowhere"}, "target"),
    ({"target": "ethos-u55", "quantize": None}, "quantize"),
    ({"budget": {"flash": 100}}, "'size'"),
    ({"budget": {"size": "many"}}, "budget"),
    ({"budget": {"size": 100}, "max_drop": 0.1}, "Either"),
    ({"minimize": "cycles"}, "minimize"),
    pytest.param(
        {"target": "ethos-u55", "minimize": "cycles", "budget": {"flash": 1}},
        "budget.*'cycles'", marks=needs_vela,
    ),
    ({"metric": "no_such_metric"}, "metric"),
    ({"epochs": 1}, "not compiled"),
    ({"teacher": "other"}, "'self', a `keras.Model` or `None`"),
])
def test_arguments_that_do_not_fit(change, words):
    with pytest.raises(ValueError, match=words):
        tfl.compress(cnn(False), TRAIN, VALIDATION, **change)


def test_models_that_do_not_fit():
    quantised = cnn(False)
    quantised.get_layer("fc").quantize("int8")
    with pytest.raises(ValueError, match="quantised already"):
        tfl.compress(quantised, TRAIN, VALIDATION)
    frozen = cnn(False)
    frozen.trainable = False
    with pytest.raises(ValueError, match="frozen"):
        tfl.compress(frozen, TRAIN, VALIDATION)
    broken = cnn(False)
    broken.layers[-1].bias.assign([np.nan, 0, 0])
    with pytest.raises(ValueError, match="not finite"):
        tfl.compress(broken, TRAIN, VALIDATION)


def test_a_target_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(tfl.export.targets.vela, "command", lambda: None)
    with pytest.raises(ImportError, match="ethosu"):
        tfl.compress(cnn(False), TRAIN, VALIDATION, "ethos-u55-128")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*validation examples cannot")
# Latencies of so small a model are noise.
@pytest.mark.filterwarnings("ignore:.*is not monotone")
@pytest.mark.parametrize("target", ["size", "cpu", "micro"])
def test_files_are_those_of_export(model, target, tmp_path):
    found = tfl.compress(
        model, TRAIN, VALIDATION, target, 0.1, samples=200, candidates=2,
        directory=tmp_path,
    )
    assert pathlib.Path(found.file).stat().st_size == found.chosen.nbytes
    assert found.met


@needs_vela
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*validation examples cannot")
@pytest.mark.parametrize("ask", [
    {"minimize": "cycles", "max_drop": 0.3},
    {"budget": {"latency_ms": 0.004}},
])
def test_cycles_are_those_of_vela(model, ask):
    found = tfl.compress(
        model, TRAIN, VALIDATION, "ethos-u55-128", samples=200, candidates=3,
        **ask,
    )
    whole, chosen = found.candidates[0], found.chosen
    assert chosen.cycles < whole.cycles or found.number == 0
    unit = 1 if "minimize" in ask else 1e3 / 500e6
    assert chosen.cost == pytest.approx(unit * chosen.cycles, rel=1e-3)
    assert found.met and "falls with no layer" in found.decisions()[-1]


def regression():
    inputs = keras.Input((6,))
    x = keras.layers.Dense(16, "relu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    x = X[:300, 0, 0:3].reshape(300, 6)
    return model, "mse", x, x.sum(-1, keepdims=True), "mae"


def several():
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(8, 3, activation="relu", name="conv")(inputs)
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, {
        "kind": keras.layers.Dense(3, "softmax", name="kind")(x),
        "mean": keras.layers.Dense(1, name="mean")(x),
    })
    labels = {"kind": TRAIN[1], "mean": TRAIN[0].mean((1, 2, 3))}
    losses = {"kind": "sparse_categorical_crossentropy", "mean": "mse"}

    def right(labels, outputs):
        return float(
            (outputs["kind"].argmax(-1) == labels["kind"]).mean()
        )

    return model, losses, TRAIN[0], labels, right


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*validation examples cannot")
@pytest.mark.parametrize("build", [regression, several])
def test_models_of_other_kinds(build, recwarn):
    keras.utils.set_random_seed(0)
    model, loss, x, y, metric = build()
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(x, y, epochs=12, verbose=0)
    found = tfl.compress(
        model, (x, y), (x, y), max_drop=0.2, metric=metric, samples=100,
        epochs=1, candidates=2,
    )
    assert found.met and found.chosen.cost < found.candidates[0].cost
    drop = found.chosen.metric - found.reference
    assert found.chosen.drop == pytest.approx(
        drop if build is regression else -drop, abs=1e-9
    )
    assert not [w for w in recwarn if "shuffle" in str(w.message)]


def test_files_of_loops_over_time_take_one_example_a_call(monkeypatch):
    batches = []

    def note(*args, batch_size, **kwargs):
        batches.append(batch_size)
        return weigh(*args, batch_size=batch_size, **kwargs)

    monkeypatch.setattr(candidates.export, "tflite", note)
    for layer in (
        keras.layers.Bidirectional(keras.layers.LSTM(4)),
        keras.layers.GlobalAveragePooling1D(),
    ):
        model = keras.Sequential([
            keras.Input((12,), dtype="int32"), keras.layers.Embedding(20, 8),
            layer, keras.layers.Dense(2),
        ])
        x = RNG.integers(1, 20, size=(60, 12))
        tfl.compress(
            model, (x, x[:, 0] % 2), (x, x[:, 0] % 2),
            budget={"size": 1e6}, samples=20,
        )
    assert batches == [1, None]


def test_attention_shrinks_without_words_about_training():
    inputs = keras.Input((6, 8))
    x = keras.layers.MultiHeadAttention(2, 4)(inputs, inputs)
    x = keras.layers.GlobalAveragePooling1D()(x + inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
    data = RNG.normal(size=(60, 6, 8)).astype("float32")
    labels = keras.ops.convert_to_numpy(model(data)).argmax(-1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates.export, "tflite", weigh)
        found = tfl.compress(
            model, (data, labels), (data, labels), "macs",
            budget={"macs": 300}, candidates=1, samples=20,
        )
    assert found.model.count_params() < model.count_params()
