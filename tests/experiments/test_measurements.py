"""Runs as one tidy table, each training once."""

import csv
import json
import os
import shutil
import sys
import time
import types

import pytest

import tf_lottery as tfl
from tests import run_trees
from tests.run_trees import chosen
from tf_lottery import experiments
from tf_lottery.experiments import measurements


@pytest.fixture
def records_come(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return run_trees.three(tmp_path_factory.mktemp("runs"))


def change(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_a_row_for_each_measurement(tree, records_come):
    rows = experiments.read(tree / "one")
    assert all(tuple(row) == measurements.COLUMNS for row in rows)
    # Of a ticket its seconds besides; of each training two accuracies at
    # the end, one at early stop, and the step of that.
    assert len(rows) == 5 * 4 * 2 + 4 * 2 * 2 * 2 * 2
    assert {row["series"] for row in rows} == {
        "dense", "tickets", *run_trees.CONTROLS
    }
    assert {row["run"] for row in rows} == {"one"}
    (one,) = chosen(
        rows, trial=1, round=2, series="random_masks", number=1,
        at="early stop", metric="accuracy",
    )
    content = json.loads((tree / "one" / "results.json").read_text())
    outcome = content["trials"][1]["rounds"][2]["controls"]["random_masks"][1]
    assert one["value"] == outcome["early_stop_test_accuracy"]
    assert (one["step"], one["split"], one["density"]) == (
        outcome["early_stop_step"], "test", 0.8**2
    )
    assert {row["round"] for row in chosen(rows, series="dense")} == {0}
    assert {row["split"] for row in chosen(rows, metric="seconds")} == {""}


def test_learning_curves_are_what_was_logged(tree, records_come):
    rows = experiments.read(tree / "one", learning_curves=True)
    assert len(chosen(rows, at="end")) == len(
        chosen(experiments.read(tree / "one"), at="end")
    )
    place = tree / "one" / "trial-1"
    for path, values in (
        (place / "history.csv", {"series": "tickets", "round": 2}),
        (place / "controls" / "round-03-random_masks-1.csv",
         {"series": "random_masks", "round": 3, "number": 1}),
    ):
        found = chosen(
            rows, trial=1, at="training", metric="loss", split="val", **values
        )
        with open(path) as file:
            logged = [
                float(row["val_loss"]) for row in csv.DictReader(file)
                if row.get("round", "2") == "2"
            ]
        assert [row["value"] for row in found] == logged
        assert [row["step"] for row in found] == [100, 200, 300, 400, 500]


def test_of_a_variant_only_the_rounds_after_the_dense_one(
    tmp_path, records_come
):
    path = run_trees.write(tmp_path / "run", trials=1)
    outcome = {
        "val_accuracy": 0.5, "test_accuracy": 0.5, "early_stop_step": 100,
        "early_stop_test_accuracy": 0.5,
    }

    def edit(content):
        for each in content["trials"][0]["rounds"][1:]:
            each["controls"]["lr_rewind"] = [outcome]

    change(path / "results.json", edit)
    place = path / "trial-0"
    run_trees.callback(place / "lr-rewind")
    shutil.copy(place / "history.csv", place / "lr-rewind")
    rows = chosen(
        experiments.read(path, learning_curves=True), series="lr_rewind",
        at="training", metric="accuracy", split="test",
    )
    assert [row["round"] for row in rows] == [1] * 5 + [2] * 5 + [3] * 5


def test_the_last_line_of_a_run_that_goes_on_is_half_written(
    tmp_path, records_come
):
    path = run_trees.write(tmp_path / "run")
    with open(path / "trial-0" / "history.csv", "a") as file:
        file.write("0.5,0.1")
    assert experiments.read(path, learning_curves=True)


def test_an_early_stop_that_was_not_measured_is_marked(tmp_path, records_come):
    path = run_trees.write(tmp_path / "run")

    def edit(content):
        content["trials"][0]["rounds"][1]["outcome"]["early_stop_step"] = 500

    change(path / "results.json", edit)
    rows = [row for row in experiments.read(path) if row["censored"]]
    assert {(r["trial"], r["round"], r["at"]) for r in rows} == {
        (0, 1, "early stop")
    }


def test_the_table_of_a_callback(tree, records_come):
    rows = experiments.read(tree / "mine", learning_curves=True)
    assert {(row["metric"], row["split"], row["at"]) for row in rows} == {
        ("accuracy", "train", "end"), ("accuracy", "val", "end"),
        ("step", "val", "early stop"), ("seconds", "", "end"),
    }
    assert len(rows) == 4 * 4
    assert [row["step"] for row in chosen(rows, metric="step")] == [50] * 4


def test_with_pandas_a_data_frame_comes(tree, monkeypatch):
    frame = types.SimpleNamespace(DataFrame=lambda rows, columns: (
        "frame", rows, columns
    ))
    monkeypatch.setitem(sys.modules, "pandas", frame)
    kind, rows, columns = experiments.read(tree / "one")
    assert kind == "frame" and columns == list(measurements.COLUMNS)
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert experiments.read(tree / "one") == rows


def test_a_data_frame_can_be_grouped(tree):
    pytest.importorskip("pandas")
    runs = experiments.read(tree / "one", tree / "mine")
    assert list(runs.columns) == list(measurements.COLUMNS)
    assert runs.value.dtype == "float64" and runs["round"].dtype == "int64"
    means = runs[runs["at"] == "end"].groupby(["run", "metric"]).value.mean()
    assert means["mine", "accuracy"] == 0.75
    # An empty table has its columns, too.
    change_nothing = runs[runs.run == "no such run"]
    assert list(change_nothing.columns) == list(measurements.COLUMNS)


# Each training once.


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize("other", (
    "one", "two/../one", "a copy", "one/trial-1",
))
def test_a_run_counts_once(tree, tmp_path, other, records_come):
    path = tree / other
    if other == "a copy":
        path = shutil.copytree(tree / "one", tmp_path / "copy")
    alone = experiments.read(tree / "one")
    with pytest.warns(UserWarning, match=r"counts without trials \["):
        assert experiments.read(tree / "one", path) == alone


def test_runs_that_look_alike_are_two(tmp_path, records_come):
    """Of the same seed, but trained twice: `run` tells them apart."""
    paths = [run_trees.write(tmp_path / name) for name in ("a", "b")]
    assert {row["run"] for row in experiments.read(*paths)} == {"a", "b"}
    with pytest.warns(UserWarning, match=r"without trials \[0\]"):
        shutil.copy(paths[0] / "trial-0" / "config.json",
                    paths[1] / "trial-0" / "config.json")
        rows = experiments.read(*paths)
    assert {row["trial"] for row in chosen(rows, run="b")} == {1}


def test_directories_of_one_name_go_by_their_paths(tmp_path, records_come):
    paths = [
        run_trees.callback(tmp_path / place / "run") for place in ("a", "b")
    ]
    assert {row["run"] for row in experiments.read(*paths)} == {
        str(path) for path in paths
    }


def test_a_copy_of_a_callbacks_run_counts_once_in_curves(tree, tmp_path):
    copy = shutil.copytree(tree / "mine", tmp_path / "copy")
    found = tfl.analysis.curves([tree / "mine", copy])["tickets"]
    assert found["val_accuracy"].counts == (1,) * 4
    other = run_trees.callback(tmp_path / "other")
    found = tfl.analysis.curves([tree / "mine", other])["tickets"]
    assert found["val_accuracy"].counts == (2,) * 4


# What is no run.


def test_what_is_no_run_is_described(tree, tmp_path):
    with pytest.raises(ValueError, match="one path or more. Received: none"):
        experiments.read()
    with pytest.raises(FileNotFoundError, match="Received: a path where noth"):
        experiments.read(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="with nothing in it"):
        experiments.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="'mine', 'one', 'two'"):
        experiments.read(tree)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(FileNotFoundError, match="Received: a file"):
        experiments.read(file)


@pytest.mark.parametrize("name, content", [
    ("config.json", "{"), ("config.json", "[]"),
    ("config.json", '{"dataset": "mnist", "trials": "two"}'),
    ("results.json", ""), ("results.json", "{}"), ("results.json", "[1]"),
    ("results.json", '{"trials": [{"number": 0, "rounds": [{}]}]}'),
    ("results.json", '{"verdicts": [], "trials": []}'),
    ("trial-0/config.json", "{"), ("trial-0/results.json", '[{"round": 0}]'),
])
def test_damaged_files_are_named(tmp_path, name, content):
    path = run_trees.write(tmp_path / "run")
    (path / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name}.* is damaged"):
        experiments.read(path)


@pytest.mark.parametrize("values, words", [
    ({"test_accuracy": "high"}, "results.json' is damaged"),
    ({"val_accuracy": [0.5]}, r"val_accuracy=\[0.5\] is no number"),
])
def test_values_that_are_no_numbers_are_named(tmp_path, values, words):
    path = run_trees.write(tmp_path / "run")

    def edit(content):
        for trial in content["trials"]:
            for each in trial["rounds"]:
                each["outcome"] |= values

    change(path / "results.json", edit)
    with pytest.raises(ValueError, match=words):
        experiments.read(path)


def test_damaged_logs_are_named(tmp_path, records_come):
    path = run_trees.write(tmp_path / "run", controlled=(1,))
    file = path / "trial-0" / "controls" / "round-01-random_masks-0.csv"
    file.write_text("val_loss\nlow\n")
    assert experiments.read(path)
    with pytest.raises(ValueError, match="random_masks-0.csv' is damaged"):
        experiments.read(path, learning_curves=True)


def test_more_trials_are_said_than_there_is_room_for(tmp_path, records_come):
    path = run_trees.write(tmp_path / "run")
    change(path / "config.json", lambda config: config.update(trials=10**12))
    before = time.process_time()
    assert {row["trial"] for row in experiments.read(path)} == {0, 1}
    assert time.process_time() - before < 1


def test_a_hundred_runs_are_read_in_five_seconds(tmp_path, records_come):
    first = run_trees.write(
        tmp_path / "0", rounds=15, trials=3, controlled=(3, 7, 10, 15)
    )
    paths = [first]
    for number in range(1, 100):
        path = tmp_path / str(number)
        shutil.copytree(first, path, copy_function=os.link)
        for place in path.glob("trial-*/config.json"):
            text = place.read_text()
            place.unlink()
            place.write_text(text.replace('"run": "', f'"run": "{number}-'))
        paths.append(path)
    before = time.process_time()
    rows = experiments.read(*paths)
    assert time.process_time() - before <= 5
    assert len({row["run"] for row in rows}) == 100
    assert len(rows) == 100 * len(experiments.read(first))
