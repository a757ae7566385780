"""Engines: this process, others, or those of other machines.

An engine has slots; each has a `concurrent.futures.Executor` of one worker
and does one task at a time, so that a worker that dies takes no other along.
"""

import concurrent.futures
import contextlib
import os
import shutil
import time
import uuid

from tf_lottery.jobs import pulses
from tf_lottery.jobs import resources
from tf_lottery.jobs import worker
from tf_lottery.jobs.tasks import UnfitWorkerError
from tf_lottery.utils import checks

# How long a scheduler has to answer, and how long it may have no workers.
_ANSWER, _WORKERS = 5, 60


def check(jobs, scheduler):
    """Refuses wrong arguments of what takes `jobs` and `scheduler`."""
    checks.optional(checks.whole, "jobs", jobs)
    if scheduler is None:
        return
    checks.text("scheduler", scheduler)
    if "://" not in scheduler:
        checks.refuse(
            "scheduler", scheduler, "an address such as 'tcp://host:8786'"
        )


@contextlib.contextmanager
def opened(jobs, scheduler, place, progress, report):
    """Opens the engine for a number of jobs; closes it in the end.

    `None` means one, or all workers of a scheduler. What workers say lies in a
    directory, which is made for them, and removed.
    """
    count = 1 if scheduler else resources.workers(jobs or 1)
    if scheduler is None and count == 1:
        yield Here(progress)
        return
    # Another one each time: workers of an earlier run find theirs gone.
    room = place / uuid.uuid4().hex
    engine = None
    try:
        settings = worker.Settings.here(room, report)
        engine = (
            Cluster(scheduler, jobs, settings) if scheduler
            else Local(count, settings)
        )
        shutil.rmtree(place, ignore_errors=True)
        room.mkdir(parents=True)
        yield engine
    finally:
        if engine is not None:
            engine.close()
        shutil.rmtree(place, ignore_errors=True)


class Here:
    """This process alone; what fails in a task is raised at once."""

    def __init__(self, progress):
        self._progress = progress

    def slots(self):
        return [0]

    def submit(self, slot, task):
        future = concurrent.futures.Future()
        future.set_result(task.function(*task.arguments, self._progress))
        return future

    def pulses(self, keys):
        """Returns an empty list: tasks have reported already."""
        return []


class _Workers:
    """What engines of other processes have in common."""

    def __init__(self, settings):
        self._settings, self._executors = settings, {}

    def submit(self, slot, task):
        if slot not in self._executors:
            self._executors[slot] = self._executor(slot)
        return self._executors[slot].submit(worker.work, self._settings, task)

    def pulses(self, keys):
        return pulses.read(self._settings.place, keys)


class Local(_Workers):
    """Processes of this machine, each with one import of TensorFlow."""

    def __init__(self, count, settings):
        super().__init__(settings)
        self._slots = list(range(count))

    def slots(self):
        if not self._slots:
            raise UnfitWorkerError("No worker is left: they all are unfit.")
        return list(self._slots)

    def restart(self, slot):
        self._executors.pop(slot).shutdown(wait=False, kill_workers=True)

    def leave_out(self, slot, reason):
        """Gives no more tasks to a worker."""
        self._slots.remove(slot)

    def close(self):
        for executor in self._executors.values():
            executor.shutdown(wait=True, kill_workers=True)

    def _executor(self, slot):
        # It takes a while, and a run in one process does without.
        from joblib.externals import loky

        return loky.ProcessPoolExecutor(
            max_workers=1, initializer=worker.begin, initargs=(os.getpid(),)
        )


class Cluster(_Workers):
    """The workers of a Dask scheduler, on any number of machines, or some."""

    def __init__(self, address, most, settings):
        super().__init__(settings)
        self._address, self._most = address, most
        self._client = _client(address)
        self._unfit, self._seen = {}, time.monotonic()

    def slots(self):
        """Returns the addresses of the workers; raises without a fit one."""
        there = None
        with contextlib.suppress(OSError):
            there = self._client.scheduler_info(n_workers=-1).get("workers")
        if there is None:
            raise ConnectionError(
                f"The Dask scheduler at {self._address} has gone. What was "
                "finished is written; started again, the run resumes."
            )
        found = [address for address in there if address not in self._unfit]
        if found:
            self._seen = time.monotonic()
        elif there:
            raise UnfitWorkerError(" ".join(self._unfit.values()))
        elif time.monotonic() - self._seen > _WORKERS:
            raise ConnectionError(
                f"The Dask scheduler at {self._address} has had no worker "
                f"for {_WORKERS} s. Start some: `dask worker {self._address} "
                "--nthreads 1`"
            )
        return found[:self._most]

    def restart(self, slot):
        """Does nothing: Dask starts workers again by itself."""

    def leave_out(self, slot, reason):
        """Gives no more tasks to a worker."""
        self._unfit[slot] = reason

    def close(self):
        """Cancels what is not done; workers stay for others."""
        for executor in self._executors.values():
            executor.shutdown(wait=False)
        self._client.close()

    def _executor(self, slot):
        return self._client.get_executor(
            workers=[slot], pure=False, allow_other_workers=False
        )


def _client(address):
    try:
        import distributed
    except ImportError as error:
        raise ImportError(
            "A scheduler needs Dask: pip install tf_lottery[dask]"
        ) from error
    try:
        return distributed.Client(
            address, timeout=_ANSWER, set_as_default=False
        )
    except (OSError, TimeoutError, ValueError) as error:
        raise ConnectionError(
            f"No Dask scheduler answers at {address}; waited {_ANSWER} s. "
            "Start it with `dask scheduler`, and workers with `dask worker "
            f"{address} --nthreads 1`."
        ) from error
