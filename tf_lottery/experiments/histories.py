"""The logs of trainings, kept as they come: a run's learning curves."""

import csv

import keras

from tf_lottery import files
from tf_lottery.analysis import bands
from tf_lottery.analysis import reading
from tf_lottery.analysis import run_files
from tf_lottery.experiments import outputs
from tf_lottery.runs import results
from tf_lottery.verdicts import comparisons


class HistoryFile(keras.callbacks.Callback):
    """Appends the logs of every epoch to a file.

    The first epoch of a process writes it anew, without what a killed process
    has half written, or written after its last saved state.
    """

    def __init__(self, path):
        super().__init__()
        self._path = path
        self._began = False

    def on_epoch_end(self, epoch, logs=None):
        row = plain(logs)
        if self._began:
            line = results.rows_to_csv([row]).split("\n", 1)[1]
            with open(self._path, "a", newline="") as file:
                file.write(line)
            return
        self._began = True
        earlier = rows_of(self.model.history)
        files.write_text(self._path, results.rows_to_csv([*earlier, row]))


def rows_of(history):
    """Returns the logs of a `keras.callbacks.History`, a dict an epoch."""
    if history is None:
        return []
    names, columns = history.history.keys(), history.history.values()
    return [plain(dict(zip(names, values))) for values in zip(*columns)]


def plain(logs):
    """Returns logs as plain values: rounds are integers, others floats."""
    return {
        name: int(value) if name == "round" else results.shortest(float(value))
        for name, value in logs.items()
    }


def read(path):
    """Returns the rows of a file of logs."""
    with open(path, newline="") as file:
        # While a run goes on, the last line may be half written.
        return [
            plain(row) for row in csv.DictReader(file)
            if None not in row.values()
        ]


def of_run(run):
    """Yields the trainings of a run that kept their logs; callbacks have none.

    Each is a row of the run, and pairs of a step and a dict of logs.
    """
    if "dataset" not in run.config:
        return
    with reading.of(run.path / run_files.CONFIG):
        last, every = run.config["iterations"], run.config["evaluate_every"]
    for row, logs in _logs(run):
        if logs:
            # The first release did not note the steps.
            steps = range(row.get("steps") or last, 0, -every)
            yield row, list(zip(steps, reversed(logs)))[::-1]


def _logs(run):
    rounds = {}
    for row in (*run.rows, *run.controls):
        place = outputs.TrialDirectory(run_files.trial(run.path, row["trial"]))
        path, name = place.history, row.get("control")
        own = place.control(
            row["round"], name or comparisons.FULL_LENGTH,
            row.get("number", 0),
        )
        if own.exists():
            yield row, _read(own)
            continue
        if name is not None:
            path = place.variant(name).history
        if path not in rounds:
            logs = _read(path) if path.exists() else ()
            rounds[path] = bands.by_round(logs)
        if row["round"] in rounds[path]:
            yield row, rounds[path][row["round"]]


def _read(path):
    with reading.of(path):
        return read(path)
