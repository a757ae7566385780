"""The directory of a trial, and what the trial came to in it."""

import dataclasses
import pathlib
import shutil
from typing import Any

from tf_lottery import files
from tf_lottery.runs import branches
from tf_lottery.tuner.library import keras_tuner
from tf_lottery.utils import types

_NAME = "outcome.json"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The record of one trial.

    It took `seconds` in this process, of which it `trained` in `fit`. `rounds`
    have `round`, `density`, `steps` and `metrics`; the objective is about the
    `chosen` one. The dense round may be `shared` with other trials.
    """

    values: dict[str, Any]
    rounds: list[dict[str, Any]]
    chosen: int | None = None
    score: float | None = None
    exported: dict[str, Any] | None = None
    failure: str | None = None
    shared: bool = False
    seconds: float = 0.0
    trained: float = 0.0

    def save(self, directory: types.Path) -> None:
        path = pathlib.Path(directory) / _NAME
        files.write_json(path, dataclasses.asdict(self))


def load(directory):
    """Reads the outcome of a trial; `None` if there is none yet."""
    path = pathlib.Path(directory) / _NAME
    if not path.exists():
        return None
    with files.intact(path):
        return Outcome(**files.read_json(path))


def of_rounds(results):
    """Returns `RoundResult`s as the plain `rounds` of an outcome."""
    names = ("round", "density", "effective_density", "steps", "metrics")
    return [{name: getattr(r, name) for name in names} for r in results]


@dataclasses.dataclass(frozen=True)
class Place:
    """The directory of a trial, in that of the search.

    `run/` has its rounds, `chosen.safetensors` what the chosen one trained to,
    `outcome.json` what came of it. The tuner loads its best models from the
    checkpoint; it may give promoted ones the weights they were trained to.
    """

    path: pathlib.Path
    project: pathlib.Path
    checkpoint: str | None
    is_pretrained: bool = False

    @property
    def run(self):
        return self.path / "run"

    @property
    def chosen(self):
        return self.path / "chosen.safetensors"

    def go_on_from(self, trial_id):
        """Takes over the rounds of an earlier trial, unless it has its own."""
        if branches.is_kept(self.run):
            return
        earlier = self.path.with_name(f"trial_{trial_id}")
        half = self.path / "run.part"
        for path in (half, self.run):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(
            earlier / "run", half, ignore=shutil.ignore_patterns("lock")
        )
        if (earlier / self.chosen.name).exists():
            shutil.copy2(earlier / self.chosen.name, self.chosen)
        half.rename(self.run)


def find(callbacks):
    """Returns the `Place` of a trial, or `None`, and its other callbacks.

    The one that saves the best epoch is left out: it would be a dense one.
    """
    tuner = trial = checkpoint = None
    others = []
    for callback in callbacks:
        if hasattr(callback, "tuner") and hasattr(callback, "trial"):
            tuner, trial = callback.tuner, callback.trial
            others.append(callback)
        elif hasattr(callback, "filepath") and hasattr(callback, "objective"):
            checkpoint = callback.filepath
        else:
            others.append(callback)
    if tuner is None:
        return None, others
    path = pathlib.Path(tuner.get_trial_dir(trial.trial_id))
    promotes = isinstance(tuner, keras_tuner.Hyperband)
    return Place(path, path.parent, checkpoint, promotes), others
