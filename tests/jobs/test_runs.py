"""Runs with workers of their own processes: the same, whatever happens."""

import collections
import csv
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from tf_lottery import experiments
from tf_lottery import files
from tf_lottery.experiments import progress
from tf_lottery.experiments.analyses import session as session_lib
from tf_lottery.jobs import engines
from tf_lottery.jobs import scheduling
from tf_lottery.jobs import tasks
from tf_lottery.jobs import worker

PRESET = experiments.preset(
    "lenet-digits", iterations=40, rounds=2, trials=2, control_trials=1,
    control_every=1, compare=("random-reinit", "random-mask", "lr-rewind"),
)


def content(path):
    """All numbers of a run: tables without times, arrays by their bits."""
    found = {}
    for name in sorted(path.rglob("*")):
        key = str(name.relative_to(path))
        if name.suffix == ".csv":
            with open(name, newline="") as file:
                found[key] = [
                    {k: v for k, v in row.items() if k != "seconds"}
                    for row in csv.DictReader(file)
                ]
        elif name.suffix == ".safetensors":
            arrays, _ = files.read_arrays(name)
            # The state has the seconds of the rounds.
            found[key] = {
                k: np.asarray(v).tobytes() for k, v in arrays.items()
            }
    return found


class Watching(progress.Progress):
    """Counts what is told, and kills a worker in a training of a control."""

    def __init__(self, kill=False):
        self.kill, self.killed = kill, None
        self.epochs, self.rounds, self.seen = 0, [], {}

    def epoch_end(self):
        self.epochs += 1

    def skip(self, epochs):
        self.epochs += epochs

    def round_end(self, trial, result):
        self.rounds.append((trial, result.round))

    def workers(self, pulses):
        for pulse in pulses:
            self.seen[pulse["pid"]] = pulse
            # As soon as one has something to lose.
            if self.kill and self.killed is None and pulse["epochs"]:
                self.killed = pulse["pid"]
                os.kill(self.killed, signal.SIGKILL)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    path, told = tmp_path_factory.mktemp("alone"), Watching()
    report = experiments.run(PRESET, path, told)
    return report, path, told


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed(alone, tmp_path):
    report, path, told = alone
    watching = Watching(kill=True)
    found = experiments.run(PRESET, tmp_path, watching, jobs=2)
    assert found.verdict == report.verdict
    assert content(tmp_path) == content(path)
    assert [p.name for p in map(pathlib.Path, found.files)] == [
        p.name for p in map(pathlib.Path, report.files)
    ]
    # Two, and one in the place of that which was killed.
    assert watching.killed and len(watching.seen) == 3
    assert all(p["memory"] > 10**8 for p in watching.seen.values())
    assert watching.epochs == told.epochs
    missing = collections.Counter(told.rounds)
    missing.subtract(watching.rounds)
    # It may have saved the end of a round, and died before it said so.
    assert min(missing.values()) == 0 and missing.total() <= 1
    assert not (tmp_path / "jobs").exists()
    for pid in watching.seen:
        assert not is_alive(pid)


class Measured(session_lib.Progress):
    def __init__(self):
        self.trained, self.items = [], []

    def training_begin(self, training):
        self.trained.append(training)

    def measured(self, item):
        self.items.append(item)


@pytest.mark.slow
def test_an_analysis_by_two_workers(alone, tmp_path):
    found = {}
    for jobs in (1, 2):
        told = Measured()
        finding, _ = experiments.analyze(
            "stability", alone[1], tmp_path / str(jobs), told, jobs=jobs
        )
        found[jobs] = (
            finding.rows, content(tmp_path / str(jobs)), sorted(told.items),
            sorted(map(str, told.trained)),
        )
    assert found[1] == found[2]
    assert len(found[1][2]) == 2 and len(found[1][3]) == 8


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that has ended is listed until its parent asks how.
    return pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def children(pid):
    path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    return [int(each) for each in path.read_text().split()]


CHILD = """
import sys
from tf_lottery import experiments
from tests.jobs.test_runs import PRESET
if __name__ == "__main__":
    experiments.run(PRESET, sys.argv[1], jobs=2)
"""


def process(code, *arguments):
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )


def wait_for(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
)
def test_a_run_that_ends_takes_its_workers_along(alone, tmp_path, number):
    parent = process(CHILD, tmp_path)
    try:
        wait_for(lambda: list(tmp_path.glob("trial-*/controls/*.csv")))
        workers = children(parent.pid)
        parent.send_signal(number)
        parent.wait(30)
    finally:
        parent.kill()
        parent.wait()
    assert parent.returncode
    wait_for(lambda: not any(map(is_alive, workers)), 30)
    assert len(workers) >= 2
    trained = Watching()
    experiments.run(PRESET, tmp_path, trained)
    assert content(tmp_path) == content(alone[1])


def work(path, what, progress):
    """Does something at the first attempt, and writes its file at others."""
    mark = pathlib.Path(path, what)
    if not mark.exists() or what == "raise":
        mark.touch()
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "raise":
            raise ValueError("the data are not there")
    mark.write_text("done")
    return os.getpid()


def threads(progress):
    """Returns the number of threads that was chosen; 0 if none was."""
    return tf.config.threading.get_intra_op_parallelism_threads()


class Silent(progress.Progress):
    def __init__(self, pulse):
        """Says nothing."""

    def end(self):
        """Says nothing."""


class Done(tasks.Listener):
    def __init__(self):
        self.results = {}

    def done(self, task, result):
        self.results[task.key] = result
        return ()


@pytest.mark.slow
def test_workers_have_the_threads_of_this_process(tmp_path, monkeypatch):
    monkeypatch.setattr(engines.resources, "cores", lambda: 3)
    done = Done()
    with engines.opened(
        2, None, tmp_path / "jobs", None, Silent
    ) as engine:
        scheduling.run([tasks.Task("a", threads)], engine, done)
    assert done.results == {"a": worker.threads()}


def try_tasks(tmp_path, *what, jobs=2, scheduler=None):
    done = Done()
    found = [
        tasks.Task(key, work, (str(tmp_path), key)) for key in what
    ]
    with engines.opened(
        jobs, scheduler, tmp_path / "jobs", None, Silent
    ) as engine:
        scheduling.run(found, engine, done)
    return done.results


@pytest.mark.slow
def test_tasks_that_kill_their_worker_or_fail(tmp_path, monkeypatch):
    monkeypatch.setattr(engines.resources, "cores", lambda: 2)
    with pytest.raises(tasks.TasksFailedError) as error:
        try_tasks(tmp_path, "die", "raise", "a", "b")
    assert list(error.value.reasons) == ["raise"]
    assert "ValueError: the data are not there" in str(error.value)
    for what in ("die", "a", "b"):
        assert (tmp_path / what).read_text() == "done"
