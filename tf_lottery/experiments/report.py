"""What an experiment came to: a table and a verdict."""

import dataclasses
import statistics

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
        return "\n".join(self._verdict(trial) for trial in self.trials)

    def render(self):
        """Returns the table and the verdict for `rich.print`."""
        import rich.console
        import rich.text

        return rich.console.Group(
            self._table(), rich.text.Text(self.verdict, style="bold")
        )

    def rows(self):
        """Returns a flat dict for each round of each trial."""
        return [
            _row(trial, round_) for trial in self.trials
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

    def _table(self):
        import rich.box
        import rich.table

        table = rich.table.Table(
            title=f"{self.preset.name}, trials: {len(self.trials)}",
            caption=_CAPTION,
            box=rich.box.SIMPLE,
            pad_edge=False,
        )
        for name in _COLUMNS:
            table.add_column(name, justify="right", no_wrap=True)
        for rounds in _across(self.trials):
            won = any(
                trial.winner == rounds[0].round for trial in self.trials
            )
            table.add_row(*_cells(rounds), style="green" if won else None)
        return table


_COLUMNS = (
    "round", "density", "on\npaths", "val.", "test", "early\nstop", "sec.",
    "random\nre-init", "random\nmasks",
)
_CAPTION = (
    "Density, density on paths from input to output, "
    "validation and test accuracy in %, at the end of training. "
    "Early stop: step of the smallest validation loss. Random re-init and "
    "random masks: test accuracy of the controls, mean ± standard deviation."
)


def _across(trials):
    """Yields the same round of all trials that came so far."""
    longest = max((len(trial.rounds) for trial in trials), default=0)
    for number in range(longest):
        yield [t.rounds[number] for t in trials if number < len(t.rounds)]


def _cells(rounds):
    outcomes = [round_.outcome for round_ in rounds]
    controls = [
        [outcome for r in rounds for outcome in r.controls.get(name, ())]
        for name in records.CONTROLS
    ]
    return [
        str(rounds[0].round),
        f"{100 * statistics.mean(r.density for r in rounds):.1f}",
        _effective(rounds),
        records.percent(outcomes, "val_accuracy"),
        records.percent(outcomes),
        f"{statistics.mean(o.early_stop_step for o in outcomes):.0f}",
        f"{statistics.mean(r.seconds for r in rounds):.1f}",
        *(records.percent(found) if found else "" for found in controls),
    ]


def _effective(rounds):
    found = [round_.effective_density for round_ in rounds]
    return "n/a" if None in found else f"{100 * statistics.mean(found):.1f}"


def _against_controls(ticket):
    if not ticket.controls:
        return ""
    found = ", ".join(
        f"{records.CONTROLS[name]} {records.percent(outcomes)} %"
        for name, outcomes in ticket.controls.items()
    )
    if any(len(outcomes) < 2 for outcomes in ticket.controls.values()):
        return (
            f"\n  controls: {found}"
            "\n  one control of a kind has no spread to judge by: raise "
            "--control-trials"
        )
    beaten = [name for name in ticket.controls if ticket.beats(name)]
    words = " and ".join(records.CONTROLS[name] for name in beaten)
    if len(beaten) == len(ticket.controls):
        words = "both"
    return (
        f"\n  controls: {found}"
        f"\n  the ticket's test accuracy is better than {words or 'neither'} "
        "by more than the spread"
    )


def _row(trial, round_):
    row = {
        "trial": trial.number,
        "round": round_.round,
        "density": round_.density,
        "effective_density": round_.effective_density,
        **dataclasses.asdict(round_.outcome),
        "seconds": round_.seconds,
        "winning": round_.round == trial.winner,
    }
    for name in records.CONTROLS:
        outcomes = round_.controls.get(name, ())
        values = [outcome.test_accuracy for outcome in outcomes]
        row[f"{name}_test_accuracy_mean"], row[f"{name}_test_accuracy_std"] = (
            records.mean_and_spread(values) if values else (None, None)
        )
    return row
