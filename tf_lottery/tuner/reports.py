"""The trials of a search next to each other, and the best compromises."""

import dataclasses
import pathlib
from typing import Any

import rich.console

from tf_lottery import files
from tf_lottery.report import drawing
from tf_lottery.report import tables
from tf_lottery.runs import results as results_lib
from tf_lottery.tuner import identity
from tf_lottery.tuner import outcomes
from tf_lottery.tuner import pareto as pareto_lib
from tf_lottery.tuner import spaces
from tf_lottery.utils import checks
from tf_lottery.utils import types

_WORDS = {"COMPLETED": "done", "FAILED": "failed"}


@dataclasses.dataclass(frozen=True)
class Trial:
    """One trial of a search: `"done"`, `"failed"` or `"unfinished"`."""

    name: str
    status: str
    values: dict[str, Any]
    outcome: outcomes.Outcome | None
    failure: str | None = None

    @property
    def chosen(self) -> dict[str, Any] | None:
        """Dict, the round that the objective is about, or `None`."""
        if self.outcome is None or self.outcome.chosen is None:
            return None
        return next(
            r for r in self.outcome.rounds
            if r["round"] == self.outcome.chosen
        )


@dataclasses.dataclass(frozen=True)
class Report:
    """All trials of a search.

    Attributes:
        search: Dict, what was searched; see `search.json`.
        trials: List of `Trial`.
    """

    search: dict[str, Any]
    trials: list[Trial]

    @property
    def monitor(self) -> results_lib.Monitor:
        """`tf_lottery.runs.results.Monitor`, by which rounds are compared."""
        return results_lib.Monitor(
            self.search["monitor"], self.search["mode"]
        )

    def rows(self) -> list[dict[str, Any]]:
        """Returns a dict for each trial, for a table."""
        return [self._row(trial) for trial in self.trials]

    def pareto(self) -> list[dict[str, Any]]:
        """Returns the rounds than which none is sparser and no worse.

        Returns:
            List of dicts, the sparsest first: density, metrics, trial, round
            and hyperparameters.
        """
        name = self.monitor.name
        points = [
            {
                "density": round_["density"],
                **_metrics(round_, name),
                "trial": trial.name,
                "round": round_["round"],
                **trial.values,
            }
            for trial in self.trials if trial.outcome is not None
            and trial.status != "failed"
            for round_ in trial.outcome.rounds
        ]
        return pareto_lib.front(points, "density", self.monitor)

    def pareto_of_files(self) -> list[dict[str, Any]]:
        """Returns the trials whose files are the best compromises.

        Returns:
            List of dicts as `pareto` returns, with the file's measures; empty
            if no file was made.
        """
        points = [
            {
                **trial.outcome.exported,
                **_metrics(trial.chosen, self.monitor.name),
                "density": trial.chosen["density"],
                "trial": trial.name,
                **trial.values,
            }
            for trial in self.trials
            if trial.outcome is not None and trial.outcome.exported
        ]
        kind = self.search["objective"].partition("@")[0]
        return pareto_lib.front(points, kind, self.monitor)

    def render(self) -> rich.console.Group:
        """Returns the tables as one renderable of rich's."""
        parts = [_table(self.rows())]
        parts += [
            f"trial {trial.name} failed: {trial.failure}"
            for trial in self.trials if trial.status == "failed"
        ]
        name = self.monitor.name
        for what, best in (
            ("density", self.pareto()), ("files", self.pareto_of_files())
        ):
            if best:
                parts += [
                    f"\nbest compromises of {what} and {name}:", _table(best)
                ]
        return rich.console.Group(*parts)

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as a dict of plain values."""
        return {
            "search": self.search,
            "trials": self.rows(),
            "pareto": self.pareto(),
            "pareto_of_files": self.pareto_of_files(),
        }

    def save(self, directory: types.Path) -> list[str]:
        """Writes tables and figure.

        Args:
            directory: Path of a directory.

        Returns:
            List of strings, the paths of `results.json`, `results.csv`,
            `pareto.csv` and `pareto.html`; without the extra `plot` a
            warning says that the page is left out.
        """
        directory = pathlib.Path(directory)
        contents = {
            "results.csv": _csv(self.rows()),
            "pareto.csv": _csv(self.pareto()),
        }
        if drawing.available("The page of the search"):
            contents["pareto.html"] = pareto_lib.page(self)
        files.write_json(directory / "results.json", self.to_dict())
        for name, text in contents.items():
            files.write_text(directory / name, text)
        return [str(directory / name) for name in ("results.json", *contents)]

    def _row(self, trial):
        chosen, outcome = trial.chosen, trial.outcome
        row = {
            "trial": trial.name,
            **trial.values,
            self.search["objective"]: outcome and outcome.score,
        }
        if chosen is not None:
            row |= {
                "density": chosen["density"],
                **_metrics(chosen, self.monitor.name),
                "round": chosen["round"],
            }
        row["status"] = trial.status
        return row


def read(path: types.Path) -> Report:
    """Reads what a search has found so far.

    Args:
        path: Path of the directory of the search.

    Raises:
        ValueError: If there is no search.
        DamagedFileError: If a file cannot be read.
    """
    checks.path("path", path)
    path = pathlib.Path(path)
    search = identity.read(path)
    if search is None:
        raise ValueError(
            f"There is no search in '{path}'. Expected: the directory of one."
        )
    found = sorted(
        (each.parent for each in path.glob("trial_*/trial.json")),
        key=lambda place: int(place.name.removeprefix("trial_")),
    )
    return Report(search, list(map(_trial, found)))


def values_of(hyperparameters):
    """Returns the values of a trial as people call them."""
    values = {
        name.removeprefix(spaces.PREFIX): spaces.plain(value)
        for name, value in hyperparameters.items()
        if not name.startswith("tuner/")
    }
    if "tuner/epochs" in hyperparameters:
        values["budget"] = hyperparameters["tuner/epochs"]
    return values


def _csv(rows):
    return results_lib.rows_to_csv(rows, _columns(rows))


def _trial(path):
    state = files.read_json(path / "trial.json")
    with files.intact(path / "trial.json"):
        values = state["hyperparameters"]["values"]
    status = _WORDS.get(state["status"], "unfinished")
    outcome = None if status == "unfinished" else outcomes.load(path)
    failure = None
    if status == "failed":
        lines = (state.get("message") or "unknown").strip().splitlines()
        failure = outcome and outcome.failure or lines[-1]
    return Trial(
        path.name.removeprefix("trial_"), status, values_of(values), outcome,
        failure,
    )


def _metrics(round_, monitor):
    """The metrics to show: the test set's stands next to, it never chooses."""
    metrics = round_["metrics"]
    names = [monitor, *(name for name in metrics if name.startswith("test_"))]
    return {name: metrics[name] for name in names}


def _columns(rows):
    names = dict.fromkeys(name for row in rows for name in row)
    # It belongs at the end, also where the first trial has failed.
    if "status" in names:
        del names["status"]
        names["status"] = None
    return list(names)


def _table(rows):
    names = _columns(rows)
    words = [
        number for number, name in enumerate(names)
        if any(isinstance(row.get(name), str) for row in rows)
    ]
    return tables.of_records(rows, words, names).printed()
