"""Tasks, and listeners that hear of them."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Task:
    """Work that any process can do, here or on another machine.

    It shares nothing with others but a directory, where it leaves what it has
    made; done again, it makes the same. The function can be imported, and the
    arguments pickled; it takes a `progress.Progress` besides. Tasks of the
    keys in `after` come first, and those that cost most; a worker prefers the
    `group` of its last one.
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
