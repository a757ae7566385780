"""How many trainings a preset is made of."""

import dataclasses

from tf_lottery import comparisons
from tf_lottery.verdicts import rules


@dataclasses.dataclass(frozen=True)
class Trainings:
    """Trainings of one kind.

    Attributes:
        what: String.
        count: Integer.
        epochs: Integer, epochs of `fit` of each one.
    """

    what: str
    count: int
    epochs: int


def plan(preset):
    """Returns the trainings of a preset, a list of `Trainings`.

    The dense round is trained once for each trial, whatever it is compared
    with. Which rounds have controls is told from the largest of the rates.

    Args:
        preset: `tf_lottery.experiments.Preset`.

    Example:

    >>> from tf_lottery import experiments
    >>> from tf_lottery.experiments import plans
    >>> found = plans.plan(
    ...     experiments.preset("lenet-digits", trials=1, rounds=2))
    >>> [(line.what, line.count, line.epochs) for line in found]
    [('dense', 1, 60), ('tickets', 2, 60), ('random-reinit', 2, 60),
    ('random-mask', 2, 60)]
    """
    whole = preset.epochs_per_round
    later = whole - preset.rewind_step // preset.evaluate_every
    lines = [
        Trainings("dense", preset.trials, whole),
        Trainings("tickets", preset.trials * preset.rounds, later),
    ]
    for comparison in comparisons.of_flags(preset.compare):
        lines.append(
            Trainings(
                comparison.flag,
                preset.trials * _count(preset, comparison),
                whole if comparison.from_start else later,
            )
        )
    for step in preset.other_rewind_steps:
        lines.append(
            Trainings(
                comparisons.label(comparisons.of_point(step)),
                preset.trials * preset.rounds,
                whole - step // preset.evaluate_every,
            )
        )
    return [line for line in lines if line.count]


def _count(preset, comparison):
    """The trainings of a comparison in one trial."""
    if comparison.rewind is not None:
        return preset.rounds
    left = 1 - max(preset.rate.values())
    chosen = len(rules.controlled_rounds(
        {number: left**number for number in range(1, preset.rounds + 1)},
        preset.test_densities, preset.control_every,
    ))
    return chosen * (preset.control_trials if comparison.sampled else 1)


def total_epochs(preset):
    """Returns the epochs of `fit` of all trainings of a preset."""
    return sum(line.count * line.epochs for line in plan(preset))
