"""A run that is killed and started again ends with the same results."""

import csv
import dataclasses
import os
import random
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tf_lottery import experiments
from tf_lottery.callbacks import interrupt
from tf_lottery.experiments import bench
from tf_lottery.experiments import compared_tickets
from tf_lottery.experiments import feeds
from tf_lottery.experiments import outputs
from tf_lottery.experiments import progress
from tf_lottery.experiments import trials
from tf_lottery.runs import branches

PRESET = experiments.preset(
    "lenet-digits",
    iterations=80,
    rounds=3,
    rate={"*": 0.5, "logits": 0.2},
    rewind_to="20it",
    control_trials=1,
    control_every=2,
    test_densities=(),
    trials=1,
    compare=(
        "random-reinit", "random-mask", "one-shot", "fine-tune", "lr-rewind",
    ),
    also_rewind_to=(0, "40it"),
)


def rows(path):
    """The rows of a table, without the time that rounds took."""
    with open(path, newline="") as file:
        found = list(csv.DictReader(file))
    for row in found:
        row.pop("seconds", None)
    return found


def contents(path):
    """What must not depend on kills."""
    trial = path / "trial-0"
    found = {
        str(name.relative_to(path)): rows(name)
        for name in sorted(path.rglob("*.csv"))
        if name.name in ("results.csv", "controls.csv", "history.csv")
        and name.parent in (path, trial)
    }
    if (trial / "candidate.ticket").exists():
        ticket = tfl.Ticket.load(trial / "candidate.ticket")
        found["candidate"] = (ticket.round, ticket.density)
    return found


class Trained(progress.Progress):
    """Counts the epochs that are trained in this process."""

    def __init__(self):
        self.epochs = self.skipped = 0

    def epoch_end(self):
        self.epochs += 1

    def skip(self, epochs):
        self.skipped += epochs


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed run: its report, directory and number of epochs."""
    path = tmp_path_factory.mktemp("whole")
    trained = Trained()
    return experiments.run(PRESET, path, trained), path, trained


class TestComparisons:
    @pytest.mark.slow
    def test_every_round_has_what_was_asked_for(self, whole):
        rounds = whole[0].trials[0].rounds
        variants = {
            "fine_tune", "lr_rewind", "rewind_to_0", "rewind_to_40",
        }
        assert rounds[0].controls == {}
        for round_ in rounds[1:]:
            expected = set(variants)
            if round_.round == 2:
                expected |= {
                    "random_reinitialize", "random_masks", "one_shot",
                }
            assert set(round_.controls) == expected

    @pytest.mark.slow
    def test_variants_share_the_dense_round(self, whole):
        _, path, trained = whole
        # 4 epochs dense, 3 rounds of 3 in the run and in two variants, of 4
        # and 2 from other points; for the ticket of round 2, 4 (from 0), 3
        # and 3.
        assert trained.epochs == 4 + 3 * (9 + 4 + 2) + 10
        dense = rows(path / "trial-0" / "results.csv")[0]
        for name in ("fine-tune", "lr-rewind", "rewind-to-40"):
            found = rows(path / "trial-0" / name / "results.csv")
            assert found[0] == dense and len(found) == 4

    def test_variants_are_what_they_are_called(self, whole):
        trial = whole[1] / "trial-0"
        dense = branches.dense_weights(trial / "dense")
        for name, step in (("fine-tune", 80), ("lr-rewind", 20)):
            files = tfl.runs.run_directory.RunDirectory(trial / name)
            start = files.load_weights(1, "start")
            masks = files.load_masks(1)
            for key, mask in masks.items():
                np.testing.assert_array_equal(
                    start.weights[key], dense[key] * mask
                )
            counters = [int(v) for v in start.optimizer if v.shape == ()
                        and v.dtype.kind == "i"]
            assert step in counters

    def test_one_shot_keeps_the_largest_of_the_dense_network(self, whole):
        report, path, _ = whole
        trial = path / "trial-0"
        dense = branches.dense_weights(trial / "dense")
        files = tfl.runs.run_directory.RunDirectory(trial)
        masks = files.load_masks(2)
        ticket = tfl.Ticket(masks, files.load_snapshot(), round=2)
        model = bench.Bench(PRESET, feeds.load(PRESET)).model
        found = compared_tickets.one_shot(ticket, model, dense, PRESET)
        for key, mask in found.masks.items():
            assert mask.sum() == masks[key].sum()
            kept, removed = np.abs(dense[key][mask]), np.abs(dense[key][~mask])
            assert kept.min() >= removed.max()
        assert any((found.masks[key] != masks[key]).any() for key in masks)
        assert found.snapshot.step == 20

    def test_one_shot_can_rank_all_layers_together(self, whole):
        preset = dataclasses.replace(
            PRESET, scope="global", rate={"*": 0.5}, exclude=("logits",)
        )
        model = bench.Bench(preset, feeds.load(preset)).model
        weights = {
            key: variable.numpy()
            for key, variable in tfl.weights.prunable(model).items()
        }
        keys = ["fc1/kernel", "fc2/kernel"]
        masks = tfl.masks.select(
            {key: np.abs(weights[key][::-1]) for key in keys}, 1000
        )
        ticket = tfl.Ticket(masks, tfl.Ticket.of(model).snapshot)
        found = compared_tickets.one_shot(ticket, model, weights, preset).masks
        assert list(found) == keys
        sizes = np.concatenate(
            [np.abs(weights[key]).ravel() for key in keys]
        )
        kept = np.concatenate([found[key].ravel() for key in keys])
        assert kept.sum() == 1000
        assert sizes[kept].min() >= sizes[~kept].max()

    def test_columns(self, whole):
        found = rows(whole[1] / "results.csv")
        assert found[2]["one_shot_test_accuracy_mean"]
        assert found[1]["lr_rewind_test_accuracy_mean"]
        names = {row["control"] for row in rows(whole[1] / "controls.csv")}
        assert names == {
            "random_reinitialize", "random_masks", "one_shot", "fine_tune",
            "lr_rewind", "rewind_to_0", "rewind_to_40",
        }

    @pytest.mark.some(1)
    @pytest.mark.parametrize("point", [0, "40it"])
    def test_another_rewinding_point_is_like_a_run_of_its_own(
        self, whole, tmp_path, point
    ):
        alone = dataclasses.replace(
            PRESET, rewind_to=point, also_rewind_to=(), compare=()
        )
        expected = experiments.run(alone, tmp_path).trials[0].rounds[1:]
        name = "rewind_to_40" if point else "rewind_to_0"
        found = whole[0].trials[0].rounds[1:]
        for one, other in zip(found, expected):
            assert one.controls[name] == [other.outcome]


class TestResume:
    def test_nothing_is_trained_again(self, whole):
        report, path, first = whole
        before = contents(path)
        trained = Trained()
        again = experiments.run(PRESET, path, trained)
        assert trained.epochs == 0 and trained.skipped == first.epochs
        assert again.rows() == report.rows()
        assert contents(path) == before

    def test_a_dense_round_that_was_kept_by_half_is_kept(
        self, whole, tmp_path
    ):
        (tmp_path / "rounds").mkdir()
        branches.publish(whole[1] / "trial-0" / "dense", tmp_path)
        assert branches.dense_weights(tmp_path)
        assert [*tmp_path.parent.glob(f".{tmp_path.name}.*")] == []

    def test_goes_on_with_more(self, whole, tmp_path):
        alone = dataclasses.replace(PRESET, also_rewind_to=())
        small = dataclasses.replace(alone, rounds=2, compare=())
        more = dataclasses.replace(alone, rounds=3, compare=("one-shot",))
        experiments.run(small, tmp_path)
        trained = Trained()
        found = experiments.run(more, tmp_path, trained).trials[0]
        expected = whole[0].trials[0]
        assert [r.outcome for r in found.rounds] == [
            r.outcome for r in expected.rounds
        ]
        assert found.rounds[2].controls["one_shot"] == (
            expected.rounds[2].controls["one_shot"]
        )
        assert trained.epochs == 3 + 3

    @pytest.mark.slow
    def test_overwrite_begins_again(self, tmp_path):
        small = dataclasses.replace(
            PRESET, rounds=1, compare=(), also_rewind_to=()
        )
        experiments.run(small, tmp_path)
        (tmp_path / "trial-0" / "candidate.ticket").write_text("stale")
        trained = Trained()
        other = dataclasses.replace(small, learning_rate=1e-3)
        experiments.run(other, tmp_path, trained, overwrite=True)
        assert trained.epochs == 4 + 3

    @pytest.mark.slow
    @pytest.mark.some(1)
    @pytest.mark.parametrize("epochs", [1, 6, 9])
    def test_history_is_written_as_it_goes(self, whole, tmp_path, epochs):
        class Stopped(Trained):
            def epoch_end(self):
                super().epoch_end()
                if self.epochs == epochs:
                    raise KeyboardInterrupt

        history = tmp_path / "trial-0" / "history.csv"
        with pytest.raises(KeyboardInterrupt):
            experiments.run(PRESET, tmp_path, Stopped())
        whole_history = rows(whole[1] / "trial-0" / "history.csv")
        assert rows(history) == whole_history[:epochs]
        # The next process begins at the last saved state: a round of 4 or 3.
        with open(history, "a") as file:
            file.write("1.5,0.")
        with pytest.raises(KeyboardInterrupt):
            experiments.run(PRESET, tmp_path, Stopped())
        saved = max(known for known in (0, 4, 7, 10) if known <= epochs)
        assert rows(history) == whole_history[:saved + epochs]

    @pytest.mark.slow
    def test_half_written_history_is_mended(self, tmp_path):
        small = dataclasses.replace(
            PRESET, rounds=1, compare=(), also_rewind_to=()
        )
        experiments.run(small, tmp_path)
        place = outputs.OutputDirectory(tmp_path).trial(0)
        before = place.history.read_text()
        place.history.write_text(before + "0.5,0.")
        experiments.run(small, tmp_path)
        assert place.history.read_text() == before


@pytest.mark.slow
def test_ended_within_an_epoch(tmp_path, monkeypatch):
    preset = experiments.preset(
        "lenet-digits", iterations=600, evaluate_every=300, rounds=1, trials=1,
        control_trials=0,
    )
    guard, signals = interrupt.Interrupt.guard, iter([None, signal.SIGINT])

    def guarded(self, *arguments):
        guard(self, *arguments)
        self.signal = next(signals)

    monkeypatch.setattr(interrupt.Interrupt, "guard", guarded)
    with pytest.raises(KeyboardInterrupt):
        experiments.run(preset, tmp_path)
    monkeypatch.undo()
    # It goes on from where it was, and says nothing else.
    found = experiments.run(preset, tmp_path).trials[0].rounds
    assert [each.outcome.steps for each in found] == [600, 600]


class FakePruning:
    """Knows what an `IterativeMagnitudePruning` would say after a round."""

    monitor = tfl.runs.results.Monitor("val_accuracy")

    def __init__(self, model):
        self.model, self.results = model, []

    def end_round(self, accuracy):
        number = len(self.results)
        self.results.append(
            tfl.runs.results.RoundResult(
                number, 0.5 ** number, {}, {"val_accuracy": accuracy}, 10,
                None, 0.0,
            )
        )

    def candidate_ticket(self):
        found = tfl.runs.results.candidate(self.results, self.monitor)
        return dataclasses.replace(
            tfl.Ticket.of(self.model), round=found.round
        )


def test_the_candidate_is_the_last_one_that_matches(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    imp, place = FakePruning(model), outputs.TrialDirectory(tmp_path)
    keep = trials.KeepCandidate(imp, place)
    keep.set_model(model)
    keep.on_epoch_begin(0)

    def end_round(accuracy, weight):
        imp.end_round(accuracy)
        model.layers[0].bias.assign([weight])
        keep.on_epoch_end(0)
        if not (tmp_path / "candidate.keras").exists():
            return None
        saved = keras.saving.load_model(tmp_path / "candidate.keras")
        return place.candidate_round(), float(saved.layers[0].bias[0])

    assert end_round(0.8, 1.0) is None
    assert end_round(0.7, 2.0) is None
    assert end_round(0.8, 3.0) == (2, 3.0)
    assert end_round(0.9, 4.0) == (3, 4.0)
    assert end_round(0.7, 5.0) == (3, 4.0)
    # Killed between the end of the last round and its callbacks.
    imp.end_round(0.8)
    model.layers[0].bias.assign([6.0])
    trials.KeepCandidate(imp, place).finish(model)
    assert place.candidate_round() == 5
    # The first release's name of it is still read.
    (tmp_path / "candidate.ticket").rename(tmp_path / "winning.ticket")
    assert place.candidate_round() == 5


CHILD = """
import sys
from tf_lottery import experiments
from tests.experiments.test_resume import PRESET
experiments.run(PRESET, sys.argv[1])
"""


def child(path):
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_killed_at_random(whole, tmp_path):
    """Killed twice, somewhere between its first and its last file."""
    rng = random.Random(time.time_ns())
    marks = rng.sample(range(1, 22), 2)
    statuses = []
    for mark in sorted(marks):
        process = child(tmp_path)
        while process.poll() is None and progress_of(tmp_path) < mark:
            time.sleep(0.002)
        time.sleep(rng.random() * 0.1)
        process.kill()
        statuses.append(process.wait())
    experiments.run(PRESET, tmp_path)
    assert contents(tmp_path) == contents(whole[1]), (marks, statuses)
    assert statuses.count(-signal.SIGKILL) >= 1


def progress_of(path):
    """How far a run has come: rounds that have begun, and finished files."""
    # Temporary directories vanish on the way, which `os.walk` does not mind.
    names = [
        name for _, _, found in os.walk(path / "trial-0") for name in found
    ]
    return sum(
        name == "masks.safetensors" or name.startswith("round-")
        for name in names
    )
