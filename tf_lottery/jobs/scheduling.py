"""The schedule of tasks: which worker does which, and what if it cannot."""

import collections
import concurrent.futures
import time
import warnings

from tf_lottery.jobs import tasks as tasks_lib

ATTEMPTS = 3
_PAUSE = 0.5


def run(tasks, engine, listener):
    """Does tasks, and those that follow; names those that fail three times."""
    _Schedule(tasks, engine, listener).run()


class _Schedule:
    def __init__(self, tasks, engine, listener):
        self._engine, self._listener = engine, listener
        self._waiting = {task.key: task for task in tasks}
        self._running, self._groups = {}, {}
        self._attempts = collections.Counter()
        self._done, self._reasons = set(), {}

    def run(self):
        while self._waiting or self._running:
            slots = self._engine.slots()
            self._begin(slots)
            self._wait()
            # What a task said last is there once it has ended.
            ended = [
                (slot, slot in slots)
                for slot, (_, future) in self._running.items()
                if future.done() or slot not in slots
            ]
            keys = [task.key for task, _ in self._running.values()]
            self._listener.pulses(self._engine.pulses(keys))
            for slot, is_there in ended:
                self._end(slot, *self._running.pop(slot), is_there)
        if self._reasons:
            raise tasks_lib.TasksFailedError(self._reasons)

    def _wait(self):
        futures = [future for _, future in self._running.values()]
        if not futures:
            time.sleep(_PAUSE)
        concurrent.futures.wait(
            futures, _PAUSE, concurrent.futures.FIRST_COMPLETED
        )

    def _begin(self, slots):
        for slot in slots:
            task = None if slot in self._running else self._choose(slot, slots)
            if task is not None:
                del self._waiting[task.key]
                self._groups[slot] = task.group
                self._listener.begin(task)
                self._running[slot] = task, self._engine.submit(slot, task)
        if not self._running and len(slots):
            # What is left waits for tasks that failed.
            for task in self._waiting.values():
                missing = sorted(set(task.after) - self._done)
                self._reasons[task.key] = (
                    f"not begun, since it comes after {', '.join(missing)}"
                )
            self._waiting.clear()

    def _choose(self, slot, slots):
        ready = [
            task for task in self._waiting.values()
            if self._done.issuperset(task.after)
        ]
        taken = {self._groups.get(other) for other in slots if other != slot}
        return min(ready, default=None, key=lambda task: (
            -task.cost if len(slots) > 1 else 0,
            task.group != self._groups.get(slot),
            task.group in taken,
        ))

    def _end(self, slot, task, future, is_there):
        if not is_there:
            future.cancel()
            self._again(task, "its worker has gone")
            return
        try:
            result = future.result()
        except tasks_lib.UnfitWorkerError as error:
            warnings.warn(f"{error} The worker is left out.", stacklevel=2)
            self._engine.leave_out(slot, str(error))
            self._waiting = {task.key: task, **self._waiting}
        except concurrent.futures.BrokenExecutor:
            self._engine.restart(slot)
            self._again(task, "its worker died")
        except Exception as error:
            self._again(task, f"{type(error).__name__}: {error}")
        else:
            self._done.add(task.key)
            for follower in self._listener.done(task, result):
                self._waiting[follower.key] = follower

    def _again(self, task, reason):
        self._attempts[task.key] += 1
        if self._attempts[task.key] < ATTEMPTS:
            self._waiting = {task.key: task, **self._waiting}
        else:
            self._reasons[task.key] = reason
