"""The plan of rounds, and where a run stands in it."""

import dataclasses
from collections.abc import Sequence

from tf_lottery import schedules
from tf_lottery.utils import checks

_PLACE = ("round", "round_over", "epoch", "fit_epoch")


def lengths(
    rounds: int,
    epochs_per_round: int | Sequence[int],
    middle_rounds: float = 1.0,
) -> tuple[int, ...]:
    """Returns the epochs of each round, counted from initialisation.

    `middle_rounds` is the part of an integer `epochs_per_round` that rounds but
    the first and the last take.

    >>> lengths(3, 10, 0.2), lengths(1, [10, 4])
    ((10, 2, 2, 10), (10, 4))
    """
    checks.whole("rounds", rounds)
    checks.number(
        "middle_rounds", middle_rounds, "above 0 and at most 1",
        lambda value: 0 < value <= 1,
    )
    if not isinstance(epochs_per_round, Sequence):
        checks.whole("epochs_per_round", epochs_per_round)
        middle = max(1, round(middle_rounds * epochs_per_round))
        return epochs_per_round, *[middle] * (rounds - 1), epochs_per_round
    for number in epochs_per_round:
        checks.whole("epochs_per_round", number)
    if len(epochs_per_round) != rounds + 1:
        checks.refuse(
            "epochs_per_round", epochs_per_round,
            f"an integer, or one for each of the rounds 0 to {rounds}",
        )
    if middle_rounds != 1:
        raise ValueError(
            "Argument `middle_rounds` is a part of an integer "
            "`epochs_per_round`. Received: middle_rounds="
            f"{middle_rounds!r}, epochs_per_round={epochs_per_round!r}"
        )
    return tuple(epochs_per_round)


@dataclasses.dataclass(frozen=True)
class RoundPlan:
    """Where rounds begin and end inside one `fit`.

    Round 0 trains from step 0; every later round starts at the rewinding point
    `k` and trains the steps that are left. If `k` lies inside an epoch the
    first epoch of a later round is shorter by as much. `lengths` are the
    epochs of each round, those before the rewinding point included.
    """

    lengths: tuple[int, ...]
    rewind_to: schedules.Point
    steps_per_epoch: int | None = None

    @property
    def rounds(self) -> int:
        """Integer, the number of prunings; round 0 comes before them."""
        return len(self.lengths) - 1

    @property
    def rewind_step(self) -> int:
        return self.rewind_to.to_step(self.steps_per_epoch, self.lengths[0])

    @property
    def is_known(self) -> bool:
        """Boolean, whether the rewinding point is known as a step yet."""
        point = self.rewind_to
        return self.steps_per_epoch is not None or not (
            point.epochs or point.fraction
        )

    @property
    def epochs_skipped(self) -> int:
        """Integer, the whole epochs before the rewinding point."""
        if self.steps_per_epoch is not None:
            return self.rewind_step // self.steps_per_epoch
        # An exact answer has to wait; this one never promises too few epochs.
        fraction = self.rewind_to.fraction or 0.0
        return self.rewind_to.epochs + int(fraction * self.lengths[0])

    @property
    def epochs(self) -> int:
        return sum(self.lengths) - self.rounds * self.epochs_skipped

    def epochs_of(self, round: int) -> int:
        return self.lengths[round] - (self.epochs_skipped if round else 0)

    def offset(self, round: int) -> int:
        """Returns how many steps of its first epoch a round leaves out."""
        if not round or self.steps_per_epoch is None:
            return 0
        return self.rewind_step % self.steps_per_epoch

    def to_json(self) -> int | list[int]:
        """Returns the lengths as an integer where all are equal."""
        equal = len(set(self.lengths)) == 1
        return self.lengths[0] if equal else list(self.lengths)

    def check(self, epochs: int | None, steps_per_execution: int) -> None:
        """Raises a `ValueError` if `fit` cannot follow the plan."""
        if self.steps_per_epoch is None and self.rewind_to.fraction:
            raise ValueError(
                "Argument `rewind_to` is a fraction of a round, but the "
                "length of an epoch is not known. Pass `steps_per_epoch` to "
                "`fit`, or give `rewind_to` in steps ('500it') or epochs "
                f"('2ep'). Received: rewind_to={self.rewind_to.to_json()!r}"
            )
        if self.is_known:
            self._check_steps_per_execution(steps_per_execution)
            self.check_lengths()
        if epochs is not None and epochs < self.epochs:
            raise ValueError(
                f"`fit` was given epochs={epochs}, but {self.rounds} rounds "
                f"of pruning need {self.epochs}. Pass `epochs=imp.epochs`."
            )

    def check_lengths(self) -> None:
        shortest = min(self.lengths)
        if self.steps_per_epoch is None or shortest == self.lengths[0]:
            return
        if self.rewind_step >= shortest * self.steps_per_epoch:
            raise ValueError(
                "The rewinding point must lie before the end of the shortest "
                f"round, step {shortest * self.steps_per_epoch}. Received: "
                f"rewind_to={str(self.rewind_to)!r} (step {self.rewind_step})"
            )

    def _check_steps_per_execution(self, steps_per_execution):
        """Raises a `ValueError` if a callback never sees the rewinding point.

        Keras calls back after every `steps_per_execution` steps only, and
        both the point itself and the end of the short epoch must be seen.
        """
        size, steps = steps_per_execution, self.steps_per_epoch
        if size == 1 or self.rewind_step == 0 or steps is None:
            return
        done = self.rewind_step % steps
        if done == 0 or (done % size == 0 and steps % size == 0):
            return
        unit = size if steps % size == 0 else steps
        nearest = max(1, round(self.rewind_step / unit)) * unit
        raise ValueError(
            "Argument `rewind_to` must be a step that a callback can see: "
            f"with steps_per_execution={size} and {steps} steps per epoch "
            f"these are the multiples of {unit}. Received: "
            f"rewind_to={str(self.rewind_to)!r} (step {self.rewind_step}). "
            f"The nearest valid one is '{nearest}it'."
        )


class Clock:
    """Where a run stands: round, epoch within the round, step.

    Steps are counted from initialisation. A round that was rewound into an
    epoch leaves its first steps out, by an `offset`.
    """

    def __init__(self, plan):
        self.plan = plan
        self.fit_epoch = 0
        self.start_round(0)

    def start_round(self, round):
        self.round, self.round_over = round, False
        self.epoch = self.steps_in_epoch = 0
        self.offset, self._before = 0, 0
        if round:
            self.offset = self.plan.offset(round)
            self._before = self.plan.rewind_step - self.offset

    @property
    def now(self):
        """Integer, the step that training has reached."""
        return self._before + self.offset + self.steps_in_epoch

    @property
    def steps_of_epoch(self):
        steps = self.plan.steps_per_epoch
        return None if steps is None else steps - self.offset

    @property
    def epoch_is_done(self):
        return self.steps_in_epoch == self.steps_of_epoch

    @property
    def is_cut(self):
        """Boolean, whether an epoch was resumed after its first steps."""
        is_first = self.round and not self.epoch
        return self.offset != (self.plan.offset(self.round) if is_first else 0)

    @property
    def is_last_epoch(self):
        return self.epoch >= self.plan.epochs_of(self.round)

    def start_epoch(self, fit_epoch):
        """Begins an epoch, which has a number of its own in `fit`."""
        self.fit_epoch, self.steps_in_epoch = fit_epoch, 0

    def see_batch(self, batch):
        """Notes the index of the last batch that was trained on."""
        self.steps_in_epoch = batch + 1
        if self.steps_of_epoch is not None:
            # With `steps_per_execution` Keras counts past the end of data.
            self.steps_in_epoch = min(batch + 1, self.steps_of_epoch)

    def end_epoch(self):
        """Ends an epoch; the first one says how long epochs are."""
        if self.plan.steps_per_epoch is None:
            self.plan = dataclasses.replace(
                self.plan, steps_per_epoch=self.steps_in_epoch
            )
            self.plan.check_lengths()
        self._before = self.now
        self.offset = self.steps_in_epoch = 0
        self.epoch += 1
        self.fit_epoch += 1

    def to_dict(self):
        return {
            **{name: getattr(self, name) for name in _PLACE},
            "before": self._before,
            "offset": self.offset + self.steps_in_epoch,
            "steps_per_epoch": self.plan.steps_per_epoch,
        }

    def restore(self, position):
        self.plan = dataclasses.replace(
            self.plan, steps_per_epoch=position["steps_per_epoch"]
        )
        for name in _PLACE:
            setattr(self, name, position[name])
        self._before, self.offset = position["before"], position["offset"]
        self.steps_in_epoch = 0
