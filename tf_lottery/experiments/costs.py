"""What training costs here, from a short measurement."""

import dataclasses
import time

from tf_lottery.experiments import plans

_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Cost:
    """The time that a preset takes on this machine.

    Attributes:
        step: Float, seconds of a training step.
        evaluation: Float, seconds of an evaluation on validation and test
            set.
        start: Float, seconds until the first step has been traced.
    """

    step: float
    evaluation: float
    start: float = 0.0

    def epoch(self, preset):
        """Returns the seconds between two evaluations, one included."""
        return preset.evaluate_every * self.step + self.evaluation

    def seconds(self, preset):
        """Returns the seconds of all trainings of a preset."""
        training = plans.total_epochs(preset) * self.epoch(preset)
        return training + preset.trials * self.start


def measure(bench):
    """Measures steps and evaluations for a few seconds.

    Args:
        bench: `tf_lottery.experiments.bench.Bench`; its model is trained.

    Returns:
        `Cost`.
    """
    unit = bench.preset.steps_per_execution
    start = _timed(lambda: _train(bench, unit))
    short = _timed(lambda: _train(bench, unit))
    steps = unit + _fitting(short, unit, bench.preset.evaluate_every)
    long = _timed(lambda: _train(bench, steps))
    bench.evaluate()
    return Cost(
        # The difference leaves out what a call of `fit` costs by itself.
        max(long - short, long / 2) / (steps - unit),
        _timed(bench.evaluate),
        start,
    )


def _fitting(seconds, unit, most):
    """Returns how many steps are trained in the time for measuring."""
    times = int(_SECONDS / max(seconds, 1e-6))
    return max(1, min(times, most // unit)) * unit


def _train(bench, steps):
    bench.model.fit(
        bench.feed.batches.dataset,
        steps_per_epoch=steps,
        callbacks=[bench.feed.batches],
        shuffle=False,
        verbose=0,
    )


def _timed(function):
    began = time.perf_counter()
    function()
    return time.perf_counter() - began
