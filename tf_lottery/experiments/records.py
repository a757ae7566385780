"""Records of trainings, rounds and trials."""

import dataclasses
import statistics

from tf_lottery.verdicts import comparisons


def compared(preset):
    """Returns the names in files of what a preset compares with, in order."""
    return [
        *(each.key for each in comparisons.of_flags(preset.compare)),
        *map(comparisons.of_point, preset.other_rewind_steps),
    ]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one training came to: accuracies at its end, and at early stop.

    The early stop is the step of the smallest validation loss among the
    evaluations. `steps` is where the training ended, `None` if that is not
    known.
    """

    val_accuracy: float
    test_accuracy: float
    early_stop_step: int
    early_stop_test_accuracy: float
    steps: int | None = None

    @classmethod
    def of(
        cls,
        logs: list[dict[str, float]],
        last_step: int,
        steps_per_epoch: int,
    ) -> "Outcome":
        losses = [entry["val_loss"] for entry in logs]
        best = losses.index(min(losses))
        after = len(logs) - 1 - best
        return cls(
            logs[-1]["val_accuracy"],
            logs[-1]["test_accuracy"],
            last_step - after * steps_per_epoch,
            logs[best]["test_accuracy"],
            last_step,
        )


@dataclasses.dataclass(frozen=True)
class Round:
    """One round of one trial, and the controls of its ticket.

    `controls` leads from a key of `comparisons.COMPARISONS` to the `Outcome`
    of each seed.
    """

    round: int
    density: float
    effective_density: float | None
    seconds: float
    outcome: Outcome
    controls: dict[str, list[Outcome]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Trial:
    """All rounds of one repetition.

    `candidate` is the sparsest round whose validation accuracy is not below
    that of the dense round, or `None`.
    """

    number: int
    rounds: list[Round]
    candidate: int | None = None


def mean_and_spread(values):
    """Returns the mean and the standard deviation (n - 1) of a sample."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return statistics.mean(values), spread


def percent(outcomes, name="test_accuracy"):
    """Returns the mean of a metric over outcomes in %, with its spread."""
    values = [100 * getattr(outcome, name) for outcome in outcomes]
    mean, spread = mean_and_spread(values)
    return f"{mean:.1f}" + (f" ± {spread:.1f}" if len(values) > 1 else "")
