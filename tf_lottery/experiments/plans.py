"""How many trainings a preset is made of."""

import dataclasses

from tf_lottery.experiments import records


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
    with. The controls of a winning ticket that is not one of every n-th
    rounds come on top.

    Args:
        preset: `tf_lottery.experiments.Preset`.

    Example:

    >>> from tf_lottery import experiments
    >>> from tf_lottery.experiments import plans
    >>> found = plans.plan(experiments.preset("lenet-digits", rounds=2))
    >>> [(line.what, line.count, line.epochs) for line in found]
    [('dense', 1, 30), ('tickets', 2, 30), ('random-reinit', 6, 30),
    ('random-mask', 6, 30)]
    """
    whole = preset.epochs_per_round
    later = whole - preset.rewind_step // preset.evaluate_every
    chosen = preset.rounds // preset.control_every
    seeds = chosen * preset.control_trials
    counts = {
        "random-reinit": (seeds, whole),
        "random-mask": (seeds, later),
        "one-shot": (chosen, later),
        "fine-tune": (preset.rounds, later),
        "lr-rewind": (preset.rounds, later),
    }
    lines = [
        Trainings("dense", preset.trials, whole),
        Trainings("tickets", preset.trials * preset.rounds, later),
    ]
    for name in preset.compare:
        count, epochs = counts[name]
        lines.append(Trainings(name, preset.trials * count, epochs))
    for step in preset.other_rewind_steps:
        lines.append(
            Trainings(
                records.words(records.of_point(step)),
                preset.trials * preset.rounds,
                whole - step // preset.evaluate_every,
            )
        )
    return [line for line in lines if line.count]


def total_epochs(preset):
    """Returns the epochs of `fit` of all trainings of a preset."""
    return sum(line.count * line.epochs for line in plan(preset))
