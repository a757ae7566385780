"""The trainings that a preset is made of, and what they cost here."""

import dataclasses
import statistics
import timeit

from tf_lottery.experiments import presets
from tf_lottery.verdicts import comparisons
from tf_lottery.verdicts import rules

_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Trainings:
    """Trainings of one kind: how many, and the epochs of `fit` of each."""

    what: str
    count: int
    epochs: int


def plan(preset):
    """Returns the trainings of a preset, a list of `Trainings`.

    Which rounds have controls is told from the largest of the rates.
    """
    whole, skipped = preset.epochs_per_round, (
        preset.rewind_step // preset.evaluate_every
    )
    later, lengths = whole - skipped, preset.round_lengths[1:]
    short = [length for length in lengths if length < whole]
    again = [n for n in _chosen(preset) if lengths[n - 1] < whole]
    lines = [
        Trainings(what, preset.trials * count, epochs)
        for what, count, epochs in (
            ("dense", 1, whole),
            ("tickets", len(lengths) - len(short), later),
            ("short rounds", len(short), min(lengths) - skipped),
            ("tickets of short rounds", len(again), later),
        )
    ]
    lines += [
        Trainings(
            comparison.flag, preset.trials * _count(preset, comparison),
            _epochs(preset, comparison, later),
        )
        for comparison in comparisons.of_flags(preset.compare)
    ]
    lines += [
        Trainings(
            comparisons.label(comparisons.of_point(step)),
            preset.trials * preset.rounds,
            whole - step // preset.evaluate_every,
        )
        for step in preset.other_rewind_steps
    ]
    return [line for line in lines if line.count]


def _count(preset, comparison):
    if comparison.rewind is not None:
        return preset.rounds
    sampled = preset.control_trials if comparison.sampled else 1
    return len(_chosen(preset)) * sampled


def _epochs(preset, comparison, later):
    """The epochs of each training of a comparison, in the mean."""
    whole, chosen = preset.epochs_per_round, _chosen(preset)
    if comparison.key != comparisons.EQUAL_COMPUTE or not chosen:
        return whole if comparison.from_start else later
    density = statistics.fmean(map(_densities(preset).get, chosen))
    return max(1, round(density * whole))


def _chosen(preset):
    return rules.controlled_rounds(
        _densities(preset), preset.test_densities, preset.control_every
    )


def _densities(preset):
    """Dict from round to density, as the largest of the rates leaves it."""
    left = 1 - max(preset.rate.values())
    return {number: left**number for number in range(1, preset.rounds + 1)}


def total_epochs(preset):
    """Returns the epochs of `fit` of all trainings of a preset."""
    return sum(line.count * line.epochs for line in plan(preset))


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a preset takes here, in seconds.

    Of a training step, an evaluation on validation and test set, and until the
    first step has been traced.
    """

    step: float
    evaluation: float
    start: float = 0.0

    def epoch(self, preset: presets.Preset) -> float:
        """Returns the seconds between two evaluations, one included."""
        return preset.evaluate_every * self.step + self.evaluation

    def seconds(self, preset: presets.Preset) -> float:
        training = total_epochs(preset) * self.epoch(preset)
        return training + preset.trials * self.start


def measure(bench):
    """Trains a bench for a few seconds; returns the `Cost` of its preset."""
    unit = bench.preset.steps_per_execution
    start, short = (
        timeit.timeit(lambda: _train(bench, unit), number=1) for _ in range(2)
    )
    fitting = min(
        int(_SECONDS / max(short, 1e-6)), bench.preset.evaluate_every // unit
    )
    steps = unit + max(1, fitting) * unit
    long = timeit.timeit(lambda: _train(bench, steps), number=1)
    bench.evaluate()
    return Cost(
        # The difference leaves out what a call of `fit` costs by itself.
        max(long - short, long / 2) / (steps - unit),
        timeit.timeit(bench.evaluate, number=1),
        start,
    )


def _train(bench, steps):
    bench.model.fit(
        bench.feed.batches.dataset,
        steps_per_epoch=steps,
        callbacks=[bench.feed.batches],
        shuffle=False,
        verbose=0,
    )
