"""The plan of rounds: how many steps and epochs each one takes."""

import dataclasses

from tf_lottery import schedules


@dataclasses.dataclass(frozen=True)
class RoundPlan:
    """Where rounds begin and end inside one `fit`.

    Round 0 trains from step 0; every later round starts at the rewinding
    point `k` and trains the steps that are left, so that each round ends at
    the same step as round 0 did. If `k` lies inside an epoch the first epoch
    of a later round is shorter by as much.

    Args:
        rounds: Integer, the number of prunings; round 0 comes before them.
        epochs_per_round: Integer, the epochs of round 0.
        rewind_to: `tf_lottery.schedules.Point`, the rewinding point.
        steps_per_epoch: Integer, or `None` while it is not known.
    """

    rounds: int
    epochs_per_round: int
    rewind_to: schedules.Point
    steps_per_epoch: int | None = None

    @property
    def rewind_step(self):
        """Integer, the step of the rewinding point."""
        return self.rewind_to.to_step(
            self.steps_per_epoch, self.epochs_per_round
        )

    @property
    def is_known(self):
        """Boolean, whether the rewinding point is known as a step yet."""
        point = self.rewind_to
        return self.steps_per_epoch is not None or not (
            point.epochs or point.fraction
        )

    @property
    def epochs_skipped(self):
        """Integer, the whole epochs before the rewinding point."""
        if self.steps_per_epoch is not None:
            return self.rewind_step // self.steps_per_epoch
        # An exact answer has to wait; this one never promises too few epochs.
        fraction = self.rewind_to.fraction or 0.0
        return self.rewind_to.epochs + int(fraction * self.epochs_per_round)

    @property
    def epochs(self):
        """Integer, the epochs of all rounds together."""
        later = self.epochs_per_round - self.epochs_skipped
        return self.epochs_per_round + self.rounds * later

    def first_step(self, round):
        """Returns the step that a round starts from."""
        return self.rewind_step if round else 0

    def epochs_of(self, round):
        """Returns the number of epochs of a round."""
        skipped = self.epochs_skipped if round else 0
        return self.epochs_per_round - skipped

    def offset(self, round):
        """Returns how many steps of its first epoch a round leaves out."""
        if not round or self.steps_per_epoch is None:
            return 0
        return self.rewind_step % self.steps_per_epoch

    def check_steps_per_execution(self, steps_per_execution):
        """Raises a `ValueError` if a callback never sees the rewinding point.

        Keras calls back after every `steps_per_execution` steps only, and
        both the point itself and the end of the short epoch must be seen.
        """
        size, steps = steps_per_execution, self.steps_per_epoch
        if size == 1 or self.rewind_step == 0:
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
