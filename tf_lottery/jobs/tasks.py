"""Tasks, and listeners that hear of them."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Task:
    """Work that any process can do, here or on another machine.

    It shares nothing with others but a directory, where it leaves what it has
    made; done again, it makes the same.

    Attributes:
        key: String, its name; no other task has it.
        function: Callable that can be imported. It takes the arguments, which
            can be pickled, and a `tf_lottery.experiments.progress.Progress`.
        after: Tuple of the keys of tasks that must be done before.
        group: String; a worker prefers the group of its last one.
        cost: Number; those that cost most begin first.
    """

    key: str
    function: Callable
    arguments: tuple = ()
    after: tuple = ()
    group: str = ""
    cost: float = 1.0


class Listener:
    """Is told what becomes of tasks; does nothing."""

    def begin(self, task):
        """Called when a worker is given a task."""

    def done(self, task, result):
        """Called when a task is done; returns the tasks that follow from it.
        """
        return ()

    def pulses(self, pulses):
        """Called about twice a second."""


class TasksFailedError(RuntimeError):
    """Some tasks failed again and again, for reasons; all others are done."""

    def __init__(self, reasons):
        self.reasons = reasons
        lines = "".join(f"\n  {key}: {why}" for key, why in reasons.items())
        super().__init__(
            f"{len(reasons)} of the tasks failed. All others are done and "
            f"written; started again, only these are tried again:{lines}"
        )


class UnfitWorkerError(RuntimeError):
    """A worker would not come to the same results; others may."""
