"""Tickets of a run's directory, and one training after another."""

import contextlib
import csv
import dataclasses
import json
import pathlib
import tempfile

from tf_lottery import Ticket
from tf_lottery import branches
from tf_lottery import experiments
from tf_lottery import holding
from tf_lottery import run_directory
from tf_lottery import snapshots
from tf_lottery.experiments import bench as bench_lib
from tf_lottery.experiments import feeds
from tf_lottery.experiments import outputs


def add_arguments(parser, rounds, choose=False):
    """Adds the flags of all scripts that start from the tickets of a run.

    Args:
        parser: `argparse.ArgumentParser`.
        rounds: Integer, the default of `--rounds`.
        choose: Boolean, whether rounds can be chosen. Defaults to `False`.
    """
    parser.add_argument(
        "--run", type=pathlib.Path, metavar="DIR",
        help="directory of `tf-lottery run`; default: a run of its own",
    )
    parser.add_argument("--preset", default="lenet-mnist")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--trials", type=int, help="default: all there are")
    parser.add_argument(
        "--iterations", type=int,
        help="steps of a training; default: those of the run or the preset",
    )
    parser.add_argument(
        "--output-dir", type=pathlib.Path, metavar="DIR",
        help="where to write tables, figures and a page; default: nowhere",
    )
    if choose:
        parser.add_argument(
            "--choose", type=int, nargs="+", metavar="ROUND",
            default=list(range(0, rounds + 1, 5)),
        )


@contextlib.contextmanager
def found(arguments, **changes):
    """Yields the preset and the directory of a run with tickets.

    Args:
        arguments: Namespace with the flags of `add_arguments`.
        **changes: Values of the preset, if it has to be run first.
    """
    with contextlib.ExitStack() as stack:
        path = arguments.run
        if path is None:
            directory = tempfile.TemporaryDirectory()
            path = pathlib.Path(stack.enter_context(directory))
        config = path / "config.json"
        if not config.exists():
            flags = {
                name: getattr(arguments, name)
                for name in ("rounds", "trials", "iterations")
            }
            changes = {**flags, "control_trials": 0, **changes}
            preset = experiments.preset(arguments.preset, **changes)
            experiments.run(preset, path)
        values = json.loads(config.read_text(encoding="utf-8"))
        yield experiments.Preset.from_dict(values), path


def protocol(preset, arguments=None):
    """Returns what a reader has to know of a preset, for a page.

    Args:
        preset: `tf_lottery.experiments.Preset`.
        arguments: Namespace with the flags of `add_arguments`, if the script
            trains by it. Defaults to `None`.
    """
    facts = {
        "protocol": f"preset {preset.name}: {preset.model} on "
        f"{preset.dataset}, {preset.optimizer} {preset.learning_rate}, "
        f"batches of {preset.batch_size}, {preset.iterations:,} steps a round",
        "seed": f"{preset.seed}, for weights, data order and controls by "
        "trial",
    }
    steps = preset.published.get("protocol", {}).get("iterations")
    if steps not in (None, preset.iterations):
        paper = preset.published["source"].rpartition("/")[2]
        facts["shortened"] = f"arXiv:{paper} has {steps:,} steps a round"
    if arguments is not None and arguments.iterations:
        facts["steps of a training here"] = f"{arguments.iterations:,}"
    return facts


def trials(path, round, most=None):
    """Returns the numbers of the trials that have come to a round.

    Args:
        path: `pathlib.Path` of a run.
        round: Integer.
        most: Integer, how many at most. Defaults to `None`: all.
    """
    masks = path.glob(f"trial-*/rounds/{round:02d}/masks.safetensors")
    names = (each.parents[2].name for each in masks)
    return sorted(int(name.removeprefix("trial-")) for name in names)[:most]


def ticket(path, round, trial=0, variant=""):
    """Returns the ticket of a round.

    Args:
        path: `pathlib.Path` of a run.
        round: Integer.
        trial: Integer. Defaults to 0.
        variant: String, such as `"rewind-to-500"`. Defaults to `""`.
    """
    place = run_directory.RunDirectory(path / f"trial-{trial}" / variant)
    masks, snapshot = place.load_masks(round), place.load_snapshot()
    return Ticket(masks, snapshot, round=round)


def tickets(preset, path, arguments):
    """Yields a `Laboratory` and a ticket, for every chosen round and trial.

    Args:
        preset: `tf_lottery.experiments.Preset`.
        path: `pathlib.Path` of a run.
        arguments: Namespace with the flags of `add_arguments`.
    """
    for trial in trials(path, max(arguments.choose), arguments.trials):
        laboratory = Laboratory(preset, trial, arguments.iterations)
        for round in arguments.choose:
            yield laboratory, ticket(path, round, trial)


class Laboratory:
    """Trains tickets of a run by its protocol, but evaluates only in the end.

    Args:
        preset: `tf_lottery.experiments.Preset`.
        trial: Integer, the trial whose weights and data order are taken.
            Defaults to 0.
        iterations: Integer, steps of a training; `None` for the preset's.
    """

    def __init__(self, preset, trial=0, iterations=None):
        steps = iterations or preset.iterations
        self._as_run = steps == preset.iterations
        self.preset = dataclasses.replace(preset, iterations=steps)
        self.trial = trial
        self.data = feeds.load(self.preset)
        self.bench = bench_lib.Bench(self.preset, self.data, trial)
        self.model = self.bench.model

    def train(self, ticket, order=0):
        """Trains a ticket; returns its test accuracy at the end.

        Args:
            ticket: `tf_lottery.Ticket`; the model is left as it was trained.
            order: Integer, which order of the data; 0 is that of the run.
        """
        self.bench.reorder(order)
        self.bench.train(ticket, measured=False)
        return self.bench.evaluate()["test_accuracy"]

    def weights(self):
        """Returns the weights as they are now, a dict by weight key."""
        return dict(holding.capture(self.model, step=0).weights)

    def dense(self, path):
        """Returns what the dense network trains to, and its test accuracy.

        It is taken from the run where it has trained as many steps.

        Args:
            path: `pathlib.Path` of the run.
        """
        start = ticket(path, 0, self.trial)
        if not self._as_run:
            accuracy = self.train(start)
            return self.weights(), accuracy
        weights = branches.dense_weights(path / f"trial-{self.trial}" / "dense")
        snapshot = snapshots.Snapshot(self.preset.iterations, weights)
        Ticket(start.masks, snapshot).apply(self.model)
        return weights, self.bench.evaluate()["test_accuracy"]


class Trainings:
    """Rows of a file `trainings.csv`, one for each training.

    What is in the file is not computed again: a script that was interrupted
    goes on where it was.

    Args:
        directory: `pathlib.Path`; `None` keeps the rows in memory.

    Attributes:
        rows: List of dicts, those that were asked for.
    """

    def __init__(self, directory=None):
        self.rows, self._known = [], []
        self._path = directory and directory / "trainings.csv"
        if directory is not None and self._path.exists():
            with open(self._path, newline="", encoding="utf-8") as file:
                self._known = [
                    {name: _value(text) for name, text in row.items()}
                    for row in csv.DictReader(file)
                ]

    def add(self, measure, **key):
        """Adds the row of a training, and returns it.

        Args:
            measure: Callable that returns a dict of numbers; it is called
                if the row is not known.
            **key: What tells this training from others: its protocol, too.
        """
        found = self._find(key)
        if found is None:
            found = key | measure()
            self._known.append(found)
            self._write()
        self.rows.append(found)
        return found

    def _find(self, key):
        for row in self._known:
            if all(row.get(name) == value for name, value in key.items()):
                return row
        return None

    def _write(self):
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            outputs.write_csv(self._path, self._known)


def _value(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
