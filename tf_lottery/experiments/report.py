"""Report of an experiment: a table and a verdict."""

import dataclasses
import itertools
import statistics
from typing import Any

import rich.console
import rich.text

from tf_lottery.analysis import run_files
from tf_lottery.experiments import budgets
from tf_lottery.experiments import changes
from tf_lottery.experiments import presets
from tf_lottery.experiments import records
from tf_lottery.report import notebook
from tf_lottery.report import tables as tables_lib
from tf_lottery.verdicts import comparisons
from tf_lottery.verdicts import judging
from tf_lottery.verdicts import rules as rules_lib
from tf_lottery.verdicts import words


@dataclasses.dataclass(frozen=True)
class Report:
    """The results of a preset, and the paths that were written.

    The rules are those of the preset, for an unknown number of test images.
    """

    preset: presets.Preset
    trials: list[records.Trial]
    rules: rules_lib.Rules | None = None
    files: list[str] = dataclasses.field(default_factory=list)

    @property
    def judgement(self) -> judging.Judgement:
        return judging.judge(self._rows(), self.control_rows(), self._rules)

    @property
    def verdict(self) -> str:
        """String, one line or more: is there a winning ticket?"""
        return self._text(self.judgement)

    def render(self) -> rich.console.Group:
        """Returns the table and the verdict for `rich.print`."""
        return rich.console.Group(
            self._cells().printed(title=self._title, keys=2, pad_edge=False),
            # As a caption it would be as narrow as the last part of the table.
            rich.text.Text(_CAPTION, style="italic"),
            rich.text.Text(self.verdict, style="bold"),
        )

    def _repr_html_(self) -> str:
        return notebook.show(self._title, self._cells(), self.verdict)

    def rows(self) -> list[dict[str, Any]]:
        """Returns a flat dict for each round of each trial."""
        rounds = [each for trial in self.trials for each in trial.rounds]
        return [
            row | self._means(round_)
            for row, round_ in zip(self._rows(), rounds)
        ]

    def control_rows(self) -> list[dict[str, Any]]:
        """Returns a flat dict for each training of a control."""
        return run_files.controls_of(map(dataclasses.asdict, self.trials))

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain values."""
        judgement = self.judgement
        return {
            "preset": changes.config(self.preset),
            "published": changes.published(self.preset),
            "verdict": self._text(judgement),
            "verdicts": words.to_dict(judgement),
            "trials": [dataclasses.asdict(trial) for trial in self.trials],
        }

    def _rows(self):
        trials = map(dataclasses.asdict, self.trials)
        return run_files.rows_of(trials, self._rules)

    def _means(self, round_):
        """What the controls of a round reach, in columns of the round."""
        found = {}
        # These two columns are there whatever was compared.
        for name in dict.fromkeys([
            *_SAMPLED, *records.compared(self.preset)
        ]):
            values = [
                each.test_accuracy for each in round_.controls.get(name, ())
            ]
            mean, std = (
                records.mean_and_spread(values) if values else (None, None)
            )
            found[f"{name}_test_accuracy_mean"] = mean
            found[f"{name}_test_accuracy_std"] = std
        return found

    @property
    def _rules(self):
        return self.rules or rules_lib.Rules.of(self.preset.to_dict())

    def _text(self, judgement):
        lines = [words.text(judgement)]
        if self.preset.shortened:
            lines.append(budgets.describe(self.preset))
        return "\n".join(lines)

    @property
    def _title(self):
        changed = ", changed" * bool(changes.of(self.preset))
        return f"{self.preset.name}{changed}, trials: {len(self.trials)}"

    def _cells(self):
        columns = (*_COLUMNS, *records.compared(self.preset))
        rounds = list(_across(self.trials))
        tested = {each.round for each in self.judgement.tested}
        return tables_lib.Table(
            [_HEADS.get(name) or comparisons.head(name) for name in columns],
            [[_cell(name, same, self.preset) for name in columns]
             for same in rounds],
            words=(),
            marked=[
                i for i, same in enumerate(rounds) if same[0].round in tested
            ],
        )


_COLUMNS = (
    "round", "density", "effective", "val", "test", "early_stop", "seconds",
)
_SAMPLED = [
    each.key for each in comparisons.COMPARISONS.values() if each.sampled
]
_HEADS = {
    "effective": "on\npaths",
    "val": "val.",
    "early_stop": "early\nstop",
    "seconds": "sec.",
}
_CAPTION = (
    "Density, density on paths from input to output, "
    "validation and test accuracy in %, at the end of training. "
    "Early stop: step of the smallest validation loss; ≥: not measured, in "
    "some trial it is the last step. Bold: tested. At the end: test accuracy "
    "of what tickets are compared with, mean ± standard deviation."
)


def _across(trials):
    """Yields the same round of all trials that came so far."""
    for same in itertools.zip_longest(*(trial.rounds for trial in trials)):
        yield [each for each in same if each is not None]


def _cell(name, rounds, preset):
    outcomes = [round_.outcome for round_ in rounds]
    if name == "round":
        return str(rounds[0].round)
    if name == "density":
        return f"{100 * statistics.mean(r.density for r in rounds):.1f}"
    if name == "effective":
        found = [round_.effective_density for round_ in rounds]
        if None in found:
            return "n/a"
        return f"{100 * statistics.mean(found):.1f}"
    if name in ("val", "test"):
        return records.percent(outcomes, f"{name}_accuracy")
    if name == "early_stop":
        steps = [o.early_stop_step for o in outcomes]
        last = "≥" * any(
            o.early_stop_step >= (o.steps or preset.iterations)
            for o in outcomes
        )
        return f"{last}{statistics.mean(steps):.0f}"
    if name == "seconds":
        return f"{statistics.mean(r.seconds for r in rounds):.1f}"
    found = [outcome for r in rounds for outcome in r.controls.get(name, ())]
    return records.percent(found) if found else ""
