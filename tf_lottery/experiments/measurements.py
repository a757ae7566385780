"""Measurements: everything that runs have measured, in one tidy table."""

import collections
import importlib
import warnings
from typing import Any

from tf_lottery.analysis import identity
from tf_lottery.analysis import run_files
from tf_lottery.analysis.curves import TICKETS
from tf_lottery.experiments import histories
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types

COLUMNS = (
    "run", "trial", "round", "density", "effective_density", "series",
    "number", "at", "step", "censored", "metric", "split", "value",
)
DENSE = "dense"
_EARLY = "early_stop_"
# Of which data a metric is, by the start of its name.
_SPLITS = {"val_": "val", "test_": "test"}
_OTHERS = {"seconds": "", "step": "val"}
_NO_METRICS = {
    "trial", "round", "density", "effective_density", "sparsity", "control",
    "number", "steps", "early_stop_censored",
}


@docs.filled
def read(*directories: types.Path, learning_curves: bool = False) -> Any:
    """Reads runs as one tidy table, a row for each measurement.

    A run that is named twice, and a trial that was copied, count once, with a
    warning. The columns are:

    - `run`: the name of the directory, or its path where names are alike;
    - `trial`, `round`, `density` and, of tickets, `effective_density`;
    - `series`: `"dense"` (round 0), `"tickets"`, or the name of a control as
      in `controls.csv`, such as `"random_masks"`; `number`: which sample;
    - `at`: `"end"` of a training, `"early stop"`, or `"training"`, a point of
      a learning curve; `step`: the training step there;
    - `censored`: whether the early stop is the last evaluation, so that it
      may come later and was not measured;
    - `metric`, `split` (`"train"`, `"val"`, `"test"`, `""`) and `value`.

    Args:
        *directories: Paths of the directories of `tf-lottery run`, or of
            `IterativeMagnitudePruning(directory=...)`, finished or not.
        learning_curves: Boolean, whether to read what was logged at every
            evaluation as well, which is many times as much. Callbacks alone
            keep no logs. Defaults to `False`.

    Returns:
        `pandas.DataFrame` if pandas is installed, otherwise a list of dicts.

    Raises:
        FileNotFoundError: If a directory holds no results.
        ValueError: If files are damaged, or no directory is given.

    Example:

    {{run}}
    ...     runs = tfl.experiments.read(path)
    ...     directory.close()
    >>> len(runs)
    2
    """
    checks.flag("learning_curves", learning_curves)
    rows = [
        row for name, run in load(directories).items()
        for row in _measured(name, run, learning_curves)
    ]
    try:
        pandas = importlib.import_module("pandas")
    except ImportError:
        return rows
    return pandas.DataFrame(rows, columns=list(COLUMNS))


def load(directories):
    """Reads runs, each trial once; returns them by name."""
    if not directories:
        raise ValueError(
            "Argument `directories` must be one path or more. Received: none"
        )
    runs = [run_files.read(path) for path in directories]
    distinct = identity.distinct(runs)
    for run, kept in zip(runs, distinct):
        copies = sorted({*run.trials} - {*kept.trials})
        if copies:
            warnings.warn(
                f"Run '{run.path}' counts without trials {copies}: they are "
                "those of a run that was named before.",
                stacklevel=3,
            )
    kept = [d for run, d in zip(runs, distinct) if d.trials or not run.trials]
    names = collections.Counter(run.path.resolve().name for run in kept)
    return {
        run.path.resolve().name
        if names[run.path.resolve().name] == 1 else str(run.path): run
        for run in kept
    }


def _measured(name, run, learning_curves):
    """Yields the measurements of a run as dicts."""
    for row in (*run.rows, *run.controls):
        last = row.get("steps") or run.config.get("iterations")
        end = {k: v for k, v in row.items() if not k.startswith(_EARLY)}
        yield from _values(name, row, end, "end", last, False)
        early = {
            key.removeprefix(_EARLY): row[key] for key in row
            if key.startswith(_EARLY) and key not in _NO_METRICS
        }
        yield from _values(
            name, row, early, "early stop", row.get("early_stop_step"),
            row["early_stop_censored"],
        )
    if learning_curves:
        for row, logs in histories.of_run(run):
            for step, entry in logs:
                yield from _values(name, row, entry, "training", step, False)


def _values(name, row, values, at, step, censored):
    training = {
        "run": name,
        "trial": row["trial"],
        "round": row["round"],
        "density": row["density"],
        "effective_density": row.get("effective_density"),
        "series": row.get("control", TICKETS if row["round"] else DENSE),
        "number": row.get("number", 0),
        "at": at,
        "step": step,
        "censored": censored,
    }
    for key, value in values.items():
        if key in _NO_METRICS or value is None or isinstance(value, bool):
            continue
        start = next(filter(key.startswith, _SPLITS), "")
        yield {
            **training,
            "metric": key.removeprefix(start),
            "split": _OTHERS.get(key, _SPLITS.get(start, "train")),
            "value": value,
        }
