"""Files of a run: their names, and what they hold, read as one value."""

import dataclasses
import functools
import os
import pathlib

from tf_lottery import files
from tf_lottery.analysis import reading
from tf_lottery.runs import run_directory
from tf_lottery.utils import checks
from tf_lottery.verdicts import judging
from tf_lottery.verdicts.rules import Rules

CONFIG, RESULTS = "config.json", "results.json"


@dataclasses.dataclass(frozen=True)
class Run:
    """The content of a run's directory.

    A row is that of a round of a trial, with at least `"trial"`, `"round"` and
    `"density"`, or of a training of a `"control"`. Of the test set, `"images"`
    and `"classes"` may be known. `results` are `RoundResult`s by trial,
    `identities` what copies of a trial have as well.
    """

    path: pathlib.Path
    config: dict
    rows: list
    controls: list
    known: dict
    versions: dict
    results: dict
    identities: dict = dataclasses.field(default_factory=dict)

    @property
    def name(self):
        """String, the name of the preset, or of the directory."""
        return self.config.get("name") or self.path.resolve().name

    @property
    def trials(self):
        return sorted({row["trial"] for row in self.rows})

    @property
    def ends(self):
        """Dict from trial to the last round that it has finished."""
        return {
            trial: max(r["round"] for r in self.rows if r["trial"] == trial)
            for trial in self.trials
        }

    @property
    def whole_rows(self):
        """List of the rows of trainings of full length."""
        steps = self.config.get("iterations")
        return [
            row for row in self.rows
            if steps is None or row.get("steps") in (None, steps)
        ]

    @functools.cached_property
    def judgement(self):
        return judging.judge(
            self.rows, self.controls, Rules.of(self.config, **self.known)
        )


def read(directory):
    """Returns the `Run` in the directory of a preset or of a callback."""
    checks.path("directory", directory)
    path = pathlib.Path(directory)
    config = _json(path / CONFIG)
    with reading.of(path / RESULTS):
        run = (_experiment if "dataset" in config else _callback)(path, config)
        for row in (*run.rows, *run.controls):
            reading.check_numbers(row)
    return run


def check_begun(run):
    """Raises a `ValueError` if a run has no finished round yet."""
    if not run.rows:
        raise ValueError(
            f"Directory '{run.path}' holds no finished round yet."
        )


def trial(directory, number):
    """Returns the path of a trial's directory in that of a run."""
    return pathlib.Path(directory) / f"trial-{number}"


def rows_of(trials, rules):
    """Returns a flat dict for each round of trials, as `results.json` has."""
    found = []
    for each in trials:
        dense = None
        for round_ in each["rounds"]:
            own = judging.measured(round_["outcome"], rules)
            dense = dense or own
            matches = judging.matches(dense, own, rules)
            found.append({
                "trial": each["number"],
                **{name: round_[name] for name in ("round", "density")},
                **round_["outcome"],
                "effective_density": round_["effective_density"],
                "early_stop_censored": own.censored,
                "seconds": round_["seconds"],
                # The first release called it winning.
                "candidate": round_["round"] == each.get(
                    "candidate", each.get("winner")
                ),
                **{
                    f"matches_{name}": matched if round_["round"] else None
                    for name, matched in matches.items()
                },
            })
    return found


def controls_of(trials):
    """Returns a flat dict for each training of a control of trials."""
    return [
        {
            "trial": each["number"],
            **{name: round_[name] for name in ("round", "density")},
            "control": name,
            "number": number,
            **outcome,
        }
        for each in trials for round_ in each["rounds"]
        for name, outcomes in round_["controls"].items()
        for number, outcome in enumerate(outcomes)
    ]


def _callback(path, config):
    results = {0: _results(path)}
    return Run(
        path, config, _trained(results, config), [], {},
        config.get("versions", {}), results, _identities({0: config}),
    )


def _experiment(path, config):
    results, configs = {}, {}
    with reading.of(path / CONFIG):
        # No more than there are directories for.
        numbers = range(min(config.get("trials", 1), len(os.listdir(path))))
    for number in numbers:
        place = trial(path, number)
        if (place / CONFIG).exists():
            configs[number] = _json(place / CONFIG)
        if (place / RESULTS).exists():
            results[number] = _results(place)
    if results and not (path / RESULTS).exists():
        # It is written when a trial has found its last ticket.
        rows, controls, known = _trained(results, config), [], {}
    else:
        rows, controls, known = _summary(path / RESULTS, config)
    return Run(
        path, config, rows, controls, known,
        [{}, *(c["versions"] for c in configs.values() if "versions" in c)][-1],
        {number: found for number, found in results.items() if found},
        _identities(configs),
    )


def _identities(configs):
    """What names a trial, and with the arguments of rewinding its variants."""
    return {
        number: tuple(
            str(config.get(name)) for name in ("run", "rewind", "rewind_to")
        )
        for number, config in configs.items() if config.get("run")
    }


def _summary(path, config):
    """Returns the rows, the controls and what is known of the test set."""
    found = _json(path)
    # The first release did not note it.
    rules = found.get("verdicts", {}).get("rules", {})
    known = {
        name: rules[name] for name in ("images", "classes") if name in rules
    }
    rows = rows_of(found["trials"], Rules.of(config, **known))
    return rows, _marked(controls_of(found["trials"]), config), known


def _trained(results, config):
    """The rows of rounds as the pruning callback recorded them."""
    rows = []
    for number, found in results.items():
        for result in found:
            values = dict(vars(result))
            del values["metrics"], values["densities"]
            rows.append({"trial": number, **result.metrics, **values})
    return _marked(rows, config)


def _marked(rows, config):
    """Says of each row whether its early stop was not measured."""
    found = []
    for row in rows:
        step = row.get("early_stop_step")
        steps = row.get("steps") or config.get("iterations")
        last = None not in (step, steps) and step >= steps
        found.append({**row, "early_stop_censored": last})
    return found


def _results(path):
    with reading.of(path / RESULTS):
        return run_directory.RunDirectory(path).load_results()


def _json(path):
    with reading.of(path):
        return files.read_json(path)
