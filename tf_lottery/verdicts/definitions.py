"""Definitions: what it means that one ticket matches one dense training."""

import dataclasses

ONE_TRIAL = "not tested: one trial"


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one training came to, as far as the definitions look at it.

    A larger accuracy is better. The early stop is the step of the smallest
    validation loss, `None` without validation.
    """

    accuracy: float
    steps: int
    early_stop_accuracy: float | None = None
    early_stop_step: int | None = None

    @property
    def censored(self) -> bool:
        """Boolean, whether the early stop was not measured.

        The smallest loss is the last one: it might have fallen further.
        """
        return (
            self.early_stop_step is None
            or self.early_stop_accuracy is None
            or self.early_stop_step >= self.steps
        )


def final(dense: Measured, ticket: Measured, margin: float = 0.0) -> bool:
    """Whether a ticket's metric ends no lower than dense's, within a margin."""
    return bool(
        ticket.accuracy >= dense.accuracy - margin
        and ticket.steps <= dense.steps
    )


def early_stop(
    dense: Measured,
    ticket: Measured,
    margin: float = 0.0,
    interval: int = 0,
) -> bool | None:
    """Whether a ticket wins as the lottery ticket paper defines it.

    Its early stop is no later than the dense network's, and its metric there no
    lower, but for an interval of steps and a margin. A ticket whose early stop
    was not measured does not win; against a dense network whose early stop was
    not measured, nothing is known: `None`. Reference: Frankle and Carbin 2019,
    sections 1 and 2, https://arxiv.org/abs/1803.03635.

    >>> early_stop(
    ...     Measured(0.98, 600, 0.97, 540), Measured(0.98, 600, 0.98, 560))
    False
    >>> early_stop(
    ...     Measured(0.98, 600, 0.97, 540), Measured(0.98, 600, 0.98, 560),
    ...     interval=20)
    True
    """
    if dense.censored:
        return None
    if ticket.censored:
        return False
    return bool(
        ticket.early_stop_step <= dense.early_stop_step + interval
        and ticket.early_stop_accuracy >= dense.early_stop_accuracy - margin
    )
