"""Runs that the scripts start from, and rows of what was trained on them."""

import contextlib
import csv
import pathlib
import tempfile

from tf_lottery import experiments
from tf_lottery.experiments import changes
from tf_lottery.experiments import outputs
from tf_lottery.experiments.analyses import subject as subject_lib
from tf_lottery.verdicts import comparisons


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
    """Yields the `Subject` of a run with tickets.

    Args:
        arguments: Namespace with the flags of `add_arguments`.
        **changes: Values of the preset, if it has to be run first.
    """
    with contextlib.ExitStack() as stack:
        path = arguments.run
        if path is None:
            directory = tempfile.TemporaryDirectory()
            path = pathlib.Path(stack.enter_context(directory))
        if not (path / "config.json").exists():
            flags = {
                name: getattr(arguments, name)
                for name in ("rounds", "trials", "iterations")
            }
            changes = {**flags, "control_trials": 0, **changes}
            preset = experiments.preset(arguments.preset, **changes)
            experiments.run(preset, path)
        yield subject_lib.Subject(path)


def protocol(subject, arguments=None):
    """Returns what a reader has to know of a run, for a page.

    Args:
        subject: `Subject` of the run.
        arguments: Namespace with the flags of `add_arguments`, if the script
            trains by it. Defaults to `None`.
    """
    preset, run = subject.preset, subject.run
    facts = {
        "protocol": f"preset {preset.name}: {preset.model} on "
        f"{preset.dataset}, {preset.optimizer} {preset.learning_rate}, "
        f"batches of {preset.batch_size}, {preset.iterations:,} steps a round",
        "seed": f"{preset.seed}, for weights, data order and controls by "
        "trial",
        "trials": str(len(run.trials)),
    }
    images, dense = run.known.get("images"), run.judgement.dense
    if images:
        error = 100 * (dense * (1 - dense) / images) ** 0.5
        facts["test images"] = (
            f"{images:,}, the same in all trials: the standard error of an "
            f"accuracy of {100 * dense:.1f} % is {error:.2f} points"
        )
    steps = changes.published(preset).get("protocol", {}).get("iterations")
    if steps not in (None, preset.iterations):
        paper = changes.published(preset)["source"].rpartition("/")[2]
        facts["shortened"] = f"arXiv:{paper} has {steps:,} steps a round"
    if arguments is not None and arguments.trials:
        facts["trials"] = f"{arguments.trials} of {facts['trials']}"
    if arguments is not None and arguments.iterations:
        facts["steps of a training here"] = f"{arguments.iterations:,}"
    return facts


def tickets(subject, arguments):
    """Yields a `Bench` and a ticket to train, for chosen rounds and trials.

    Args:
        subject: `Subject` of a run.
        arguments: Namespace with the flags of `add_arguments`.
    """
    for trial in subject.trials(max(arguments.choose))[:arguments.trials]:
        bench = subject.bench(trial, arguments.iterations)
        for round in arguments.choose:
            yield bench, subject.ticket(trial, round)


def points(subject):
    """Returns the steps that tickets of a run were rewound to, as a list."""
    preset = subject.preset
    return sorted({preset.rewind_step, *preset.other_rewind_steps})


def trials(subject, round):
    """Returns the trials that came to a round from every rewinding point."""
    others = {
        comparisons.of_point(step)
        for step in subject.preset.other_rewind_steps
    }
    return [
        trial for trial in subject.trials(round)
        if others <= {
            row["control"] for row in subject.run.controls
            if (row["trial"], row["round"]) == (trial, round)
        }
    ]


def trained(subject, bench, round=0, step=None):
    """Returns what a round trained to, and its test accuracy.

    They are taken from the run if that has trained as many steps and keeps
    the weights: those of the dense network and of the last round.

    Args:
        subject: `Subject` of a run.
        bench: Its `Bench` of a trial.
        round: Integer. Defaults to 0, the dense network.
        step: Integer, the rewinding point. Defaults to that of the preset.
    """
    trial = bench.number
    if bench.preset == subject.preset and round in (0, subject.preset.rounds):
        if not round:
            return subject.trained_dense(trial), subject.accuracy(trial, 0)
        found = outcome(subject, trial, round, step)
        return subject.trained_last(trial, step), found["test_accuracy"]
    found = bench.retrain(subject.ticket(trial, round, step))
    return bench.weights(), found


def outcome(subject, trial, round, step=None):
    """Returns the row of a run's results for one of its tickets.

    Args:
        subject: `Subject` of a run.
        trial: Integer.
        round: Integer.
        step: Integer, see `trained`. Defaults to `None`.
    """
    own = step in (None, subject.preset.rewind_step)
    series = None if own else comparisons.of_point(step)
    found, = (
        row for row in (*subject.run.rows, *subject.run.controls)
        if (row["trial"], row["round"], row.get("control"))
        == (trial, round, series)
    )
    return found


class Rows:
    """Rows of a file `trainings.csv`, one for each training.

    What is in the file is not computed again: a script that was interrupted
    resumes where it was.

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
                    {k: _value(text) for k, text in row.items()}
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
    """Returns what a cell of a CSV file says: a number, a boolean or text."""
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
