"""Searches for tickets with keras-tuner, in one process."""

import json
import re
import sys
import time

import keras
import keras_tuner
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import tf_lottery as tfl
from tf_lottery.runs import results
from tf_lottery.tuner import identity
from tf_lottery.tuner import library
from tf_lottery.tuner import objectives
from tf_lottery.tuner import oracles
from tf_lottery.tuner import pareto
from tf_lottery.tuner import roles
from tf_lottery.tuner import spaces
from tf_lottery.tuner import worker

EPOCHS = 2


def build(hp):
    model = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(12, "relu", name="fc1"),
            keras.layers.Dropout(0.1, name="drop"),
            keras.layers.Dense(4, name="logits"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # Tracing a new model for every trial takes longer than training it.
        run_eagerly=True,
    )
    return model


def hypermodel(**kwargs):
    defaults = {
        "rate": [0.3, 0.5], "rounds": 2, "criterion": ["magnitude", "random"],
        "rewind_to": [0, "2it"],
    }
    return tfl.tuner.TicketHyperModel(build, **{**defaults, **kwargs})


def search(tuner, data):
    x, y = data
    tuner.search(
        x, y, epochs=EPOCHS, validation_data=(x, y), verbose=0, batch_size=32
    )
    return tuner.report()


def random_search(data, directory, trials=3, **kwargs):
    tuner = tfl.tuner.RandomSearch(
        hypermodel(), max_trials=trials, directory=directory, **kwargs
    )
    return search(tuner, data)


def csv_of(report, directory):
    report.save(directory)
    return (directory / "results.csv").read_text()


def fake(round, density, accuracy, steps=10):
    metrics = {"val_accuracy": accuracy, "val_loss": 1 - accuracy}
    return results.RoundResult(round, density, {}, metrics, steps, None, 0.0)


ROUNDS = [
    fake(0, 1.0, 0.9), fake(1, 0.5, 0.95), fake(2, 0.25, 0.9),
    fake(3, 0.125, 0.8),
]


@pytest.mark.parametrize(
    "name, direction, round",
    [
        ("density", "min", 2),
        ("accuracy@0.5", "max", 1),
        ("accuracy@0.3", "max", 2),
        ("bytes@0.9", "min", 2),
        ("latency@0.8", "min", 3),
        ("bytes@0.95", "min", 1),
        ("accuracy@0.1", "max", None),
        ("bytes@0.97", "min", None),
    ],
)
def test_objectives(name, direction, round):
    objective = tfl.tuner.objective(name)
    assert (objective.name, objective.direction) == (name, direction)
    chosen = objective.choose(ROUNDS)
    assert (chosen and chosen.round) == round
    if chosen is None:
        assert "@" in name and objective.explain(ROUNDS)


def test_objective_of_a_loss():
    objective = objectives.get("accuracy@0.5", "val_loss")
    assert objective.direction == "min"
    good = objectives.get("bytes@0.15", "val_loss")
    assert good.choose(ROUNDS).round == 2


def test_without_a_candidate_the_dense_round_is_chosen():
    rounds = [fake(0, 1.0, 0.9), fake(1, 0.5, 0.8)]
    assert tfl.tuner.objective("density").choose(rounds) is rounds[0]


@pytest.mark.parametrize(
    "name",
    ["speed", "accuracy", "accuracy@", "accuracy@2", "density@0.1", "bytes@x"],
)
def test_unknown_objectives(name):
    with pytest.raises(ValueError, match="'accuracy@0.1'.*'latency@0.97'"):
        tfl.tuner.TicketHyperModel(build, objective=name)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"criterion": ["magnitude", "magic"]}, "'lamp'.*'magic'"),
        ({"pattern": ["stripes"]}, "`pattern`.*'stripes'"),
        ({"rate": (0.1, 1.5)}, "`rate`"),
        ({"rate": (0.5, 0.1)}, r"range as a tuple.*\(0.5, 0.1\)"),
        ({"rate": []}, "`rate` must be a choice that is not empty"),
        ({"rewind_to": ["soon"]}, "`rewind_to`.*soon"),
        ({"budget": "money"}, r"'rounds', 'epochs'.*money"),
    ],
)
def test_invalid_spaces(arguments, words):
    with pytest.raises(ValueError, match=f"(?s){words}"):
        hypermodel(**arguments)


@given(st.floats(1e-6, 1e6))
@settings(max_examples=50, deadline=None)
def test_values_survive_messages_of_32_bits(value):
    sent = float(np.float32(value))
    assert spaces.plain(sent) == spaces.plain(value)
    assert np.float32(spaces.plain(value)) == np.float32(value)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=12)
)
@settings(max_examples=50, deadline=None)
def test_front_is_what_nothing_beats(points):
    points = [{"size": a, "score": b} for a, b in points]
    found = pareto.front(points, "size", results.Monitor("score"))
    slow = {
        (p["size"], p["score"]) for p in points
        if not any(
            q["size"] <= p["size"] and q["score"] >= p["score"] and q != p
            for q in points
        )
    }
    assert [(p["size"], p["score"]) for p in found] == sorted(slow)


@pytest.mark.slow
def test_search_shares_dense_rounds_and_repeats(data, tmp_path):
    first = random_search(data, tmp_path / "a")
    assert [trial.failure for trial in first.trials] == [None] * 3
    assert [trial.outcome.shared for trial in first.trials] == [
        False, True, True
    ]
    text = csv_of(first, tmp_path)
    # Nothing is shared if each trial finds no directory of dense rounds.
    again = tfl.tuner.RandomSearch(
        hypermodel(), max_trials=3, directory=tmp_path / "b"
    )
    run_trial = again.run_trial

    def alone(trial, *args, **kwargs):
        for path in (tmp_path / "b").glob("search/dense/*"):
            path.rename(tmp_path / f"dense-{trial.trial_id}")
        return run_trial(trial, *args, **kwargs)

    again.run_trial = alone
    second = search(again, data)
    assert not any(trial.outcome.shared for trial in second.trials)
    assert csv_of(second, tmp_path) == text
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["search"]["tuner"] == "RandomSearch"
    assert len(found["trials"]) == 3 and found["pareto"]
    assert "data-chart=" in (tmp_path / "pareto.html").read_text()
    # The best model is the chosen round's, zeros in place.
    best = again.get_best_models()[0]
    kernels = [v.numpy() for v in tfl.weights.prunable(best).values()]
    kept = sum(np.count_nonzero(k) for k in kernels)
    score = min(trial.outcome.score for trial in second.trials)
    assert kept / sum(k.size for k in kernels) == pytest.approx(score)


@pytest.mark.slow
def test_interrupted_search_goes_on(data, tmp_path):
    whole = csv_of(random_search(data, tmp_path / "a"), tmp_path)
    ended = []

    def stop(trial):
        ended.append(trial.trial_id)
        if len(ended) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        random_search(data, tmp_path / "b", on_trial_end=stop)
    found = random_search(
        data, tmp_path / "b",
        on_trial_end=lambda trial: ended.append(trial.trial_id),
    )
    assert sorted(ended) == ["0", "1", "2"]
    assert csv_of(found, tmp_path) == whole
    # A search that has ended goes on with more trials.
    more = random_search(data, tmp_path / "b", trials=4)
    assert [trial.name for trial in more.trials] == ["0", "1", "2", "3"]
    assert csv_of(more, tmp_path).startswith(whole)


def nan_scores(model, variables):
    return {key: np.full(v.shape, np.nan) for key, v in variables.items()}


def cut_scores(model, variables):
    """Keeps the weights into half of the units, and out of the others."""
    fc1 = np.zeros((10, 12))
    fc1[:, :6] = 1
    logits = np.zeros((12, 4))
    logits[6:] = 1
    return {"fc1/kernel": fc1, "logits/kernel": logits}


@pytest.mark.slow
@pytest.mark.some(1)
@pytest.mark.parametrize(
    "criterion, arguments, words",
    [
        (nan_scores, {}, "collapsed.*finite.*'fc1/kernel'"),
        (cut_scores, {"scope": "layer"}, "collapsed in round 1"),
        ("magnitude", {"learning_rate": 1e30}, "Round 0 diverged"),
        ("magnitude", {"objective": "accuracy@0.01"}, "0.01 was not reached"),
    ],
)
def test_collapsed_trials_fail(data, tmp_path, criterion, arguments, words):
    # The second one is an ordinary trial, unless the search is about a bad
    # learning rate or a density that none can reach.
    tuner = tfl.tuner.RandomSearch(
        hypermodel(**{
            "rate": 0.5, "rounds": 1, "rewind_to": 0,
            "criterion": {"bad": criterion, "good": "magnitude"}, **arguments,
        }),
        max_trials=2, directory=tmp_path,
    )
    report = search(tuner, data)
    failed = [t for t in report.trials if t.values["criterion"] == "bad"]
    assert [trial.status for trial in failed] == ["failed"]
    assert re.search(words, failed[0].failure)
    others = [t.status for t in report.trials if t not in failed]
    assert others == (["done"] if callable(criterion) else ["failed"])


@pytest.mark.slow
def test_errors_end_a_search(data, tmp_path):
    def broken(hp):
        model = build(hp)
        hp.Choice("units", [1, 2, 3, 4])
        model.call = None
        return model

    tuner = tfl.tuner.RandomSearch(
        tfl.tuner.TicketHyperModel(broken, rounds=1), max_trials=9,
        directory=tmp_path,
    )
    with pytest.raises(keras_tuner.errors.FatalError, match="last 3 trials"):
        search(tuner, data)
    assert len(list(tmp_path.glob("search/trial_*"))) == 3


@pytest.mark.slow
def test_hyperband_goes_on_with_rounds(data, tmp_path):
    tuner = tfl.tuner.Hyperband(
        hypermodel(rate=[0.2, 0.3, 0.4], epochs_per_round=EPOCHS),
        max_budget=2, factor=2, directory=tmp_path,
    )
    report = search(tuner, data)
    promoted = [t for t in report.trials if t.values["budget"] == 2]
    assert promoted and all(t.status == "done" for t in report.trials)
    for trial in report.trials:
        budget = trial.values["budget"]
        assert len(trial.outcome.rounds) == budget + 1
        twin = next(
            t for t in report.trials
            if {**t.values, "budget": 0} == {**trial.values, "budget": 0}
        )
        for one, other in zip(trial.outcome.rounds, twin.outcome.rounds):
            assert one == other


def test_hyperband_needs_epochs_for_a_density(tmp_path):
    with pytest.raises(ValueError, match="budget='epochs'"):
        tfl.tuner.Hyperband(
            hypermodel(objective="accuracy@0.1"), directory=tmp_path
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_bayesian(data, tmp_path):
    tuner = tfl.tuner.BayesianOptimization(
        hypermodel(rate=(0.2, 0.6), rounds=1), max_trials=3,
        num_initial_points=2, directory=tmp_path,
    )
    report = search(tuner, data)
    assert len({trial.values["rate"] for trial in report.trials}) == 3


def test_bayesian_needs_scikit_learn(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sklearn.gaussian_process", None)
    with pytest.raises(ImportError, match=r"tf_lottery\[bayesian\]"):
        tfl.tuner.BayesianOptimization(hypermodel(), directory=tmp_path)


@pytest.mark.slow
def test_tuners_of_keras_tuner(data, tmp_path):
    model = hypermodel(objective="accuracy@0.6", rewind_to=0)
    tuner = keras_tuner.RandomSearch(
        model, objective=model.objective, max_trials=2, directory=tmp_path,
        seed=1,
    )
    x, y = data
    tuner.search(x, y, epochs=1, validation_data=(x, y), verbose=0)
    assert [t.status for t in tuner.oracle.trials.values()] == ["COMPLETED"] * 2
    assert tuner.get_best_models()[0].count_params() > 0


def test_another_search_is_refused(tmp_path):
    tfl.tuner.RandomSearch(hypermodel(), directory=tmp_path)
    before = (tmp_path / "search" / "search.json").read_text()

    def other_build(hp):
        return build(hp)

    cases = {
        "'density' of 'build'.*'accuracy@0.1' of 'build'": hypermodel(
            objective="accuracy@0.1"
        ),
        "other_build": tfl.tuner.TicketHyperModel(other_build),
        r"rounds: '2' there, '3' now": hypermodel(rounds=3),
    }
    for words, other in cases.items():
        with pytest.raises(ValueError, match=f"(?s)another search.*{words}"):
            tfl.tuner.RandomSearch(other, directory=tmp_path)
    with pytest.raises(ValueError, match="RandomSearch there.*by BayesianOpt"):
        tfl.tuner.BayesianOptimization(hypermodel(), directory=tmp_path)
    assert (tmp_path / "search" / "search.json").read_text() == before


@pytest.mark.slow
def test_hyperband_of_keras_tuner_starts_from_trained_weights(data, tmp_path):
    model = hypermodel(budget="epochs")
    tuner = keras_tuner.Hyperband(
        model, objective=model.objective, max_epochs=2, directory=tmp_path
    )
    with pytest.raises(ValueError, match="tf_lottery.tuner.Hyperband"):
        tuner.search(*data, verbose=0)


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_files_are_refused(tmp_path, overwrite):
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="holds other files"):
        tfl.tuner.RandomSearch(
            hypermodel(), directory=tmp_path, overwrite=overwrite
        )
    assert (tmp_path / "search" / "thesis.txt").read_text() == "precious"


def test_a_worker_needs_the_directory_of_the_chief(tmp_path):
    with pytest.raises(ValueError, match="must share one directory"):
        identity.check(tmp_path, {"objective": "density"}, is_worker=True)
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "search.json").write_text("{")
    with pytest.raises(ValueError, match="search.json' is damaged"):
        identity.read(tmp_path)


def test_keras_tuner_missing_or_old(monkeypatch):
    monkeypatch.setattr(keras_tuner, "__version__", "1.3.5")
    with pytest.raises(ImportError, match="1.4.7 or later.*1.3.5.*pip"):
        library.load()
    monkeypatch.setitem(sys.modules, "keras_tuner", None)
    with pytest.raises(ImportError, match=r"pip install .*\[tuner\]"):
        library.load()


ADDRESS = {
    "KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": "9",
}


@pytest.mark.parametrize(
    "environment",
    [
        {"KERASTUNER_ORACLE_IP": "127.0.0.1"},
        ADDRESS,
        {"KERASTUNER_TUNER_ID": "chief"},
    ],
)
def test_incomplete_environment(environment):
    with pytest.raises(ValueError, match="KERASTUNER_ORACLE_PORT"):
        roles.current(environment)


def test_a_chief_that_is_not_there(monkeypatch, tmp_path):
    for name, value in {**ADDRESS, "KERASTUNER_TUNER_ID": "tuner0"}.items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    with pytest.raises(
        worker.ChiefUnreachableError,
        match="127.0.0.1:9; waited 0.5 s. Start it there",
    ):
        tfl.tuner.RandomSearch(
            hypermodel(), directory=tmp_path, chief_timeout=0.5
        )
    assert time.monotonic() - began < 10
    assert not list(tmp_path.iterdir())


@pytest.fixture
def oracle(tmp_path):
    found = oracles.RandomOracle(
        True, objective=tfl.tuner.objective("density"), max_trials=3, seed=1
    )
    found._set_project_dir(str(tmp_path), "search")
    space = found.get_space()
    space.Float("rate", 0.1, 0.5)
    found.update_space(space)
    return found


def end(oracle, trial, status="COMPLETED"):
    if status == "COMPLETED":
        oracle.update_trial(trial.trial_id, {"density": 0.5})
    trial.status = status
    oracle.end_trial(trial)


def test_a_dead_workers_trial_is_run_by_another(oracle):
    lost = oracle.create_trial("tuner0")
    other = oracle.create_trial("tuner1")
    oracle.heard["tuner0"] -= 100
    oracle.give_up(50)
    assert list(oracle.ongoing_trials) == ["tuner1"]
    assert oracle.tuner_ids == {"tuner1"}
    end(oracle, other)
    again = oracle.create_trial("tuner1")
    assert again.trial_id == lost.trial_id
    oracle.heard["tuner1"] -= 100
    oracle.give_up(50)
    assert oracle.get_trial(lost.trial_id).status == "FAILED"
    assert "'tuner1' was not heard of" in again.message
    assert not oracle.ongoing_trials and not oracle.tuner_ids


def test_a_restarted_worker_goes_on_with_its_trial(oracle):
    trial = oracle.create_trial("tuner0")
    oracle.heard["tuner0"] -= 100
    oracle.get_trial(trial.trial_id)
    oracle.give_up(50)
    assert oracle.create_trial("tuner0") is trial


def test_a_restarted_chief_knows_who_trains_what(oracle, tmp_path):
    done = oracle.create_trial("tuner0")
    end(oracle, done)
    running = oracle.create_trial("tuner1")
    chief, alone = (
        oracles.RandomOracle(
            is_chief, objective=oracle.objective, max_trials=3, seed=1
        )
        for is_chief in (True, False)
    )
    for found in (chief, alone):
        found._set_project_dir(str(tmp_path), "search")
        found.reload()
        assert found.trials[done.trial_id].status == "COMPLETED"
    assert chief.create_trial("tuner1").trial_id == running.trial_id
    assert chief.create_trial("tuner2").trial_id not in (
        done.trial_id, running.trial_id
    )
    assert alone.create_trial("tuner0").trial_id == running.trial_id


@pytest.mark.slow
def test_export_objective(data, tmp_path):
    tuner = tfl.tuner.RandomSearch(
        hypermodel(
            objective="bytes@0.0", rounds=1, criterion="magnitude",
            rewind_to=0, rate=0.5,
        ),
        max_trials=1, directory=tmp_path,
    )
    report = search(tuner, data)
    assert report.trials[0].failure is None
    found = report.trials[0].outcome
    assert 500 < found.score == found.exported["bytes"] < 5000
    assert [point["trial"] for point in report.pareto_of_files()] == ["0"]
