"""Schedules of the sparsity at each step of training.

A schedule is called with a step and returns whether to prune there, and to
which sparsity: the protocol of the pruning schedules of TensorFlow Model
Optimization (TFMOT), so that theirs can be used as well.
"""

import math
from collections.abc import Callable
from typing import Any

from tf_lottery.utils import checks
from tf_lottery.utils import configurations

_TFMOT = "tensorflow_model_optimization"


class SparsitySchedule:
    """The base class of schedules.

    Subclasses implement `sparsity_at`, and keep their arguments in attributes
    of the same names. Pruning is due every `frequency` steps
    from `begin_step` on, and at `end_step` in any case, so that the final
    sparsity is always reached. (TFMOT leaves the end out where `frequency`
    does not divide the distance.)

    Args:
        begin_step: Integer, the first step at which to prune.
        end_step: Integer, the last one; -1 for no end.
        frequency: Integer, the number of steps from one pruning to the next.
            Defaults to 100.
    """

    def __init__(
        self,
        begin_step: int,
        end_step: int,
        frequency: int = 100,
    ) -> None:
        checks.whole("begin_step", begin_step, 0)
        checks.whole("end_step", end_step, -1)
        checks.whole("frequency", frequency)
        if 0 <= end_step < begin_step:
            raise ValueError(
                "Argument `end_step` must not lie before `begin_step`. "
                f"Received: begin_step={begin_step}, end_step={end_step}"
            )
        self.begin_step = int(begin_step)
        self.end_step = int(end_step)
        self.frequency = int(frequency)

    def __call__(self, step: int) -> tuple[bool, float]:
        """Returns what is due at a step.

        Args:
            step: Integer, the number of training steps done.

        Returns:
            Tuple of a boolean, whether to prune, and a float, the sparsity.
        """
        step = int(step)
        begun = step >= self.begin_step
        over = 0 <= self.end_step < step
        turn = (step - self.begin_step) % self.frequency == 0
        due = begun and not over and (turn or step == self.end_step)
        return due, self.sparsity_at(step)

    def sparsity_at(self, step: int) -> float:
        """Returns the sparsity at a step, whether or not pruning is due.

        Args:
            step: Integer.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement `sparsity_at`."
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return configurations.of_arguments(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SparsitySchedule":
        """Returns the schedule that `get_config` describes."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is type(self)
            and other.get_config() == self.get_config()
        )

    def __hash__(self):
        return hash((type(self), *self.get_config().values()))

    def __repr__(self):
        arguments = (f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({', '.join(arguments)})"


class ConstantSparsity(SparsitySchedule):
    """The same sparsity from `begin_step` on.

    Args:
        target_sparsity: Float in [0, 1).
        begin_step: Integer, the step at which to prune.
        end_step: Integer, the last step at which to prune again; -1, the
            default, for no end.
        frequency: Integer, the number of steps from one pruning to the next.
            Defaults to 100.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> schedule = ConstantSparsity(0.5, begin_step=10)
    >>> schedule(9), schedule(10)
    ((False, 0.5), (True, 0.5))
    """

    def __init__(
        self,
        target_sparsity: float,
        begin_step: int,
        end_step: int = -1,
        frequency: int = 100,
    ) -> None:
        super().__init__(begin_step, end_step, frequency)
        _check_sparsity("target_sparsity", target_sparsity)
        self.target_sparsity = float(target_sparsity)

    def sparsity_at(self, step: int) -> float:
        return self.target_sparsity


class _Ramp(SparsitySchedule):
    """From an initial to a final sparsity."""

    def __init__(
        self,
        initial_sparsity: float,
        final_sparsity: float | None,
        begin_step: int,
        end_step: int | None,
        frequency: int,
    ) -> None:
        checks.whole("end_step", end_step, 0)
        super().__init__(begin_step, end_step, frequency)
        _check_sparsity("initial_sparsity", initial_sparsity)
        _check_sparsity("final_sparsity", final_sparsity)
        if initial_sparsity > final_sparsity:
            raise ValueError(
                "Argument `final_sparsity` must be at least "
                "`initial_sparsity`: what is pruned stays pruned. Received: "
                f"initial_sparsity={initial_sparsity}, "
                f"final_sparsity={final_sparsity}"
            )
        self.initial_sparsity = float(initial_sparsity)
        self.final_sparsity = float(final_sparsity)

    def sparsity_at(self, step: int) -> float:
        if step >= self.end_step:
            return self.final_sparsity
        if step <= self.begin_step:
            return self._between(0.0)
        length = self.end_step - self.begin_step
        return self._between((step - self.begin_step) / length)

    def _between(self, done):
        """The sparsity when that part of the time is over."""
        raise NotImplementedError


class PolynomialDecay(_Ramp):
    """Prunes fast at first, then more and more slowly.

    With t going from 0 at `begin_step` to 1 at `end_step`, the sparsity is

    final + (initial - final) * (1 - t) ** power.

    Args:
        initial_sparsity: Float in [0, 1), the sparsity at `begin_step`.
            Defaults to 0.
        final_sparsity: Float in [0, 1), the sparsity at `end_step`. Must be
            given.
        begin_step: Integer. Defaults to 0.
        end_step: Integer. Must be given.
        frequency: Integer, the number of steps from one pruning to the next.
            Defaults to 100.
        power: Positive float, the exponent. Defaults to 3.

    Raises:
        ValueError: If an argument is missing or out of its range.

    Reference: Zhu and Gupta 2017, equation 1,
    https://arxiv.org/abs/1710.01878.

    Example:

    >>> schedule = PolynomialDecay(0.0, 0.8, begin_step=0, end_step=200)
    >>> [schedule(step)[0] for step in (0, 100, 150, 200)]
    [True, True, False, True]
    >>> [round(schedule(step)[1], 4) for step in (0, 100, 150, 200)]
    [0.0, 0.7, 0.7875, 0.8]
    """

    def __init__(
        self,
        initial_sparsity: float = 0.0,
        final_sparsity: float | None = None,
        begin_step: int = 0,
        end_step: int | None = None,
        *,
        frequency: int = 100,
        power: float = 3,
    ) -> None:
        super().__init__(initial_sparsity, final_sparsity, begin_step,
                         end_step, frequency)
        checks.positive("power", power)
        self.power = power

    def _between(self, done):
        missing = self.initial_sparsity - self.final_sparsity
        return self.final_sparsity + missing * (1 - done) ** self.power


class OneCycle(_Ramp):
    """Prunes slowly at first, then fast, then slowly again.

    With t going from 0 at `begin_step` to 1 at `end_step`, the sparsity is

    initial + (final - initial)
    * (1 + exp(beta - alpha)) / (1 + exp(beta - alpha * t)).

    At t = 0 this is a little more than the initial sparsity.

    Args:
        final_sparsity: Float in [0, 1), the sparsity at `end_step`.
        end_step: Integer, best the end of training.
        begin_step: Integer. Defaults to 0.
        initial_sparsity: Float in [0, 1). Defaults to 0.
        frequency: Integer, the number of steps from one pruning to the next.
            Defaults to 100.
        alpha: Positive float, how steep the rise is. Defaults to 14.
        beta: Positive float, how late it is: half the way is gone near
            t = beta / alpha. Defaults to 6, as in the authors' code.

    Raises:
        ValueError: If an argument is out of its range.

    Reference: Hubens et al. 2021, https://arxiv.org/abs/2107.02086.

    Example:

    >>> schedule = OneCycle(0.8, end_step=1000)
    >>> [round(schedule(step)[1], 3) for step in (0, 400, 700, 1000)]
    [0.002, 0.321, 0.783, 0.8]
    """

    def __init__(
        self,
        final_sparsity: float,
        end_step: int,
        begin_step: int = 0,
        initial_sparsity: float = 0.0,
        *,
        frequency: int = 100,
        alpha: float = 14,
        beta: float = 6,
    ) -> None:
        super().__init__(initial_sparsity, final_sparsity, begin_step,
                         end_step, frequency)
        checks.positive("alpha", alpha)
        checks.positive("beta", beta)
        self.alpha = alpha
        self.beta = beta

    def _between(self, done):
        rise = 1 + math.exp(self.beta - self.alpha)
        rise /= 1 + math.exp(self.beta - self.alpha * done)
        way = self.final_sparsity - self.initial_sparsity
        return self.initial_sparsity + way * rise


def get(schedule: Callable[[int], Any]) -> Callable[[int], Any]:
    """Returns a schedule that can be called at every step.

    Args:
        schedule: A `SparsitySchedule`, a `PruningSchedule` of TFMOT, or any
            callable that takes a step and returns whether to prune and the
            sparsity, as Python values or tensors. An attribute `end_step`
            says when it is over.

    Returns:
        `schedule` itself; in place of one of TFMOT's own the equal one of
        this module, which computes without tensors.

    Raises:
        ValueError: If it cannot be called.
    """
    expected = (
        "a schedule such as `PolynomialDecay(0.0, 0.8, end_step=1000)`, or a "
        "callable from a step to (should_prune, sparsity)"
    )
    checks.takes("schedule", schedule, 1, expected)
    if not type(schedule).__module__.startswith(_TFMOT):
        return schedule
    described = schedule.get_config()  # type: ignore[attr-defined]
    for ours in (ConstantSparsity, PolynomialDecay):
        if described["class_name"] == ours.__name__:
            return ours.from_config(described["config"])
    return schedule


def _check_sparsity(name, value):
    checks.number(name, value, "a number in [0, 1)", lambda v: 0 <= v < 1)
