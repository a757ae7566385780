"""Workers of a Dask scheduler, here on one machine."""

import json
import os
import subprocess
import sys
import threading

import pytest

from tests.jobs import test_runs as runs
from tf_lottery import experiments
from tf_lottery.jobs import engines
from tf_lottery.jobs import tasks
from tf_lottery.jobs import worker

distributed = pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.slow,
    # Dask's threads end a little after their cluster.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning"
    ),
]


def start(*command):
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + command[0], *command[1:]],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    place = tmp_path_factory.mktemp("dask")
    file = place / "scheduler.json"
    common = ("--scheduler-file", str(file))
    processes = [start(
        "dask_scheduler", "--host", "127.0.0.1", "--port", "0",
        "--no-dashboard", *common,
    )]
    try:
        runs.wait_for(file.exists)
        for _ in range(2):
            processes.append(start(
                "dask_worker", "--nthreads", "1", "--no-dashboard",
                "--local-directory", str(place), *common,
            ))
        address = json.loads(file.read_text())["address"]
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)
        yield address
    finally:
        for each in processes:
            each.terminate()
        for each in processes:
            each.wait(30)


alone = runs.alone


def test_the_same_though_a_worker_is_killed(alone, tmp_path, scheduler):
    report, path, told = alone
    watching = runs.Watching(kill=True)
    found = experiments.run(
        runs.PRESET, tmp_path, watching, scheduler=scheduler
    )
    assert found.verdict == report.verdict
    assert runs.content(tmp_path) == runs.content(path)
    assert watching.killed and len(watching.seen) >= 2
    assert watching.epochs == told.epochs


def test_workers_of_another_version(tmp_path, scheduler, monkeypatch):
    versions = {**worker.versions(), "keras": "2.15"}
    monkeypatch.setattr(worker, "versions", lambda: versions)
    with pytest.warns(UserWarning, match="left out"), pytest.raises(
        tasks.UnfitWorkerError, match="keras .* there, 2.15 here"
    ):
        runs.try_tasks(tmp_path, "a", jobs=None, scheduler=scheduler)


@pytest.mark.parametrize("end, why", [
    (False, "had no worker"), (True, "has gone"),
])
def test_a_scheduler_without_workers(tmp_path, monkeypatch, end, why):
    monkeypatch.setattr(engines, "_WORKERS", 60 if end else 0)
    file = tmp_path / "scheduler.json"
    process = start(
        "dask_scheduler", "--host", "127.0.0.1", "--port", "0",
        "--no-dashboard", "--scheduler-file", str(file),
    )
    try:
        runs.wait_for(file.exists)
        address = json.loads(file.read_text())["address"]
        if end:
            threading.Timer(5, process.kill).start()
        with pytest.raises(ConnectionError, match=why):
            runs.try_tasks(tmp_path, "a", jobs=None, scheduler=address)
    finally:
        process.kill()
        process.wait()
