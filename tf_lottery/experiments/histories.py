"""The logs of trainings, kept in CSV files as they come."""

import csv

import keras

from tf_lottery import files
from tf_lottery.runs import results


class HistoryFile(keras.callbacks.Callback):
    """Appends the logs of every epoch to a file.

    The first epoch of a process writes the file anew, so that what a killed
    process has half written, or written after its last saved state, is gone.
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
