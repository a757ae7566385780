"""What the scripts of the papers' figures and tables share."""

import argparse
import csv
import importlib
import runpy
import sys

import numpy as np
import pytest
import scipy

import tests
from tf_lottery import experiments
from tf_lottery.experiments.analyses import subject as subject_lib

EXAMPLES = tests.ROOT / "examples"
ROUND, STEP = 2, 20


@pytest.fixture(autouse=True)
def examples_on_path(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)


@pytest.fixture
def pages():
    return importlib.import_module("laboratory.pages")


@pytest.fixture
def runs():
    return importlib.import_module("laboratory.runs")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "digits"
    preset = experiments.preset(
        "lenet-digits", iterations=60, rounds=ROUND, control_trials=1,
        control_every=ROUND, also_rewind_to=(f"{STEP}it",), trials=1,
        test_densities=(),
    )
    return path, experiments.run(preset, path)


@pytest.fixture
def subject(run):
    return subject_lib.Subject(run[0])


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "value, shown",
    [(None, "–"), (3, "3"), (12000, "12,000"), (1.234, "1.23"),
     (3700.4, "3,700"), ("yes", "yes")],
)
def test_cell(pages, value, shown):
    assert pages.cell(value) == shown


def test_spread(pages):
    # Two values of a trial count once.
    rows = [
        {"trial": 0, "a": 0.0}, {"trial": 0, "a": 2.0}, {"trial": 1, "a": 2.0},
        {"trial": 2, "a": 6.0}, {"trial": 3, "a": None}, {"trial": 4},
    ]
    spread = pages.Spread.of(rows, "a")
    reach = scipy.stats.t.isf(0.05, 2) * (7 / 3) ** 0.5
    assert spread == pages.Spread(3.0, pytest.approx(reach), 1.0, 6.0, 3)
    assert str(spread) == f"3.00 ± {reach:.2f}"
    assert str(pages.Spread.of(rows[:1], "a")) == "0.00"
    assert pages.Spread.of(rows[4:], "a") is None


def test_page_shows_what_the_files_hold(pages, tmp_path):
    spread = pages.Spread(1.5, 3.25, 1.0, 2.0, 2)
    rows = [{"a": 1, "b": spread}, {"a": 2}]
    table = pages.Table("numbers", "Numbers", rows)
    out = tmp_path / "deep" / "results"
    pages.write(out, "Title", "Text.", [table], {}, {"seed": 7},
                {"raw": [{"x": 5}]})
    page = (out / "README.md").read_text(encoding="utf-8")
    assert "| 1 | 1.50 ± 3.25 |" in page and "| 2 | – |" in page
    assert "- seed: 7" in page and "- versions: Python" in page
    first, second = read(out / "numbers.csv")
    assert first["b"] == "1.5" and first["b, ±"] == "3.25"
    assert second == {"a": "2"} | dict.fromkeys(first.keys() - {"a"}, "")
    assert read(out / "raw.csv") == [{"x": "5"}]


def test_nothing_is_written_without_a_directory(pages, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pages.write(None, "Title", "Text.", [], {}, {})
    assert not list(tmp_path.iterdir())


def test_grouped(pages):
    rows = [{"a": 2, "b": 0}, {"a": 1, "b": 1}, {"a": 2, "b": 3}]
    assert pages.grouped(rows, "a") == {(1,): rows[1:2], (2,): rows[::2]}


def test_chart_against_density(pages):
    rows = [
        {"network": "tickets", "trial": 0, "density": density, "gap": gap}
        for density, gap in ((50.0, 3.0), (100.0, 1.0), (50.0, 5.0))
    ]
    found = pages.against_density(rows, "gap")["data"]["values"]
    assert sorted((each["x"], each["y"]) for each in found) == [
        (50.0, 3.0), (50.0, 5.0), (100.0, 1.0)]
    assert {each["series"] for each in found} == {"tickets"}


def test_trainings_are_not_repeated(runs, tmp_path):
    path, calls = tmp_path / "results", []

    def measure():
        calls.append(1)
        return {"accuracy": 0.1 + 0.2}

    for _ in range(2):
        trainings = runs.Rows(path)
        row = trainings.add(measure, network="tickets", round=3)
        assert row["accuracy"] == 0.1 + 0.2
    assert len(calls) == 1
    trainings.add(measure, network="tickets", round=4)
    assert len(calls) == 2 and len(read(path / "trainings.csv")) == 2
    again = runs.Rows(path)
    again.add(measure, network="tickets", round=4)
    assert [row["round"] for row in again.rows] == [4] and len(calls) == 2


@pytest.mark.slow
def test_the_dense_network_is_that_of_the_run(runs, run, subject):
    rounds = run[1].trials[0].rounds
    bench = subject.bench(0)
    dense, accuracy = runs.trained(subject, bench)
    assert accuracy == rounds[0].outcome.test_accuracy
    assert bench.retrain(subject.ticket(0, 0)) == accuracy
    for key, array in bench.weights().items():
        np.testing.assert_allclose(array, dense[key], atol=1e-5)
    found = bench.retrain(subject.ticket(0, ROUND))
    assert found == rounds[ROUND].outcome.test_accuracy


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, STEP])
def test_the_last_round_is_that_of_the_run(step, runs, subject):
    bench = subject.bench(0)
    weights, accuracy = runs.trained(subject, bench, ROUND, step)
    assert bench.retrain(subject.ticket(0, ROUND, step)) == accuracy
    for key, array in bench.weights().items():
        np.testing.assert_allclose(array, weights[key], atol=1e-5)


@pytest.mark.slow
def test_shorter_trainings_have_their_own_dense_network(runs, subject):
    short = subject.bench(0, iterations=2 * STEP)
    dense, accuracy = runs.trained(subject, short)
    # The run came by there, and was evaluated.
    passed = read(subject.path / "trial-0" / "history.csv")
    assert short.preset.evaluate_every == STEP
    assert accuracy == float(passed[1]["test_accuracy"])
    whole, _ = runs.trained(subject, subject.bench(0))
    assert any(np.abs(dense[k] - whole[k]).max() > 1e-3 for k in dense)


@pytest.mark.slow
def test_tickets_of_another_rewinding_point(subject):
    bench, ticket = subject.bench(0), subject.ticket(0, ROUND, STEP)
    assert ticket.snapshot.step == STEP
    assert subject.ticket(0, ROUND).snapshot.step == 0
    assert any(
        (mask != subject.masks(0, ROUND)[key]).any()
        for key, mask in ticket.masks.items()
    )
    recorded, = (
        float(row["test_accuracy"])
        for row in read(subject.path / "controls.csv")
        if (row["control"], row["round"]) == ("rewind_to_20", str(ROUND))
    )
    assert bench.retrain(ticket) == recorded


def test_tickets_of_trials_that_came_to_a_round(runs, subject):
    def found(**chosen):
        arguments = argparse.Namespace(**{
            "choose": [ROUND, 1], "trials": None, "iterations": None,
            **chosen,
        })
        return [
            (bench.number, bench.preset.iterations, ticket.round)
            for bench, ticket in runs.tickets(subject, arguments)
        ]

    assert found() == [(0, 60, ROUND), (0, 60, 1)]
    assert found(iterations=40, choose=[0]) == [(0, 40, 0)]
    assert found(trials=0) == found(choose=[ROUND + 1]) == []


@pytest.mark.parametrize(
    "name, table, arguments",
    [
        ("lenet_figure_3.py", "test_accuracy", ()),
        ("stabilizing_table.py", "table",
         ("--round", str(ROUND), "--orders", "2")),
        ("rewinding_matters.py", "points", ("--points", "2")),
    ],
)
def test_script_of_a_run(name, table, arguments, run, tmp_path, monkeypatch):
    path, report = run
    out = tmp_path / "out"
    monkeypatch.setattr(
        sys, "argv",
        [name, "--run", str(path), *arguments, "--output-dir", str(out)],
    )
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    page = (out / "README.md").read_text(encoding="utf-8")
    accuracy = report.trials[0].rounds[ROUND].outcome.test_accuracy
    written = "".join(path.read_text("utf-8") for path in out.glob("*.csv"))
    assert f"{100 * accuracy:.4f}"[:5] in written
    assert f"python examples/{name}" in page
    assert f"(`{table}.csv`)" in page and read(out / f"{table}.csv")


def test_networks_of_small_devices_are_judged():
    sensing = importlib.import_module("laboratory.sensing")
    labels, outputs = np.array([[0, 0, 0, 1]]), np.eye(2)[[[0, 0, 1, 0]]]
    assert sensing.right(labels, outputs) == 0.5
    assert sensing.balanced(labels, outputs) == pytest.approx(1 / 3)
    whole = [np.zeros((2, 3)), np.zeros((2, 4))]
    moved = [np.array([[0, 0, 0.04], [0, 0.06, 0]]), np.zeros((2, 4))]
    assert sensing.near(whole, moved) == 0.5
    with pytest.raises(SystemExit, match="pip install nothing-here"):
        sensing._folder("nothing_here", "nothing-here")
