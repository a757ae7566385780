"""Files of a run: its configuration and tables, read as one value."""

import csv
import dataclasses
import json
import pathlib

from tf_lottery import checks
from tf_lottery import run_directory
from tf_lottery.verdicts import judging
from tf_lottery.verdicts.rules import Rules


@dataclasses.dataclass(frozen=True)
class Run:
    """The content of a run's directory.

    Attributes:
        path: `pathlib.Path`.
        config: Dict, what was run.
        rows: List of dicts, one for each round of each trial, with at least
            `"trial"`, `"round"` and `"density"`.
        controls: List of dicts, one for each training of a control, with
            `"control"` besides.
        known: Dict, `"images"` and `"classes"` of the test set, or `{}`.
        versions: Dict of strings.
        layers: Dict from trial to a list, by round, of dicts from weight key
            to density.
    """

    path: pathlib.Path
    config: dict
    rows: list
    controls: list
    known: dict
    versions: dict
    layers: dict

    @property
    def name(self):
        """String, the name of the preset, or of the directory."""
        return self.config.get("name") or self.path.resolve().name

    @property
    def trials(self):
        """List of the numbers of the trials that have results."""
        return sorted({row["trial"] for row in self.rows})

    @property
    def judgement(self):
        """`verdicts.judging.Judgement` of its trials."""
        return judging.judge(
            self.rows, self.controls, Rules.of(self.config, **self.known)
        )


def read(directory):
    """Reads the directory of `tf-lottery run` or of a pruning callback.

    Args:
        directory: Path, as given to `tf-lottery run --output-dir` or to
            `IterativeMagnitudePruning(directory=...)`.

    Returns:
        `Run`.

    Raises:
        FileNotFoundError: If it holds no results.
        ValueError: If its files are damaged.
    """
    checks.path("directory", directory)
    path = pathlib.Path(directory)
    config = _json(path / "config.json")
    if not isinstance(config, dict):
        raise ValueError(
            f"File '{path / 'config.json'}' is damaged. Received: "
            f"{type(config)}. Expected: a JSON object."
        )
    if "dataset" in config:
        return _experiment(path, config)
    rounds = _rounds(path)
    rows = [_row(0, result) for result in rounds]
    return Run(
        path, config, _marked(rows, config), [], {},
        config.get("versions", {}),
        {0: [result.densities for result in rounds]},
    )


def _experiment(path, config):
    controls = path / "controls.csv"
    trials = sorted(
        path.glob("trial-*"), key=lambda p: int(p.name.rpartition("-")[2])
    )
    versions, layers, trained = {}, {}, []
    for number, trial in enumerate(trials):
        if (trial / "config.json").exists():
            versions = _json(trial / "config.json").get("versions", versions)
        if (trial / "results.json").exists():
            found = _rounds(trial)
            layers[number] = [result.densities for result in found]
            trained += [_row(number, result) for result in found]
    # It is written when a trial has found its last ticket.
    if trained and not (path / "results.csv").exists():
        rows = trained
    else:
        rows = _table(path / "results.csv")
    return Run(
        path,
        config,
        _marked(rows, config),
        _marked(_table(controls) if controls.exists() else [], config),
        _known(path / "results.json"),
        versions,
        layers,
    )


def _known(path):
    """What the run noted of its test set, which the first release did not."""
    found = _json(path) if path.exists() else {}
    rules = found.get("verdicts", {}).get("rules", {})
    return {
        name: rules[name] for name in ("images", "classes") if name in rules
    }


def _marked(rows, config):
    """Says of each row whether its early stop was not measured."""
    return [
        {**row, "early_stop_censored": _is_last(
            row.get("early_stop_step"),
            config.get("iterations") or row.get("steps"),
        )}
        for row in rows
    ]


def _is_last(step, steps):
    return None not in (step, steps) and step >= steps


def _rounds(path):
    try:
        return run_directory.RunDirectory(path).load_results()
    except FileNotFoundError as error:
        raise _missing(error.filename) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise _damaged(path / "results.json", error) from error


def _row(trial, result):
    values = dict(vars(result))
    del values["metrics"], values["densities"]
    return {"trial": trial, **result.metrics, **values}


def _json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _missing(path) from error
    except ValueError as error:
        raise _damaged(path, error) from error


def _table(path):
    """Reads a CSV file into dicts of numbers, booleans and strings."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [
                {name: value_of(text) for name, text in row.items()}
                for row in csv.DictReader(file)
            ]
    except FileNotFoundError as error:
        raise _missing(path) from error
    needed = {"trial", "round", "density"}
    for row in rows:
        if any(row.get(name) is None for name in needed):
            raise _damaged(path, f"a row without {sorted(needed)}: {row}")
    return rows


def value_of(text):
    """Returns what a cell of a CSV file says: a number, a boolean or text."""
    if text in ("", None):
        return None
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _missing(path):
    return FileNotFoundError(
        f"There are no results of a run: '{path}' does not exist. Expected: "
        "a directory that `tf-lottery run` or `IterativeMagnitudePruning("
        "directory=...)` wrote to."
    )


def _damaged(path, error):
    return ValueError(f"File '{path}' is damaged: {error}")
