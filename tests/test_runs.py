"""Runs as one table, and next to one another on a page."""

import csv
import dataclasses
import json
import os
import shutil
import sys
import time
import types
import xml.etree.ElementTree

import conftest
import pytest
import run_trees
import scipy

import tf_lottery as tfl
from page_reader import Page
from tf_lottery import experiments
from tf_lottery.__main__ import main
from tf_lottery.experiments import measurements
from tf_lottery.experiments import records
from tf_lottery.experiments import report
from tf_lottery.report import drawing
from tf_lottery.report import notebook
from tf_lottery.report import tables

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def records_come(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A run with controls, one of other seeds, and a callback's."""
    place = tmp_path_factory.mktemp("runs")
    run_trees.write(place / "one", controlled=(2, 3))
    run_trees.write(place / "two", controlled=(3,), seed=1)
    run_trees.callback(place / "mine")
    return place


def chosen(rows, **values):
    return [
        row for row in rows
        if all(row[name] == value for name, value in values.items())
    ]


def change(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


# The table.


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
    before = time.monotonic()
    assert {row["trial"] for row in experiments.read(path)} == {0, 1}
    assert time.monotonic() - before < 1


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
    before = time.monotonic()
    rows = experiments.read(*paths)
    assert time.monotonic() - before <= 5
    assert len({row["run"] for row in rows}) == 100
    assert len(rows) == 100 * len(experiments.read(first))


# The page.


@pytest.fixture(scope="module")
def page(tree):
    path = tree / "page.html"
    assert experiments.compare(
        tree / "one", tree / "two", tree / "mine", out=path
    ) == path
    return Page(path.read_text())


def titled(page, title):
    (found,) = [each for each in page.charts if each["title"] == title]
    return found


def test_the_page_of_several_runs(page):
    assert [each["title"] for each in page.charts] == [
        "Test accuracy at the end (%)", "Test accuracy at early stop (%)",
        "Early-stop step", "Validation accuracy at the end (%)",
        "one: test accuracy at the end (%)",
        "two: test accuracy at the end (%)",
        "mine: validation accuracy at the end (%)",
        "one: learning curves", "two: learning curves",
    ]
    words = " ".join(page.words)
    for expected in (
        "3 runs", "Not tested: one trial", "2 trials (a pilot", "In what the",
        "Verdicts of one", "51.2 % density", "No controls were trained",
        "seed",
    ):
        assert expected in words, expected
    assert page.loaded == [] and page.policy.startswith("default-src 'none'")


def test_runs_have_a_line_each_and_a_band_over_trials(page, tree):
    chart = titled(page, "Test accuracy at the end (%)")
    rows = chart["data"]["values"]
    assert [r["series"] for r in rows] == ["one"] * 8 + ["two"] * 8
    found = chosen(rows, series="two", x=80.0)
    content = json.loads((tree / "two" / "results.json").read_text())
    values = [
        100 * trial["rounds"][1]["outcome"]["test_accuracy"]
        for trial in content["trials"]
    ]
    assert [row["y"] for row in found] == pytest.approx(values)
    low, high = scipy.stats.t.interval(
        0.9, 1, sum(values) / 2, scipy.stats.sem(values)
    )
    assert [found[0]["low"], found[0]["high"]] == pytest.approx([low, high])
    said = [
        each.get("aria-label") for each in _paths(chart, "point")
        if "two" in each.get("aria-label")
    ]
    assert any(f"90 % interval from: {low:,.6g}" in text for text in said)


def test_samples_of_a_control_count_as_one_trial(page):
    rows = chosen(
        titled(page, "one: test accuracy at the end (%)")["data"]["values"],
        series="random masks", x=100 * 0.8**2,
    )
    assert len(rows) == 4 and {r["trial"] for r in rows} == {
        "0-0.0", "0-0.1", "0-1.0", "0-1.1"
    }
    means = [(a["y"] + b["y"]) / 2 for a, b in (rows[:2], rows[2:])]
    assert (rows[0]["low"], rows[0]["high"]) == pytest.approx(
        scipy.stats.t.interval(0.9, 1, sum(means) / 2, scipy.stats.sem(means))
    )


def test_a_click_singles_a_line_out_and_a_box_makes_the_axis_linear(
    page, tree
):
    for chart in page.charts:
        (param,) = chart["layer"][0]["params"]
        assert param["bind"] == "legend"
        assert param["select"]["fields"] == ["series"]
        for layer in chart["layer"]:
            condition = layer["encoding"]["opacity"]["condition"]
            assert condition["param"] == param["name"]
    text = (tree / "page.html").read_text()
    assert '<input type="checkbox" id="linear">' in text
    assert 'scale.type = "linear"' in text


def test_runs_beside_one_another_have_the_same_axis(page):
    one, two = (
        titled(page, f"{name}: test accuracy at the end (%)")
        for name in ("one", "two")
    )
    low, high = one["encoding"]["y"]["scale"]["domain"]
    assert two["encoding"]["y"]["scale"]["domain"] == [low, high]
    values = [r["y"] for c in (one, two) for r in c["data"]["values"]]
    assert low <= min(values) and max(values) <= high


def test_learning_curves_are_of_a_chosen_density(page):
    chart = titled(page, "two: learning curves")
    (menu,) = chart["params"]
    assert menu["bind"]["options"] == ["80 %", "64 %", "51.2 %"]
    # That of the last round that is tested.
    assert menu["value"] == "51.2 %"
    rows = chart["data"]["values"]
    assert {r["series"] for r in rows if r.get("choice") == "64 %"} == {
        "tickets"
    }
    assert {r["series"] for r in rows if "choice" not in r} == {"dense"}
    assert {r["x"] for r in rows} == {100, 200, 300, 400, 500}
    drawn = " ".join(p.get("aria-label") for p in _paths(chart, "point"))
    assert "random masks" in drawn and "dense" in drawn
    # What is drawn is of the chosen density: 5 points of 4 series.
    assert len(_paths(chart, "point")) >= 20


def test_identical_runs_are_all_visible(tmp_path):
    paths = [run_trees.write(tmp_path / name) for name in "abc"]
    experiments.compare(*paths, out=tmp_path / "page.html")
    chart = Page((tmp_path / "page.html").read_text()).charts[0]
    lines = [
        line for line in _paths(chart, "line mark")
        if line.get("stroke-width") == "2"
    ]
    assert len({line.get("d") for line in lines}) == 1
    assert len({line.get("stroke") for line in lines}) == 3
    dashes = [line.get("stroke-dasharray") for line in lines]
    assert dashes[0] in (None, "1,0") and dashes[1:] == ["7,5", "2,4"]


def _paths(chart, kind):
    root = xml.etree.ElementTree.fromstring(drawing.svg(chart))
    return [
        path for path in root.iter(f"{SVG}path")
        if path.get("aria-roledescription") == kind
    ]


def test_the_page_of_sixteen_rounds_and_five_trials(tmp_path):
    path = run_trees.write(
        tmp_path / "run", rounds=16, trials=5, evaluations=120,
        controlled=(3, 7, 9, 15), samples=3,
    )
    out = tmp_path / "page.html"
    before = time.monotonic()
    experiments.compare(path, out=out)
    assert time.monotonic() - before <= 10
    assert out.stat().st_size <= 5e6
    page = Page(out.read_text())
    assert [each["title"] for each in page.charts] == [
        "run: test accuracy at the end (%)", "run: learning curves",
    ]
    # The last evaluation is among those that are shown.
    assert max(r["x"] for r in page.charts[1]["data"]["values"]) == 12_000


def test_runs_without_an_accuracy_or_a_round(tmp_path):
    path = run_trees.callback(tmp_path / "run")
    text = (path / "results.json").read_text()
    (path / "results.json").write_text(text.replace("accuracy", "error"))
    experiments.compare(path, out=tmp_path / "page.html")
    assert Page((tmp_path / "page.html").read_text()).charts == []
    (path / "results.json").write_text("[]")
    with pytest.raises(ValueError, match="no finished round yet"):
        experiments.compare(path, out=tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


def test_without_the_extra(monkeypatch, tree, tmp_path):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"pip install tf_lottery\[plot\]"):
        experiments.compare(tree / "mine", out=tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_the_command(tree, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["compare", str(tree / "mine"), "-o", str(out), "--png"]) == 0
    picture = tmp_path / "page-mine-validation-accuracy-at-the-end.png"
    assert capsys.readouterr().out.splitlines() == [
        f"written: {out}", f"written: {picture}"
    ]
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG") and len(data) > 5000
    assert main(["compare", str(tmp_path)]) == 2
    assert "is not the directory of a run" in capsys.readouterr().err


# In notebooks.


def test_a_report_shows_itself():
    outcome = records.Outcome(0.9, 0.9, 100, 0.9)
    trials = [
        records.Trial(number, [
            records.Round(0, 1.0, None, 1.0, outcome),
            records.Round(1, 0.5, 0.5, 1.0, outcome,
                          {"random_masks": [outcome]}),
        ])
        for number in range(2)
    ]
    preset = experiments.preset("lenet-digits", trials=2)
    found = report.Report(preset, trials)
    text = found._repr_html_()
    page = Page(text)
    assert {"table", "th", "td"} <= set(page.tags)
    words = " ".join(page.words)
    assert "lenet-digits" in words and "random masks" in words
    assert found.verdict.splitlines()[0] in words
    # What is tested stands out.
    assert "<td><b>50.0</b></td>" in text and "<td>100.0</td>" in text


def test_a_ticket_shows_itself(compiled):
    masks = conftest.random_masks(compiled)
    ticket = dataclasses.replace(
        tfl.Ticket.of(compiled, masks), round=3, metrics={"<b>": 0.5},
        verdict="not tested: one trial & more",
    )
    page = Page(ticket._repr_html_())
    words = " ".join(page.words)
    assert f"Ticket of round 3, density {ticket.density:.2%}" in words
    assert "<b>: 0.5" in words and "b" not in page.tags[1:]
    assert "not tested: one trial & more" in words
    assert page.tags.count("tr") == 1 + len(masks)


def test_long_tables_are_cut_in_notebooks():
    table = tables.Table(["n"], [[str(number)] for number in range(100)])
    assert "... and 60 rows more" in notebook.show("title", table)
