"""Directories of runs as `tf-lottery run` leaves them, without a training."""

import json

import numpy as np

from tf_lottery.runs import results
from tf_lottery.runs import run_directory

EVERY = 100
CONTROLS = ("random_reinitialize", "random_masks")


def write(
    path, rounds=3, trials=2, evaluations=5, controlled=(), samples=2,
    seed=0, logs=True, **changes,
):
    """Writes a run whose accuracies fall with density, with noise of a seed.

    Args:
        path: `pathlib.Path` of its directory.
        rounds: Integer.
        trials: Integer.
        evaluations: Integer, of each training.
        controlled: Rounds whose tickets have controls.
        samples: Integer, trainings of each control.
        seed: Integer.
        logs: Boolean, whether trials have their logs and directories.
        **changes: Other values of `config.json`.
    """
    path.mkdir(parents=True)
    config = {
        "name": "lenet-mnist", "summary": "A <test> & more.",
        "dataset": "mnist", "iterations": EVERY * evaluations,
        "evaluate_every": EVERY, "batch_size": 60, "rounds": rounds,
        "trials": trials, "rate": {"*": 0.2}, "seed": seed, **changes,
    }
    (path / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(seed)
    found = [
        _trial(path / f"trial-{number}" if logs else None, number, rounds,
               evaluations, controlled, samples, rng)
        for number in range(trials)
    ]
    (path / "results.json").write_text(json.dumps({
        "verdicts": {"rules": {"images": 10_000, "classes": 10}},
        "trials": found,
    }))
    return path


def callback(path, rounds=3, accuracy=0.75):
    """Writes what `IterativeMagnitudePruning(directory=...)` does."""
    directory = run_directory.RunDirectory(path)
    directory.open({"rounds": rounds, "versions": {"keras": "3.99"}})
    directory.save_results([
        results.RoundResult(
            number, 0.8**number, {"fc1/kernel": 0.8**number},
            {"accuracy": accuracy, "val_accuracy": accuracy}, 100, 50, 0.1,
            0.8**number,
        )
        for number in range(rounds + 1)
    ])
    directory.close()
    return path


def three(place):
    """Writes a run of two trials, one of three, and a callback's."""
    write(place / "one", controlled=(2, 3))
    write(place / "two", controlled=(3,), trials=3, seed=1)
    callback(place / "mine")
    return place


def chosen(rows, **values):
    """Returns the rows that have some values."""
    return [
        row for row in rows
        if all(row[name] == value for name, value in values.items())
    ]


def _trial(place, number, rounds, evaluations, controlled, samples, rng):
    found, history = [], []
    for index in range(rounds + 1):
        density = 0.8**index
        logs = _logs(density, 0.0, evaluations, rng)
        history += [{**entry, "round": index} for entry in logs]
        found.append({
            "round": index, "density": density, "effective_density": density,
            "seconds": float(rng.random()), "outcome": _outcome(logs),
            "controls": {},
        })
        for name, worse in zip(CONTROLS, (0.01, 0.03)):
            trained = [
                _logs(density, worse, evaluations, rng)
                for _ in range(samples if index in controlled else 0)
            ]
            if trained:
                found[index]["controls"][name] = [*map(_outcome, trained)]
            if place is not None:
                for sample, logs in enumerate(trained):
                    _write_csv(
                        place / "controls"
                        / f"round-{index:02d}-{name}-{sample}.csv", logs,
                    )
    if place is not None:
        callback(place, rounds)
        _write_csv(place / "history.csv", history)
    return {"number": number, "rounds": found, "candidate": None}


def _logs(density, worse, evaluations, rng):
    """Learns towards an accuracy; the validation loss is least before last."""
    end = 0.98 - worse * (1 - density) - 0.001 * np.log(density) ** 2
    steps = np.arange(1, evaluations + 1)
    values = end - 0.5 / steps**1.5 + 0.002 * rng.normal(size=evaluations)
    losses = np.abs(steps - (evaluations - 1)) + 0.1
    return [
        {
            "accuracy": 1.0, "loss": 0.1, "val_accuracy": float(value),
            "val_loss": float(loss), "test_accuracy": float(value),
        }
        for value, loss in zip(values, losses)
    ]


def _outcome(logs):
    best = min(range(len(logs)), key=lambda i: logs[i]["val_loss"])
    return {
        "val_accuracy": logs[-1]["val_accuracy"],
        "test_accuracy": logs[-1]["test_accuracy"],
        "early_stop_step": EVERY * (best + 1),
        "early_stop_test_accuracy": logs[best]["test_accuracy"],
    }


def _write_csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(results.rows_to_csv(rows))
