"""What an experiment came to: records, a table and a verdict."""

import dataclasses
import statistics

CONTROLS = {
    "random_reinitialize": "random re-init",
    "random_masks": "random masks",
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one training came to.

    Attributes:
        val_accuracy: Float, at the end.
        test_accuracy: Float, at the end.
        early_stop_step: Integer, the step of the smallest validation loss
            among the evaluations.
        early_stop_test_accuracy: Float, the test accuracy at that step.
    """

    val_accuracy: float
    test_accuracy: float
    early_stop_step: int
    early_stop_test_accuracy: float

    @classmethod
    def of(cls, logs, last_step, steps_per_epoch):
        """Reads the logs of a training's epochs.

        Args:
            logs: List of dicts, one for each epoch.
            last_step: Integer, the training step after the last one.
            steps_per_epoch: Integer.
        """
        losses = [entry["val_loss"] for entry in logs]
        best = losses.index(min(losses))
        after = len(logs) - 1 - best
        return cls(
            logs[-1]["val_accuracy"],
            logs[-1]["test_accuracy"],
            last_step - after * steps_per_epoch,
            logs[best]["test_accuracy"],
        )


@dataclasses.dataclass(frozen=True)
class Round:
    """One round of one trial, and the controls of its ticket.

    Attributes:
        round: Integer, 0 is dense training.
        density: Float, the fraction of prunable weights kept.
        seconds: Float.
        outcome: `Outcome` of the ticket.
        controls: Dict from the name of a control to a list of `Outcome`, one
            for each seed; empty if there are none.
    """

    round: int
    density: float
    seconds: float
    outcome: Outcome
    controls: dict = dataclasses.field(default_factory=dict)

    def beats(self, control):
        """Whether the ticket's test accuracy is clearly above a control's.

        Clearly is more than one standard deviation above the mean.
        """
        mean, spread = mean_and_spread(
            [outcome.test_accuracy for outcome in self.controls[control]]
        )
        return self.outcome.test_accuracy > mean + spread


@dataclasses.dataclass(frozen=True)
class Trial:
    """All rounds of one repetition.

    Attributes:
        number: Integer, from 0.
        rounds: List of `Round`.
        winner: Integer, the round of the winning ticket, or `None`.
    """

    number: int
    rounds: list
    winner: int | None = None


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
            f"{word} accuracy {percent([ticket.outcome], name)} % "
            f"(dense {percent([dense.outcome], name)} %)"
            for word, name in (
                ("validation", "val_accuracy"), ("test", "test_accuracy")
            )
        )
        return (
            f"{prefix}winning ticket at {100 * ticket.density:.1f} % density "
            f"(round {ticket.round}): {compared}{_against_controls(ticket)}"
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
    "round", "density", "val.", "test", "early\nstop", "seconds",
    "random\nre-init", "random\nmasks",
)
_CAPTION = (
    "Density, validation and test accuracy in %, at the end of training. "
    "Early stop: step of the smallest validation loss. Random re-init and "
    "random masks: test accuracy of the controls, mean ± standard deviation."
)


def mean_and_spread(values):
    """Returns the mean and the standard deviation (n - 1) of a sample."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return statistics.mean(values), spread


def _across(trials):
    """Yields the same round of all trials that came so far."""
    longest = max((len(trial.rounds) for trial in trials), default=0)
    for number in range(longest):
        yield [t.rounds[number] for t in trials if number < len(t.rounds)]


def _cells(rounds):
    outcomes = [round_.outcome for round_ in rounds]
    controls = [
        [outcome for r in rounds for outcome in r.controls.get(name, ())]
        for name in CONTROLS
    ]
    return [
        str(rounds[0].round),
        f"{100 * statistics.mean(r.density for r in rounds):.1f}",
        percent(outcomes, "val_accuracy"),
        percent(outcomes),
        f"{statistics.mean(o.early_stop_step for o in outcomes):.0f}",
        f"{statistics.mean(r.seconds for r in rounds):.1f}",
        *(percent(found) if found else "" for found in controls),
    ]


def percent(outcomes, name="test_accuracy"):
    """Returns the mean of a metric over outcomes in %, with its spread.

    Args:
        outcomes: List of `Outcome`.
        name: String, the attribute. Defaults to `"test_accuracy"`.
    """
    values = [100 * getattr(outcome, name) for outcome in outcomes]
    mean, spread = mean_and_spread(values)
    return f"{mean:.1f}" + (f" ± {spread:.1f}" if len(values) > 1 else "")


def _against_controls(ticket):
    if not ticket.controls:
        return ""
    parts = [
        f"{CONTROLS[name]} {percent(outcomes)} %"
        for name, outcomes in ticket.controls.items()
    ]
    beaten = [CONTROLS[n] for n in ticket.controls if ticket.beats(n)]
    missed = [CONTROLS[n] for n in ticket.controls if not ticket.beats(n)]
    verdict = "better than both" if not missed else (
        f"not clearly better than {' and '.join(missed)}"
        + (f", but than {beaten[0]}" if beaten else "")
    )
    return f"; at this density {', '.join(parts)}: the ticket is {verdict}"


def _row(trial, round_):
    row = {
        "trial": trial.number,
        "round": round_.round,
        "density": round_.density,
        **dataclasses.asdict(round_.outcome),
        "seconds": round_.seconds,
        "winning": round_.round == trial.winner,
    }
    for name in CONTROLS:
        outcomes = round_.controls.get(name, ())
        values = [outcome.test_accuracy for outcome in outcomes]
        mean, spread = mean_and_spread(values) if values else (None, None)
        row[f"{name}_test_accuracy_mean"] = mean
        row[f"{name}_test_accuracy_std"] = spread
    return row
