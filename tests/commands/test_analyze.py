"""`tf-lottery analyze`: on one tiny run that all tests share."""

import csv
import json
import shutil
import sys
import xml.etree.ElementTree

import keras
import numpy as np
import pytest

from tests import conftest
from tf_lottery import __main__ as cli
from tf_lottery import analysis
from tf_lottery import experiments
from tf_lottery import files
from tf_lottery.analysis import bands
from tf_lottery.analysis import findings
from tf_lottery.experiments.analyses import kind as kind_lib
from tf_lottery.experiments.analyses import session as session_lib
from tf_lottery.experiments.analyses import subject as subject_lib
from tf_lottery.experiments.analyses import trainings as trainings_lib
from tf_lottery.runs import branches
from tf_lottery.runs import run_directory

ROUNDS, TRIALS = 2, 2


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two trials with two rounds; tests must not write into it."""
    path = tmp_path_factory.mktemp("analyze") / "run"
    preset = experiments.preset(
        "lenet-digits", iterations=60, rounds=ROUNDS, trials=TRIALS,
        control_trials=1, control_every=2, compare=("random-mask",),
        test_densities=(),
        rate={"*": 0.5, "logits": 0.2},
    )
    experiments.run(preset, path)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where all tests keep the trained weights, each trained once."""
    return tmp_path_factory.mktemp("analyze") / "found"


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


@pytest.fixture(scope="module", autouse=True)
def shared_benches():
    """Traces a model once: what one analysis leaves must serve another."""
    make, benches = subject_lib.Subject.bench, {}

    def bench(subject, trial, iterations=None):
        key = json.dumps(subject.preset.to_dict()), trial, iterations
        if key not in benches:
            benches[key] = make(subject, trial, iterations)
        return benches[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject_lib.Subject, "bench", bench)
        yield


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


class Told(session_lib.Progress):
    """Remembers what an analysis did, and stops where it is told to."""

    def __init__(self, stop_after=None):
        self.trained, self.items, self.plans = [], [], []
        self.stop_after = stop_after

    def plan(self, plan):
        self.plans.append(plan)

    def training_begin(self, training):
        self.trained.append(training)

    def measured(self, item):
        self.items.append(item)
        if len(self.items) == self.stop_after:
            raise KeyboardInterrupt


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def content(path):
    return {
        str(each.relative_to(path)): each.read_bytes()
        for each in path.rglob("*") if each.is_file()
    }


def trainings_of(run, place):
    return trainings_lib.Trainings(
        subject_lib.Subject(run), place / "weights", Told()
    )


# Every kind.

ARGUMENTS = {
    "stability": ["--rounds", "1"],
    "connectivity": ["--rounds", "1", "--points", "5", "--samples", "100"],
    "robustness": ["--rounds", "1", "--epsilon", "0.1,64/255", "--samples",
                   "50"],
    "capacity": ["--rounds", "2", "--epochs", "2", "--samples", "60"],
}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    "kind", conftest.slow_but(["accuracy", "overlap"], findings.KINDS)
)
def test_every_kind(kind, run, place, capsys):
    before = content(run)
    arguments = ["analyze", kind, str(run), "--output-dir", str(place)]
    assert cli.main([*arguments, *ARGUMENTS.get(kind, ())]) == 0
    out, err = capsys.readouterr()
    table = out[out.index(kind_lib.get(kind).title):].split("Files writ")[0]
    assert err == ""
    assert "…" not in table
    assert kind_lib.get(kind).title in out and f"{kind}.csv" in out
    assert "2 trials" in out
    assert content(run) == before, "the run is only read"
    found, = (f for f in findings.read(place) if f.kind == kind)
    assert found.kind == kind and found.cells and found.rows
    rows = rows_of(place / f"{kind}.csv")
    assert len(rows) == len(found.rows)
    assert {row["trial"] for row in rows} == {"0", "1"}
    for name, chart in found.charts.items():
        stem = f"{kind}-{name}" if name else kind
        drawn = xml.etree.ElementTree.parse(place / f"{stem}.svg").getroot()
        assert drawn.tag == f"{SVG}svg"
        titles = [e.text for e in drawn.iter(f"{SVG}text")]
        assert chart["title"] in titles
        records = chart["data"]["values"]
        assert records
        assert np.isfinite([r.get("y", r.get("value")) for r in records]).all()
    assert "" in found.charts
    assert len(found.cells[0]) == len(found.heads)
    assert findings.Finding(**found.to_dict()) == found


@pytest.mark.parametrize("kind", findings.KINDS)
def test_a_kind_has_the_name_of_its_module(kind):
    assert kind_lib.get(kind).name == kind


# Trained again.


@pytest.mark.slow
def test_a_ticket_trained_again_is_that_of_the_run(copy, tmp_path):
    """Bit for bit, with the weights that the run has kept."""
    kept = {
        trial: branches.dense_weights(copy / f"trial-{trial}" / "dense")
        for trial in range(TRIALS)
    }
    for trial in range(TRIALS):
        shutil.rmtree(copy / f"trial-{trial}" / "dense")
    trainings = trainings_of(copy, tmp_path / "found")
    used = [
        trainings_lib.Training(trial, number)
        for trial in kept for number in (0, ROUNDS)
    ]
    assert trainings.note(used) is None
    for trial, dense in kept.items():
        found = trainings.weights(trainings_lib.Training(trial, 0))
        for key in found:
            np.testing.assert_array_equal(found[key], dense[key])
        last = trainings_lib.Training(trial, ROUNDS)
        found = trainings.weights(last)
        arrays, position = run_directory.RunDirectory(
            copy / f"trial-{trial}"
        ).load_state()
        for key in found:
            np.testing.assert_array_equal(found[key], arrays[f"weight/{key}"])
        recorded = subject_lib.Subject(copy).accuracy(trial, ROUNDS)
        assert trainings.accuracy(last) == pytest.approx(recorded, abs=1e-9)
    assert "the very test accuracies" in trainings.note(used)
    assert trainings_of(copy, tmp_path / "found").note(used) is not None


@pytest.mark.slow
def test_another_order_is_another_training(run, place):
    trainings = trainings_of(run, place)
    one, other = (
        trainings.weights(trainings_lib.Training(0, 1, order=order))
        for order in (0, 1)
    )
    masks = trainings.masks(trainings_lib.Training(0, 1))
    for key, mask in masks.items():
        assert not np.array_equal(one[key], other[key])
        assert not one[key][~mask].any() and not other[key][~mask].any()


@pytest.mark.slow
def test_random_masks_are_those_of_the_runs_controls(run, place):
    """So that the accuracy is the one that the run recorded."""
    trainings = trainings_of(run, place)
    found = trainings.accuracy(
        trainings_lib.Training(1, ROUNDS, "random", 0, seed=0)
    )
    recorded = [
        float(row["test_accuracy"]) for row in rows_of(run / "controls.csv")
        if (row["trial"], row["round"]) == ("1", str(ROUNDS))
    ]
    assert recorded == [pytest.approx(found, abs=1e-9)]


def test_weights_of_another_ticket_are_not_taken(run, place, tmp_path):
    training = trainings_lib.Training(0, 1)
    trainings = trainings_of(run, place)
    trainings.weights(training)
    assert trainings.missing([training, training]) == []
    copy = shutil.copytree(run, tmp_path / "copy")
    other = run_directory.RunDirectory(copy / "trial-0")
    masks = other.load_masks(1)
    other.save_masks(1, {key: mask[::-1] for key, mask in masks.items()})
    assert trainings_of(copy, place).missing([training]) == [training]
    name = f"{training.name}.safetensors"
    (tmp_path / "weights").mkdir()
    data = (place / "weights" / name).read_bytes()
    (tmp_path / "weights" / name).write_bytes(data[:-9])
    assert trainings_of(run, tmp_path).missing([training] * 2) == [training]


# What is measured.


@pytest.mark.slow
def test_stability_is_the_distance_of_the_trained_weights(run, place):
    found, _ = experiments.analyze("stability", run, place, rounds=(1,))
    trainings = trainings_of(run, place)
    assert [row["trial"] for row in found.rows] == [0, 1]
    for row in found.rows:
        dense = trainings.weights(trainings_lib.Training(row["trial"], 0))
        for kind in trainings_lib.MASKS:
            one, other = (
                trainings_lib.Training(row["trial"], 1, kind, order)
                for order in (0, 1)
            )
            masks = trainings.masks(one)
            a, b = map(trainings.weights, (one, other))
            for what, pair in (("order", (a, b)), ("pruning", (dense, a))):
                square = sum(
                    (np.square(
                        pair[0][key].astype("float64") - pair[1][key]
                    ) * mask).sum()
                    for key, mask in masks.items()
                )
                assert row[f"{what}_l2_{kind}"] == pytest.approx(
                    np.sqrt(square), rel=1e-9
                )
    assert all(0 < row["order_angle_ticket"] < 90 for row in found.rows)


@pytest.mark.slow
def test_several_orders_and_masks(run, place):
    """Stability is a mean over pairs of them, connectivity has them all."""
    chosen = {"rounds": (1,), "orders": 3}
    found, _ = experiments.analyze("stability", run, place, masks=2, **chosen)
    trainings = trainings_of(run, place)
    row = found.rows[0]
    for kind, seeds in (("ticket", [0]), ("random", [0, 1])):
        ends = {
            (seed, order): trainings_lib.Training(
                row["trial"], 1, kind, order, seed
            )
            for seed in seeds for order in range(3)
        }
        distances = [
            analysis.stability(
                *map(trainings.weights, (ends[seed, a], ends[seed, b])),
                trainings.masks(ends[seed, a]),
            ).distance
            for seed in seeds for a, b in ((0, 1), (0, 2), (1, 2))
        ]
        assert row[f"order_l2_{kind}"] == pytest.approx(np.mean(distances))
    found, _ = experiments.analyze(
        "connectivity", run, place, points=2, samples=50, **chosen
    )
    pairs = [row["orders"] for row in found.rows if row["trial"] == 0]
    assert pairs == ["0-1", "0-2", "1-2"]


def test_stability_beside_the_paper():
    from tf_lottery.analysis import published
    from tf_lottery.experiments.analyses import stability

    row = {
        "density": 0.108, "order_l2_ticket": 20.0, "order_l2_random": 60.0,
        "order_ratio": 3.0, "pruning_l2_ticket": 40.0,
        "pruning_l2_random": 60.0, "pruning_ratio": 1.5,
    }
    table = published.PUBLISHED["lenet-mnist"]["stability"]
    found = stability._compared(table, [row])
    assert [(c["paper"], c["ours"]) for c in found] == [
        ("20.7", "20.0"), ("58.6", "60.0"), ("2.8×", "3.0×"),
        ("48.1", "40.0"), ("75.7", "60.0"), ("1.6×", "1.5×"),
    ]
    far = stability._compared(table, [{**row, "density": 0.5}])
    assert {c["ours"] for c in far} == {"not measured"}
    assert stability._compared(None, [row]) == []


@pytest.mark.slow
def test_connectivity(run, place):
    found, _ = experiments.analyze(
        "connectivity", run, place, rounds=(1,), points=3, samples=200
    )
    subject = subject_lib.Subject(run)
    trainings = trainings_of(run, place)
    row = next(r for r in found.rows if (r["trial"], r["round"]) == (1, 1))
    ends = [
        trainings.weights(trainings_lib.Training(1, 1, order=order))
        for order in (0, 1)
    ]
    points = [ends[0], {k: (ends[0][k] + ends[1][k]) / 2 for k in ends[0]},
              ends[1]]
    x, y = subject.data.x_test[:200], subject.data.y_test[:200]
    errors = []
    for weights in points:
        hidden = x.reshape(len(x), -1)
        for layer in ("fc1", "fc2"):
            hidden = np.maximum(
                hidden @ weights[f"{layer}/kernel"] + weights[f"{layer}/bias"],
                0,
            )
        logits = hidden @ weights["logits/kernel"] + weights["logits/bias"]
        errors.append((logits.argmax(-1) != y).mean())
    assert row["test_barrier"] == pytest.approx(
        max(errors) - (errors[0] + errors[2]) / 2, abs=1e-9
    )
    assert row["test_error"] == pytest.approx((errors[0] + errors[2]) / 2)
    assert row["stable"] == (
        max(row["test_barrier"], row["train_barrier"]) < 0.02
    )


def test_movement_needs_no_training(run, tmp_path):
    told = Told()
    found, _ = experiments.analyze(
        "movement", run, tmp_path / "found", told
    )
    assert told.trained == []
    row = next(
        r for r in found.rows
        if (r["trial"], r["round"], r["layer"]) == (1, 2, "fc2/kernel")
    )
    subject = subject_lib.Subject(run)
    ticket = subject.ticket(1, 2)
    start = ticket.snapshot.weights["fc2/kernel"]
    moved = np.abs(subject.trained_dense(1)["fc2/kernel"] - start)
    mask = ticket.masks["fc2/kernel"]
    assert row["kept_mean"] == pytest.approx(moved[mask].mean(), rel=1e-5)
    assert row["pruned_mean"] == pytest.approx(moved[~mask].mean(), rel=1e-5)
    assert row["kept"] == mask.sum()


def test_overlap_between_trials_and_rounds(run, place):
    found, _ = experiments.analyze("overlap", run, place)
    rows = {
        (r["trial"], r["other_trial"], r["round"], r["other_round"],
         r["layer"]): r for r in found.rows
    }
    subject = subject_lib.Subject(run)
    for (trial, other, number, before, layer), row in rows.items():
        if layer == "all":
            continue
        a = subject.masks(trial, before)[layer]
        b = subject.masks(other, number)[layer]
        assert row["jaccard"] == pytest.approx((a & b).sum() / (a | b).sum())
        assert (row["between"] == "rounds") == (trial == other)
    assert len(rows) == 4 * (TRIALS + ROUNDS)
    # Masks of successive rounds nest.
    nested = rows[0, 0, 2, 1, "all"]["jaccard"]
    assert nested == pytest.approx(
        subject.density(0, 2) / subject.density(0, 1)
    )
    assert set(found.charts) == {"", "layers", "rounds"}


def test_overlap_of_one_trial(copy, tmp_path):
    shutil.rmtree(copy / "trial-1")
    found, _ = experiments.analyze("overlap", copy, tmp_path / "found")
    assert list(found.charts) == [""]
    marks = [each["mark"]["type"] for each in found.charts[""]["layer"]]
    assert marks == ["rect", "text"]
    assert {row["between"] for row in found.rows} == {"rounds"}


@pytest.mark.slow
def test_gap_and_robustness_see_the_same_model(run, place):
    gap, _ = experiments.analyze("gap", run, place)
    recorded = {
        (row["trial"], row["round"]): float(row["test_accuracy"])
        for row in rows_of(run / "results.csv")
    }
    for row in gap.rows:
        key = str(row["trial"]), str(row["round"])
        assert row["test_accuracy"] == pytest.approx(recorded[key], abs=1e-6)
        assert row["accuracy_gap"] == pytest.approx(
            row["train_accuracy"] - row["test_accuracy"]
        )
    attacked, _ = experiments.analyze(
        "robustness", run, place, samples=447, epsilons=(0.5,), rounds=(2,)
    )
    for row in attacked.rows:
        key = str(row["trial"]), str(row["round"])
        assert row["clean_accuracy"] == pytest.approx(recorded[key], abs=1e-6)
        assert row["accuracy"] < row["clean_accuracy"]


def test_pixels_are_what_the_model_was_trained_on():
    from tf_lottery.experiments.analyses import robustness

    rng = np.random.default_rng(0)
    images = rng.normal(size=(20, 4, 4, 3)).astype("float32") * (1, 2, 3) + 4
    data = experiments.Data("", 2, *[images, np.zeros(20)] * 3)
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten()])
    scaled, low, span = robustness._of_pixels(model, data)
    pixels = ((images - low) / span).astype("float32")
    assert pixels.min((0, 1, 2)) == pytest.approx(0, abs=1e-6)
    assert pixels.max((0, 1, 2)) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(
        scaled(pixels), images.reshape(20, -1), rtol=1e-4, atol=1e-4
    )


def test_masked_gradients_are_told():
    from tf_lottery.experiments.analyses import robustness

    rows = [
        {"trial": 0, "round": 3, "epsilon": 0.1, "attack": attack,
         "accuracy": accuracy}
        for attack, accuracy in (("fgsm", 0.5), ("pgd", 0.6))
    ]
    assert "rounds 3" in next(robustness._masked(rows, 0.01))
    assert list(robustness._masked(rows, 0.2)) == []


@pytest.mark.slow
def test_capacity_of_more_weights_is_larger(copy, monkeypatch):
    from tf_lottery.experiments.analyses import capacity

    monkeypatch.setattr(capacity, "_TRAININGS", 1)
    shutil.rmtree(copy / "trial-1")
    found, _ = experiments.analyze(
        "capacity", copy, samples=60, epochs=12, rounds=(0, 2), seed=1
    )
    dense, sparse = (row["accuracy"] for row in found.rows)
    assert dense > sparse > 0.1 and dense > 0.3
    assert [row["labels"] for row in found.rows] == [1, 1]


# Going on.


@pytest.mark.slow
def test_an_interrupted_analysis_goes_on(copy, capsys):
    place, rounds = copy / "analysis", (0, 1)
    told = Told(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        experiments.analyze("gap", copy, progress=told, rounds=rounds)
    assert told.items == [(0, 0)]
    assert not (place / "gap.json").exists()
    assert not (place / "gap.csv").exists()
    told = Told()
    first, _ = experiments.analyze("gap", copy, progress=told, rounds=rounds)
    assert told.plans[0].measured == 1
    # The model of a trial is compiled once.
    assert told.items == [(1, 0), (1, 1), (0, 1)]
    assert len(told.trained) == len(told.plans[0].trainings) == 2
    assert any("trained again" in note for note in first.notes)
    # All is there: nothing is trained or measured, and the result is equal.
    told = Told()
    again, _ = experiments.analyze("gap", copy, progress=told, rounds=rounds)
    assert told.trained == told.items == [] and again == first
    # Other settings are measured anew, on the weights that are there.
    told = Told()
    fewer, _ = experiments.analyze(
        "gap", copy, progress=told, rounds=rounds, samples=50
    )
    assert told.trained == [] and len(told.items) == 4
    assert any("first 50 examples" in note for note in fewer.notes)
    # A file that is damaged is measured again.
    (place / "measured" / "gap.json").write_text("{")
    told = Told()
    experiments.analyze("gap", copy, progress=told, rounds=(1,))
    assert told.items == [(0, 1), (1, 1)] and told.trained == []


@pytest.mark.slow
def test_the_cost_is_told_before(run, tmp_path, capsys):
    place = tmp_path / "found"
    assert cli.main(["analyze", "gap", str(run), "--rounds", "1",
                     "--output-dir", str(place)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("to train: 2 networks of 60 steps, at most")
    weights = list((place / "weights").iterdir())
    size = sum(path.stat().st_size for path in weights) / 1e6
    told = float(lines[0].rpartition("; ")[2].split()[0])
    assert len(weights) == 2 and told == pytest.approx(size, rel=0.2)
    assert sum(line.startswith("training: ") for line in lines) == 2


@pytest.mark.slow
def test_a_budget_leaves_rounds_out(run, tmp_path, monkeypatch):
    from tf_lottery.experiments.analyses import trainings

    monkeypatch.setattr(trainings.Trainings, "seconds", lambda *_: 40.0)
    told = Told()
    found, _ = experiments.analyze(
        "gap", run, tmp_path / "found", told, rounds=(0, 1, 2), samples=50,
        budget="100s"
    )
    # The dense round is there, each other one takes 2 trials of 40 s.
    assert told.plans[0].left_out == [2]
    assert {row["round"] for row in found.rows} == {0, 1}
    assert any("Rounds 2 are left out" in note for note in found.notes)
    with pytest.raises(ValueError, match="no time for round 1.*about 80 s"):
        experiments.analyze(
            "gap", run, tmp_path / "other", rounds=(1, 2), budget="10s",
        )
    assert not (tmp_path / "other").exists()


# Unfinished and damaged runs, and other mistakes.


def test_an_unfinished_run(copy, tmp_path):
    """Killed in round 2 of the first trial."""
    shutil.rmtree(copy / "trial-1")
    for name in ("results.csv", "results.json", "controls.csv"):
        (copy / name).unlink()
    trial = run_directory.RunDirectory(copy / "trial-0")
    trial.save_results(trial.load_results()[:2])
    for kind in ("accuracy", "density", "movement"):
        found, _ = experiments.analyze(kind, copy, tmp_path / "found")
        assert max(row["round"] for row in found.rows) == 1
        assert any("Unfinished: 1 of 2 trials" in n for n in found.notes)
    with pytest.raises(ValueError) as caught:
        experiments.analyze("gap", copy, rounds=(1, 2))
    assert "Received: [2]. Expected: rounds 0 to 1 (the run is unfini" in str(
        caught.value
    )
    assert not (copy / "analysis").exists()
    trial.save_results([])
    with pytest.raises(ValueError, match="no finished round yet"):
        experiments.analyze("density", copy)


def error_of(capsys, *arguments):
    assert cli.main(["analyze", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and err.count("\n") == 1
    assert "Traceback" not in out + err
    return err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["gap", "--rounds", "7"], "Received: [7]. Expected: rounds 0 to 2."),
        (["stability", "--rounds", "0"], "Expected: rounds 1 to 2."),
        (["movement", "--rounds", "0,1"], "Received: [0]."),
        (["gap", "--rounds", "-1"], "--rounds must be an integer of at least"),
        (["gap", "--samples", "0"], "--samples must be an integer of at le"),
        (["connectivity", "--points", "1"], "--points must be an integer of"),
        (["capacity", "--epochs", "0"], "--epochs must be an integer of at"),
        (["robustness", "--epsilon", "0.1,2"], "at most 1, in units of the"),
    ],
)
def test_bad_arguments(run, tmp_path, capsys, arguments, words):
    kind, *others = arguments
    place = tmp_path / "found"
    assert words in error_of(
        capsys, kind, run, *others, "--output-dir", place
    )
    assert not place.exists()


def test_usage_errors(run, capsys):
    for arguments in (
        [], ["beauty", str(run)], ["gap"],
        ["stability", str(run), "--epsilon", "0.1"],
        ["gap", str(run), "--rounds", "all"],
        ["robustness", str(run), "--epsilon", "1/0"],
        ["gap", str(run), "--budget", "soon"],
    ):
        with pytest.raises(SystemExit) as caught:
            cli.main(["analyze", *arguments])
        assert caught.value.code == 2
    assert "are no numbers" in capsys.readouterr().err
    with pytest.raises(ValueError, match="`kind` must be one of.*'beauty'"):
        experiments.analyze("beauty", run)


def test_what_is_no_run(copy, capsys, tmp_path):
    nowhere = tmp_path / "nowhere"
    assert "is not the directory of a run" in error_of(
        capsys, "gap", nowhere
    )
    assert not nowhere.exists()
    assert "without 'dataset'" in error_of(capsys, "gap", copy / "trial-0")
    config = copy / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "colour": "red"}))
    assert "cannot be read" in error_of(capsys, "gap", copy)
    config.write_text("{")
    assert "config.json' is damaged" in error_of(capsys, "gap", copy)
    config.write_text(json.dumps(values))
    (copy / "trial-1" / "results.json").write_text("[1]")
    assert "results.json' is damaged" in error_of(capsys, "density", copy)
    assert not (copy / "analysis").exists()


def test_data_that_are_not_there(copy, capsys, tmp_path, monkeypatch):
    from tf_lottery.experiments import datasets

    config = copy / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "dataset": "mnist"}))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    monkeypatch.setitem(datasets._HOSTS, "mnist", "http://localhost:9")
    assert "TFDS_DATA_DIR" in error_of(capsys, "gap", copy)
    assert not (copy / "analysis").exists()
    # What needs no data is not kept from anyone.
    assert cli.main(["analyze", "density", str(copy)]) == 0


def test_data_that_are_streamed(copy, capsys, monkeypatch):
    from tf_lottery.experiments import feeds
    from tf_lottery.experiments import streaming

    class Streamed(streaming.Streamed):
        def __init__(self):
            self.name = "imagenet2012"

    monkeypatch.setattr(feeds, "load", lambda preset: Streamed())
    assert "takes data that fit into memory" in error_of(capsys, "gap", copy)


def test_a_directory_that_is_in_use(copy, capsys):
    import subprocess

    place = copy / "analysis"
    place.mkdir()
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'a'); "
        "fcntl.flock(file, fcntl.LOCK_EX); print('held', flush=True); "
        "sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(place / "lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    try:
        assert other.stdout.readline() == "held\n"
        assert "in use by another process" in error_of(capsys, "gap", copy)
    finally:
        other.communicate("")


def test_without_the_extra(run, tmp_path, capsys, monkeypatch):
    """Measurements are written; only charts need it."""
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    place = tmp_path / "found"
    assert "pip install tf_lottery[plot]" in error_of(
        capsys, "density", run, "--png", "--output-dir", place
    )
    assert not place.exists()
    with pytest.warns(UserWarning, match=r"left out.*tf_lottery\[plot\]"):
        _, paths = experiments.analyze("density", run, place)
    assert [path.name for path in paths] == ["density.csv", "density.json"]
    assert all(path.exists() for path in paths)


def test_png(run, tmp_path):
    _, paths = experiments.analyze(
        "density", run, tmp_path / "found", png=True
    )
    drawn = [path for path in paths if path.suffix == ".png"]
    assert [p.name for p in drawn] == ["density.png", "density-effective.png"]
    for path in drawn:
        assert path.read_bytes().startswith(b"\x89PNG")
    names = {path.name for path in (tmp_path / "found").iterdir()}
    assert names == {path.name for path in paths} | {"lock"}


@pytest.mark.slow
def test_a_run_that_is_replaced_loses_its_analyses(copy):
    experiments.analyze("density", copy)
    preset = subject_lib.Subject(copy).preset
    experiments.run(preset.from_dict({
        **preset.to_dict(), "rounds": 1, "trials": 1, "control_trials": 0,
        "iterations": 20,
    }), copy, overwrite=True)
    assert not (copy / "analysis").exists()


# The page.


def test_the_report_shows_what_was_found(copy):
    bare = analysis.report(copy).read_text()
    for kind in ("density", "movement"):
        experiments.analyze(kind, copy)
    text = analysis.report(copy).read_text()
    assert "Weight movement" in text and "Weight movement" not in bare
    assert text.count("data-chart=") == bare.count("data-chart=") + 4
    assert text.index("Weight movement") < text.index("on no path")
    (copy / "analysis" / "movement.json").write_text('{"kind": 3}')
    with pytest.raises(ValueError, match="movement.json' is damaged"):
        analysis.report(copy)


# Tables and lines.


def test_bands():
    rows = [
        {"round": 2, "density": 0.25, "l2": float("nan")},
        {"round": 1, "density": 0.5, "l2": 1.0},
        {"round": 1, "density": 0.6, "l2": 2.0},
        {"round": 1, "density": 0.55},
        {"round": 3, "density": 0.125, "l2": 4.0},
    ]
    column = bands.Column("distance", "l2", 10, "{:.0f}")
    assert [(r["trial"], r["x"], r["y"]) for r in bands.records(
        rows, column
    )] == [
        ("0.0", pytest.approx(55), 10), ("0.1", pytest.approx(55), 20),
        ("0.0", 12.5, 40),
    ]
    heads, cells = bands.table(rows, [column])
    assert heads == ["round", "density %", "distance"]
    assert cells == [
        ["1", "55.00", "15 (10–20)"], ["2", "25.00", "–"],
        ["3", "12.50", "40"],
    ]


def test_a_finding_has_no_nan_in_its_file():
    found = findings.Finding(
        "gap", "t", "s", [{"a": float("nan")}], ["a"], [["–"]], {}
    )
    assert found.to_dict()["rows"] == [{"a": None}]


def test_files_of_weights_are_whole(run, place):
    trainings_of(run, place).weights(trainings_lib.Training(0, 1))
    for path in (place / "weights").iterdir():
        arrays, header = files.read_arrays(path)
        assert set(header) == {"digest", "test_accuracy"}
        assert set(arrays) == {
            f"{layer}/{part}" for layer in ("fc1", "fc2", "logits")
            for part in ("kernel", "bias")
        }
