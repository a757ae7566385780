"""Report of an experiment: a table and a verdict."""

import dataclasses
import statistics

from tf_lottery import comparisons
from tf_lottery.experiments import budgets
from tf_lottery.experiments import records


@dataclasses.dataclass(frozen=True)
class Report:
    """The results of a preset.

    Attributes:
        preset: `tf_lottery.experiments.Preset`.
        trials: List of `Trial`.
        files: List of paths that were written.
    """

    preset: object
    trials: list
    files: list = dataclasses.field(default_factory=list)

    @property
    def verdict(self):
        """String, one line or more: is there a winning ticket?"""
        lines = [self._verdict(trial) for trial in self.trials]
        if self.preset.shortened:
            lines.append(budgets.describe(self.preset))
        return "\n".join(lines)

    def render(self):
        """Returns the table and the verdict for `rich.print`."""
        import rich.console
        import rich.text

        compared = records.compared(self.preset)
        if len(compared) <= _BESIDE:
            tables = [self._table((*_COLUMNS, *compared), _CAPTION)]
        else:
            tables = [
                self._table(_COLUMNS, _CAPTION.partition(" On the right")[0]),
                self._table(("round", "density", "test", *compared), _BELOW),
            ]
        return rich.console.Group(
            *tables, rich.text.Text(self.verdict, style="bold")
        )

    def rows(self):
        """Returns a flat dict for each round of each trial."""
        return [
            _row(trial, round_, self.preset) for trial in self.trials
            for round_ in trial.rounds
        ]

    def control_rows(self):
        """Returns a flat dict for each training of a control."""
        return [
            {
                "trial": trial.number,
                "round": round_.round,
                "density": round_.density,
                "control": name,
                "number": number,
                **dataclasses.asdict(outcome),
            }
            for trial in self.trials
            for round_ in trial.rounds
            for name, outcomes in round_.controls.items()
            for number, outcome in enumerate(outcomes)
        ]

    def to_dict(self):
        """Returns everything as plain values."""
        return {
            "preset": self.preset.to_dict(),
            "published": self.preset.published,
            "verdict": self.verdict,
            "trials": [dataclasses.asdict(trial) for trial in self.trials],
        }

    def _verdict(self, trial):
        prefix = f"trial {trial.number}: " if len(self.trials) > 1 else ""
        if trial.winner is None:
            return f"{prefix}winning ticket: none found"
        dense, ticket = trial.rounds[0], trial.rounds[trial.winner]
        compared = ", ".join(
            f"{word} accuracy {records.percent([ticket.outcome], name)} % "
            f"(dense {records.percent([dense.outcome], name)} %)"
            for word, name in (
                ("validation", "val_accuracy"), ("test", "test_accuracy")
            )
        )
        return (
            f"{prefix}winning ticket at {100 * ticket.density:.1f} % density "
            f"(round {ticket.round})\n  {compared}{_against_controls(ticket)}"
        )

    def _table(self, columns, caption):
        import rich.box

        from tf_lottery import tables

        table = tables.Table(
            title=f"{self.preset.name}, trials: {len(self.trials)}",
            caption=caption,
            box=rich.box.SIMPLE,
            pad_edge=False,
        )
        for name in columns:
            table.add_column(_head(name), justify="right")
        for rounds in _across(self.trials):
            won = any(
                trial.winner == rounds[0].round for trial in self.trials
            )
            table.add_row(
                *(_cell(name, rounds) for name in columns),
                style="green" if won else None,
            )
        return table


_COLUMNS = (
    "round", "density", "effective", "val", "test", "early_stop", "seconds",
)
_SAMPLED = [
    each.key for each in comparisons.COMPARISONS.values() if each.sampled
]
# As many comparisons have room in a line of 80 characters.
_BESIDE = 2
_HEADS = {
    "effective": "on\npaths",
    "val": "val.",
    "early_stop": "early\nstop",
    "seconds": "sec.",
}
_CAPTION = (
    "Density, density on paths from input to output, "
    "validation and test accuracy in %, at the end of training. "
    "Early stop: step of the smallest validation loss. On the right: test "
    "accuracy of what tickets are compared with, mean ± standard deviation."
)
_BELOW = (
    "Test accuracy in %, of tickets and of what they are compared with: mean "
    "± standard deviation."
)


def _head(name):
    return _HEADS.get(name) or comparisons.head(name)


def _across(trials):
    """Yields the same round of all trials that came so far."""
    longest = max((len(trial.rounds) for trial in trials), default=0)
    for number in range(longest):
        yield [t.rounds[number] for t in trials if number < len(t.rounds)]


def _cell(name, rounds):
    outcomes = [round_.outcome for round_ in rounds]
    if name == "round":
        return str(rounds[0].round)
    if name == "density":
        return f"{100 * statistics.mean(r.density for r in rounds):.1f}"
    if name == "effective":
        return _effective(rounds)
    if name in ("val", "test"):
        return records.percent(outcomes, f"{name}_accuracy")
    if name == "early_stop":
        return f"{statistics.mean(o.early_stop_step for o in outcomes):.0f}"
    if name == "seconds":
        return f"{statistics.mean(r.seconds for r in rounds):.1f}"
    found = [outcome for r in rounds for outcome in r.controls.get(name, ())]
    return records.percent(found) if found else ""


def _effective(rounds):
    found = [round_.effective_density for round_ in rounds]
    return "n/a" if None in found else f"{100 * statistics.mean(found):.1f}"


def _against_controls(ticket):
    if not ticket.controls:
        return ""
    found = ", ".join(
        f"{comparisons.label(name)} {records.percent(outcomes)} %"
        for name, outcomes in ticket.controls.items()
    )
    random = {
        name: outcomes for name, outcomes in ticket.controls.items()
        if name in _SAMPLED
    }
    text = f"\n  controls: {found}"
    if not random:
        return text
    if any(len(outcomes) < 2 for outcomes in random.values()):
        return (
            f"{text}"
            "\n  one control of a kind has no spread to judge by: raise "
            "--control-trials"
        )
    beaten = [name for name in random if ticket.beats(name)]
    words = " and ".join(comparisons.label(name) for name in beaten)
    if len(beaten) == 2:
        words = "both"
    return (
        f"{text}"
        f"\n  the ticket's test accuracy is better than {words or 'neither'} "
        "by more than the spread"
    )


def _row(trial, round_, preset):
    row = {
        "trial": trial.number,
        "round": round_.round,
        "density": round_.density,
        "effective_density": round_.effective_density,
        **dataclasses.asdict(round_.outcome),
        "seconds": round_.seconds,
        "winning": round_.round == trial.winner,
    }
    # These two columns are there whatever was compared.
    for name in dict.fromkeys([*_SAMPLED, *records.compared(preset)]):
        outcomes = round_.controls.get(name, ())
        values = [outcome.test_accuracy for outcome in outcomes]
        row[f"{name}_test_accuracy_mean"], row[f"{name}_test_accuracy_std"] = (
            records.mean_and_spread(values) if values else (None, None)
        )
    return row
