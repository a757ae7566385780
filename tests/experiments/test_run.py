"""Data, batches, presets and a whole small experiment."""

import csv
import dataclasses
import hashlib
import importlib.resources
import io
import json
import os
import pathlib
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import rich.console

import tests
import tf_lottery as tfl
from tf_lottery import experiments
from tf_lottery.analysis import run_files
from tf_lottery.analysis.curves import of_runs
from tf_lottery.experiments import changes
from tf_lottery.experiments import datasets
from tf_lottery.experiments import histories
from tf_lottery.experiments import models
from tf_lottery.experiments import outputs
from tf_lottery.experiments import pipeline
from tf_lottery.experiments import records
from tf_lottery.experiments import report
from tf_lottery.experiments.analyses import subject as subject_lib
from tf_lottery.runs import run_directory
from tf_lottery.verdicts import judging
from tf_lottery.verdicts import rules
from tf_lottery.verdicts import words as words_lib

# SHA-256 of the images and labels of scikit-learn's copy.
DIGEST = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
# Data sets may lie next to the checkout.
PREPARED = next(
    tests.ROOT.parent.glob("*/tensorflow_datasets"), ""
)


@pytest.fixture(scope="module")
def digits():
    return experiments.load("digits")


@pytest.fixture
def prepared(monkeypatch):
    """Directory of prepared data sets, where the machine has one."""
    found = os.environ.get("TFDS_DATA_DIR") or PREPARED
    if not pathlib.Path(found, "mnist").is_dir():
        pytest.skip("no prepared data: set TFDS_DATA_DIR")
    monkeypatch.setenv("TFDS_DATA_DIR", str(found))


def parts(data):
    return [
        (getattr(data, f"x_{part}"), getattr(data, f"y_{part}"))
        for part in ("train", "val", "test")
    ]


class TestDigits:
    def test_is_the_original(self):
        resource = importlib.resources.files("tf_lottery.experiments")
        with (resource / "data" / "digits.npz").open("rb") as file:
            with np.load(file, allow_pickle=False) as content:
                images, labels = content["images"], content["labels"]
        assert images.shape == (1797, 8, 8) and images.max() == 16
        assert np.bincount(labels).tolist() == [
            178, 182, 177, 183, 181, 182, 181, 179, 174, 180,
        ]
        digest = hashlib.sha256(images.tobytes() + labels.tobytes())
        assert digest.hexdigest() == DIGEST

    def test_names_source_and_licence(self):
        resource = importlib.resources.files("tf_lottery.experiments")
        text = (resource / "data" / "README.md").read_text()
        for words in ("Alpaydin", "10.24432/C50P49", "CC BY 4.0"):
            assert words in text

    def test_split(self, digits):
        assert digits.image_shape == (8, 8, 1) and digits.classes == 10
        for (x, y), size in zip(parts(digits), (1000, 350, 447)):
            assert x.shape == (size, 8, 8, 1) and x.dtype == "float32"
            assert y.shape == (size,) and y.dtype == "int32"
            assert set(y) == set(range(10))

    def test_parts_are_disjoint_and_complete(self, digits):
        rows = np.concatenate([x.reshape(-1, 64) for x, _ in parts(digits)])
        assert len(np.unique(rows, axis=0)) == 1797

    def test_standardised_by_the_training_part_alone(self, digits):
        assert digits.x_train.mean() == pytest.approx(0, abs=1e-5)
        assert digits.x_train.std() == pytest.approx(1, abs=1e-5)
        assert abs(digits.x_test.mean()) > 1e-4

    def test_split_is_seeded(self, digits):
        again, other = experiments.load("digits"), experiments.load("digits", 1)
        assert np.array_equal(again.x_val, digits.x_val)
        assert not np.array_equal(other.x_val, digits.x_val)


class TestTensorflowDatasets:
    def test_fashion_mnist(self, prepared):
        data = experiments.load("fashion_mnist")
        assert [len(y) for _, y in parts(data)] == [55000, 5000, 10000]
        assert data.image_shape == (28, 28, 1)
        assert data.x_train.mean() == pytest.approx(0, abs=1e-5)
        assert data.x_train.std() == pytest.approx(1, abs=1e-5)
        assert np.bincount(data.y_test).tolist() == [1000] * 10

    def test_reads_what_tfds_reads(self, prepared):
        import tensorflow_datasets as tfds

        place = os.environ["TFDS_DATA_DIR"]
        builder = tfds.builder("mnist", data_dir=place)
        images, labels = builder.as_dataset(
            split="test", batch_size=-1, as_supervised=True
        )
        found = datasets._read_split(builder, "test")
        assert np.array_equal(found[0], images)
        assert np.array_equal(found[1], labels)

    @pytest.mark.slow
    def test_missing_without_network(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
        monkeypatch.setitem(datasets._HOSTS, "mnist", "http://localhost:9")
        began = time.perf_counter()
        with pytest.raises(experiments.DatasetUnavailableError) as caught:
            experiments.load("mnist")
        assert time.perf_counter() - began < 10
        message = str(caught.value)
        for words in (str(tmp_path), "TFDS_DATA_DIR", "lenet-digits"):
            assert words in message

    def test_damaged(self, prepared, tmp_path, monkeypatch):
        source = pathlib.Path(os.environ["TFDS_DATA_DIR"], "mnist", "3.0.1")
        copy = tmp_path / "mnist" / "3.0.1"
        copy.mkdir(parents=True)
        for path in source.iterdir():
            content = path.read_bytes()
            if "tfrecord" in path.name:
                content = content[:1000]
            (copy / path.name).write_bytes(content)
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
        with pytest.raises(experiments.DatasetUnavailableError):
            experiments.load("mnist")

    def test_unknown(self):
        with pytest.raises(ValueError, match="'mnist', 'fashion_mnist'"):
            experiments.load("cifar")


class TestOrder:
    def test_each_pass_is_a_permutation(self):
        # 7 steps of 4 are two passes over 14 examples.
        stream = pipeline.order(0, 0, 7, 4, 14).reshape(2, 14)
        assert (np.sort(stream) == np.arange(14)).all()
        assert (stream[0] != stream[1]).any()

    @pytest.mark.parametrize("step", [0, 1, 3, 6, 50])
    def test_is_a_function_of_the_step(self, step):
        whole = pipeline.order(5, 0, 60, 4, 14)
        part = pipeline.order(5, step, 3, 4, 14)
        assert (part == whole[step:step + 3]).all()

    def test_is_seeded(self):
        one, two = (pipeline.order(s, 0, 7, 4, 14) for s in (0, 1))
        assert (one != two).any()


class Seen(keras.layers.Layer):
    """Counts how often it saw each example, and the last ones in order."""

    def __init__(self, size):
        super().__init__()
        self.memory = self.add_weight(
            shape=(size,), dtype="int32", initializer="zeros", trainable=False
        )
        self.count = self.add_weight(
            shape=(), dtype="int32", initializer="zeros", trainable=False
        )
        self.dense = keras.layers.Dense(2)

    def call(self, inputs, training=False):
        if training:
            ids = keras.ops.cast(inputs[:, 0], "int32")
            at = self.count + keras.ops.arange(ids.shape[0])
            memory = keras.ops.scatter_update(
                self.memory.value, at[:, None], ids
            )
            self.memory.assign(memory)
            self.count.assign_add(ids.shape[0])
        return self.dense(inputs * 0.01)


@pytest.mark.parametrize("execution", [1, 2, 3])
@pytest.mark.some(1)
def test_fit_sees_the_same_batches_in_every_round(execution):
    x = np.arange(14, dtype="float32")[:, None]
    y = np.arange(14) % 2
    seen = Seen(100)
    model = keras.Sequential([keras.Input((1,), batch_size=4), seen])
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=execution,
    )
    batches = pipeline.Batches(x, y, batch_size=4, steps=6, seed=3)
    memories = []

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            memories.append(seen.memory.numpy()[:48])

    imp = tfl.IterativeMagnitudePruning(
        rounds=2, epochs_per_round=2, rate=0.4, verbose=0
    )
    model.fit(
        batches.dataset,
        steps_per_epoch=batches.steps,
        epochs=imp.epochs,
        validation_data=pipeline.evaluation(x, y),
        callbacks=[imp, batches, Keep()],
        shuffle=False,
        verbose=0,
    )
    expected = pipeline.order(3, 0, 12, 4, 14).ravel()
    for memory in memories[1::2]:
        assert memory.tolist() == expected.tolist()


def test_evaluation_gives_everything_once(monkeypatch):
    monkeypatch.setattr(pipeline, "_CHUNK", 4)
    x = np.arange(10)
    found = list(pipeline.evaluation(x, -x).as_numpy_iterator())
    assert [len(part) for part, _ in found] == [4, 4, 2]
    assert np.array_equal(np.concatenate([part for part, _ in found]), x)
    assert np.array_equal(np.concatenate([part for _, part in found]), -x)


def test_test_accuracy_is_that_of_evaluate(digits, monkeypatch):
    monkeypatch.setattr(pipeline, "_CHUNK", 100)
    model = models.lenet_300_100(digits.image_shape)
    model.compile(
        "adam",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(
        digits.x_train[:200],
        digits.y_train[:200],
        callbacks=[
            pipeline.TestAccuracy(
                pipeline.chunks(digits.x_test, digits.y_test)
            )
        ],
        verbose=0,
    ).history
    _, accuracy = model.evaluate(digits.x_test, digits.y_test, verbose=0)
    assert history["test_accuracy"] == [pytest.approx(accuracy)]


class TestModels:
    def test_lenet(self):
        model = models.lenet_300_100((28, 28, 1))
        assert model.count_params() == 266_610
        assert list(tfl.weights.prunable(model)) == [
            "fc1/kernel", "fc2/kernel", "logits/kernel",
        ]
        kernel = model.get_layer("fc1").kernel.numpy()
        assert kernel.std() == pytest.approx((2 / (784 + 300)) ** 0.5, rel=0.02)

    def test_seed(self):
        def kernels(seed):
            model = models.get("lenet_300_100")((8, 8, 1), 10, seed)
            return np.concatenate([w.numpy().ravel() for w in model.weights])

        assert np.array_equal(kernels(1), kernels(1))
        assert not np.array_equal(kernels(1), kernels(2))

    def test_unknown(self):
        with pytest.raises(ValueError, match="lenet_300_100"):
            models.get("lenet")


class TestPresets:
    def test_paper(self):
        for name in ("lenet-mnist", "lenet-fashion"):
            preset = experiments.preset(name)
            assert (preset.batch_size, preset.iterations) == (60, 50_000)
            assert (preset.evaluate_every, preset.rounds) == (100, 16)
            assert (preset.optimizer, preset.learning_rate) == ("adam", 1.2e-3)
            assert preset.rate == {"*": 0.2, "logits": 0.1}
            assert (preset.scope, preset.rewind_to) == ("layer", 0)

    def test_changes(self):
        preset = experiments.preset("lenet-digits", rounds=3, seed=None)
        assert preset.rounds == 3 and preset.seed == 0
        assert experiments.preset("lenet-digits").rounds == 15

    def test_unknown(self):
        with pytest.raises(ValueError, match="'lenet-digits', 'lenet-mnist'"):
            experiments.preset("lenet")

    @pytest.mark.parametrize(
        "changes, words",
        [
            ({"rounds": 0}, "`rounds`.*at least 1.*rounds=0"),
            ({"trials": 1.5}, "`trials`.*integer"),
            ({"iterations": 50}, "`iterations`.*multiple.*nearest is 40"),
            ({"rewind_to": "30it"}, "`rewind_to`.*nearest is 40"),
            ({"rewind_to": "1200it"}, "`rewind_to`.*end of the round"),
            ({"rate": {"*": 1.2}}, "`rate`"),
            ({"optimizer": "lion"}, "`optimizer`.*adam.*sgd"),
            ({"scope": "model"}, "`scope`.*layer.*global"),
            ({"learning_rate": 0.0}, "`learning_rate`"),
            ({"margin": -0.1}, "`margin`"),
            ({"test_densities": (0.5,) * 5}, "`test_densities`.*four"),
            ({"test_densities": ("20it",)}, "`test_densities`.*between 0"),
            ({"control_every": -1}, "`control_every`.*at least 0"),
        ],
    )
    def test_invalid(self, changes, words):
        with pytest.raises(ValueError, match=words):
            experiments.preset("lenet-digits", **changes)

    @pytest.mark.parametrize(
        "every, steps", [(20, 20), (100, 100), (469, 67), (211, 1)]
    )
    def test_steps_per_execution(self, every, steps):
        preset = experiments.preset(
            "lenet-digits", iterations=every, evaluate_every=every
        )
        assert preset.steps_per_execution == steps


def outcome(test, val=0.9, step=10):
    return records.Outcome(val, test, step, test)


class TestReport:
    def make(self, candidate=1, trials=1, **changes):
        rounds = [
            records.Round(0, 1.0, 1.0, 2.0, outcome(0.92)),
            records.Round(
                1, 0.25, 0.24, 1.0, outcome(0.9, step=1200),
                {
                    "random_reinitialize": [
                        outcome(x) for x in (0.8, 0.81, 0.82)
                    ],
                    "random_masks": [outcome(0.7)] * 3,
                },
            ),
        ]
        preset = experiments.preset("lenet-digits", **changes)
        return report.Report(
            preset,
            [records.Trial(n, rounds, candidate) for n in range(trials)],
            rules.Rules.of(preset.to_dict(), images=447, classes=10),
        )

    def test_one_trial_is_no_verdict(self):
        verdict = self.make().verdict
        assert verdict.startswith("Not tested: one trial, 447 test images")
        assert "25.0 % density: one trial, 447 images: this" in (
            verdict
        )
        assert "winning" not in verdict

    def test_is_the_judgement_of_the_rows(self):
        found = self.make(trials=3)
        again = judging.judge(
            found.rows(), found.control_rows(), found.rules
        )
        assert words_lib.text(again) == found.verdict
        assert found.to_dict()["verdicts"] == words_lib.to_dict(again)
        assert "early stop not measured in 3 of 3 trials" in found.verdict
        assert json.loads(json.dumps(found.to_dict(), allow_nan=False))

    def test_rows(self):
        dense, ticket = self.make().rows()
        assert not dense["candidate"] and ticket["candidate"]
        assert ticket["early_stop_censored"]
        assert [
            (dense[f"matches_{name}"], ticket[f"matches_{name}"])
            for name in ("early_stop", "final", "within_margins")
        ] == [(None, False)] * 3
        assert dense["random_masks_test_accuracy_mean"] is None
        assert ticket["random_reinitialize_test_accuracy_mean"] == (
            pytest.approx(0.81)
        )
        assert ticket["random_reinitialize_test_accuracy_std"] == (
            pytest.approx(0.01)
        )
        assert len(self.make().control_rows()) == 6

    def test_a_changed_preset_says_so(self):
        found = self.make(model="lenet_5")
        assert found.to_dict()["preset"]["summary"] == (
            "Changed from lenet-digits: model lenet_5 instead of "
            "lenet_300_100."
        )
        assert "lenet-digits, changed, trials: 1" in self.shown(found)
        assert "changed" not in self.shown(self.make(iterations=1000))

    def shown(self, found):
        console = rich.console.Console(
            width=80, record=True, file=io.StringIO()
        )
        console.print(found.render())
        return console.export_text()

    def test_table(self):
        text = self.shown(self.make())
        assert "81.0 ± 1.0" in text and "25.0" in text and "…" not in text
        assert "≥1200" in text

    def test_outcome_reads_the_early_stop(self):
        logs = [
            {"val_loss": loss, "val_accuracy": i, "test_accuracy": 10 * i}
            for i, loss in enumerate([3.0, 1.0, 2.0])
        ]
        assert records.Outcome.of(logs, 60, 20) == records.Outcome(
            val_accuracy=2,
            test_accuracy=20,
            early_stop_step=40,
            early_stop_test_accuracy=10,
            steps=60,
        )


class TestOutputDirectory:
    preset = experiments.preset("lenet-digits")

    def test_replaces_an_earlier_run_if_told_to(self, tmp_path):
        directory = outputs.OutputDirectory(tmp_path / "a" / "b")
        with directory.create(self.preset):
            (directory.trial(0).path / "rounds").mkdir(parents=True)
            (directory.path / "results.csv").write_text("old")
        changed = dataclasses.replace(self.preset, learning_rate=0.1)
        with pytest.raises(ValueError, match="learning_rate: 0.0012 there"):
            directory.check(changed)
        with directory.create(changed, overwrite=True):
            names = {path.name for path in directory.path.iterdir()}
        assert names == {"config.json", "lock"}
        config = json.loads((directory.path / "config.json").read_text())
        assert config == json.loads(json.dumps(changes.config(changed)))
        assert config["changed"] == {"learning_rate": [0.0012, 0.1]}

    def test_goes_on_with_more_of_the_same(self, tmp_path):
        directory = outputs.OutputDirectory(tmp_path)
        with directory.create(self.preset):
            (tmp_path / "results.csv").write_text("precious")
        more = dataclasses.replace(
            self.preset, rounds=20, trials=5, compare=("one-shot",),
        )
        with directory.create(more):
            assert (tmp_path / "results.csv").read_text() == "precious"
        with pytest.raises(ValueError, match="rounds: 20 there, 15 now"):
            directory.check(self.preset)

    def test_the_rules_are_fixed_before_the_run(self, tmp_path):
        directory = outputs.OutputDirectory(tmp_path)
        with directory.create(self.preset):
            pass
        lenient = dataclasses.replace(self.preset, margin=0.05)
        with pytest.raises(ValueError, match="margin: 0.005 there, 0.05 now"):
            directory.check(lenient)
        # The first release had none.
        config = json.loads((tmp_path / "config.json").read_text())
        del config["margin"], config["test_densities"]
        (tmp_path / "config.json").write_text(json.dumps(config))
        directory.check(lenient)

    def test_leaves_other_things_alone(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("precious")
        directory = outputs.OutputDirectory(tmp_path)
        with pytest.raises(ValueError, match="holds other files"):
            with directory.create(self.preset):
                pass
        assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]

    def test_leaves_another_preset_alone(self, tmp_path):
        directory = outputs.OutputDirectory(tmp_path)
        with directory.create(self.preset):
            pass
        with pytest.raises(ValueError, match="holds another preset"):
            directory.check(experiments.preset("lenet-mnist"))

    def test_cannot_be_written(self, tmp_path):
        (tmp_path / "file").write_text("")
        directory = outputs.OutputDirectory(tmp_path / "file" / "x")
        with pytest.raises(OSError, match="cannot be written"):
            with directory.create(self.preset):
                pass

    @pytest.mark.slow
    def test_in_use_by_another_process(self, tmp_path):
        directory = outputs.OutputDirectory(tmp_path)
        with directory.create(self.preset):
            (tmp_path / "results.csv").write_text("precious")
            done = subprocess.run(
                [
                    sys.executable, "-c",
                    "import sys\n"
                    "from tf_lottery import experiments\n"
                    "from tf_lottery.experiments import outputs\n"
                    "preset = experiments.preset('lenet-digits')\n"
                    "outputs.OutputDirectory(sys.argv[1])"
                    ".create(preset).__enter__()",
                    str(tmp_path),
                ],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 1
            assert "in use by another process" in done.stderr
            assert (tmp_path / "results.csv").read_text() == "precious"


SMALL = experiments.preset(
    "lenet-digits",
    iterations=40,
    rounds=2,
    rate={"*": 0.5, "logits": 0.2},
    trials=1,
    control_trials=2,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A whole experiment of a few seconds."""
    path = tmp_path_factory.mktemp("small")
    return experiments.run(SMALL, path), path


class TestRun:
    @pytest.mark.slow
    def test_rounds(self, small):
        found, _ = small
        rounds = found.trials[0].rounds
        assert [r.round for r in rounds] == [0, 1, 2]
        sizes = np.array([64 * 300, 300 * 100, 100 * 10])
        for r, kept in zip(rounds[1:], (0.5, 0.25)):
            kept = sizes @ [kept, kept, 0.8 ** r.round] / sizes.sum()
            assert r.density == pytest.approx(kept, abs=1e-4)
        assert all(r.outcome.test_accuracy > 0.5 for r in rounds)
        assert all(r.outcome.early_stop_step in (20, 40) for r in rounds)

    @pytest.mark.slow
    def test_controls(self, small):
        rounds = small[0].trials[0].rounds
        assert rounds[0].controls == {}
        for r in rounds[1:]:
            assert list(r.controls) == ["random_reinitialize", "random_masks"]
            for outcomes in r.controls.values():
                assert len(outcomes) == 2 and len(set(outcomes)) == 2

    def test_files(self, small):
        found, path = small
        for name in found.files:
            assert pathlib.Path(name).exists()
        assert json.loads((path / "config.json").read_text())["rounds"] == 2
        content = json.loads((path / "results.json").read_text())
        assert content["verdict"] == found.verdict
        assert len(content["trials"][0]["rounds"]) == 3
        with open(path / "results.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [float(row["density"]) for row in rows] == [
            r.density for r in found.trials[0].rounds
        ]
        with open(path / "trial-0" / "history.csv", newline="") as file:
            history = list(csv.DictReader(file))
        assert [row["round"] for row in history] == list("001122")
        with open(path / "controls.csv", newline="") as file:
            assert len(list(csv.DictReader(file))) == 2 * 2 * 2
        assert (path / "trial-0" / "rounds" / "02").is_dir()
        assert not list(path.rglob("*.tmp"))

    def test_candidate_ticket_is_written(self, small):
        found, path = small
        trial = found.trials[0]
        saved = path / "trial-0" / "candidate.ticket"
        assert saved.exists() == (trial.candidate is not None)
        if trial.candidate is not None:
            ticket = tfl.Ticket.load(saved)
            assert ticket.density == trial.rounds[trial.candidate].density
            assert ticket.verdict == "not tested: one trial"
            self.check_trained(path / "trial-0" / "candidate.keras", trial)

    def check_trained(self, path, trial):
        model = keras.saving.load_model(path)
        candidate = trial.rounds[trial.candidate]
        assert tfl.masks.density(tfl.masks_of(model)) == candidate.density
        data = experiments.load("digits")
        found = model.evaluate(data.x_test, data.y_test, verbose=0)
        assert found[1] == pytest.approx(candidate.outcome.test_accuracy)

    def test_the_page_says_what_the_console_says(self, small):
        found, path = small
        run = run_files.read(path)
        assert run.known == {"images": 447, "classes": 10}
        assert words_lib.text(run.judgement) == found.verdict
        with open(path / "results.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        for row, kept in zip(rows, found.rows()):
            assert row["early_stop_censored"] == str(
                kept["early_stop_censored"]
            )

    @pytest.mark.slow
    def test_repeats_itself(self, small, tmp_path):
        preset = dataclasses.replace(SMALL, control_trials=1)
        again = experiments.run(preset, tmp_path).trials[0]
        for r, other in zip(small[0].trials[0].rounds, again.rounds):
            assert r.outcome == other.outcome
            for name, outcomes in other.controls.items():
                assert outcomes[0] == r.controls[name][0]

    @pytest.mark.slow
    def test_trials_and_late_rewinding(self, tmp_path):
        preset = dataclasses.replace(
            SMALL, rounds=1, trials=2, rewind_to="20it", control_trials=1
        )
        found = experiments.run(preset, tmp_path)
        one, two = found.trials
        assert one.rounds[0].outcome != two.rounds[0].outcome
        with open(tmp_path / "trial-1" / "history.csv", newline="") as file:
            history = list(csv.DictReader(file))
        # The second round has 20 of the 40 steps left.
        assert [row["round"] for row in history] == list("001")
        assert one.rounds[1].outcome.early_stop_step == 40
        assert found.verdict.startswith("2 trials (a pilot")
        assert "447 test images" in found.verdict

    def test_diverged(self, tmp_path):
        preset = dataclasses.replace(
            SMALL, optimizer="sgd", learning_rate=1e30, rounds=1
        )
        with pytest.warns(UserWarning, match="diverged"):
            found = experiments.run(preset, tmp_path)
        assert found.trials[0].rounds == []
        assert found.verdict.startswith("Not tested")
        assert json.loads((tmp_path / "results.json").read_text())


def test_tickets_of_short_rounds_are_tested_at_full_length(tmp_path):
    """Tested tickets train once more, and the others are in no curve."""
    preset = dataclasses.replace(
        SMALL, iterations=80, rounds=3, middle_rounds=0.25, control_trials=0,
        test_densities=(0.25,), compare=(), max_barrier=0.9,
        rewind="learning_rate",
    )
    found = experiments.run(preset, tmp_path)
    rounds = found.trials[0].rounds
    assert [each.outcome.steps for each in rounds] == [80, 20, 80, 80]
    results = run_directory.RunDirectory(tmp_path / "trial-0").load_results()
    assert [result.steps for result in results] == [80, 20, 20, 80]
    assert all("barrier" in result.metrics for result in results[1:])
    run = run_files.read(tmp_path)
    rows = {row["round"]: row for row in run.rows}
    assert [rows[n]["steps"] for n in range(4)] == [80, 20, 80, 80]
    assert of_runs([run])["tickets"]["test_accuracy"].rounds == (0, 2, 3)
    logs = {row["round"]: logs for row, logs in histories.of_run(run)}
    assert [logs[n][-1][0] for n in range(4)] == [80, 20, 80, 80]
    assert logs[2][-1][1]["test_accuracy"] == rows[2]["test_accuracy"]
    # It is the ticket itself: as the round began, with its masks.
    subject = subject_lib.Subject(tmp_path)
    files = run_directory.RunDirectory(tmp_path / "trial-0")
    start = files.load_weights(2, "start")
    again = subject.bench(0).retrain(
        dataclasses.replace(subject.ticket(0, 2), snapshot=start)
    )
    assert again == rows[2]["test_accuracy"]
    assert experiments.run(preset, tmp_path).rows() == found.rows()
    with pytest.raises(ValueError, match="rounds: 3 there, 4 now"):
        experiments.run(dataclasses.replace(preset, rounds=4), tmp_path)
