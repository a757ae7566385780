"""What a worker checks before it begins."""

import dataclasses
import json

import keras
import pytest

from tf_lottery.jobs import engines
from tf_lottery.jobs import pulses
from tf_lottery.jobs import tasks
from tf_lottery.jobs import worker


class Report:
    def __init__(self, pulse):
        self.pulse, self.ended = pulse, False
        pulse.beat({"epochs": 3})

    def end(self):
        self.pulse.beat({"epochs": 4}, now=True)


def double(number, report):
    return 2 * number


@pytest.fixture
def settings(tmp_path):
    return worker.Settings.here(tmp_path, Report)


TASK = tasks.Task("four", double, (2,))


def test_a_task_is_done_and_told_of(settings, tmp_path):
    assert worker.work(settings, TASK) == 4
    found, = pulses.read(tmp_path, ["four", "another"])
    assert (found["key"], found["epochs"]) == ("four", 4)
    assert {"host", "pid", "memory"} < set(found)


def test_a_pulse_is_written_once_a_second(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(pulses.time, "monotonic", lambda: now[0])
    pulse, seen = pulses.Pulse(tmp_path, "a"), []
    for number in range(40):
        pulse.beat({"epochs": number})
        seen.append(pulses.read(tmp_path, ["a"])[0]["epochs"])
        now[0] += 0.1
    assert 3 <= len(set(seen)) <= 4


def test_a_pulse_that_is_half_there_is_left_out(tmp_path):
    (tmp_path / "a.json").write_text('{"key": ')
    (tmp_path / "trial-0-b.json").write_text(json.dumps({"key": "b"}))
    assert pulses.read(tmp_path, ["a", "trial-0/b"]) == [{"key": "b"}]


@pytest.mark.parametrize("name", ["keras", "tf_lottery", "backend"])
def test_other_versions_are_named(settings, name):
    versions = {**settings.versions, name: "0.0"}
    other = dataclasses.replace(settings, versions=versions)
    with pytest.raises(
        tasks.UnfitWorkerError, match=f"{name} .* there, 0.0 here"
    ):
        worker.work(other, TASK)


def test_a_directory_that_is_not_shared_is_named(settings, tmp_path):
    other = dataclasses.replace(settings, place=str(tmp_path / "elsewhere"))
    with pytest.raises(tasks.UnfitWorkerError, match="does not see the dir"):
        worker.work(other, TASK)


def test_a_task_ends_with_its_run(settings, tmp_path):
    """Dask lets a worker finish what nobody waits for any more."""
    pulse = pulses.Pulse(tmp_path / "run", "a")
    with pytest.raises(OSError, match="cannot be written"):
        pulse.beat({})


def test_another_number_of_threads_is_named(settings):
    keras.ops.convert_to_numpy(keras.ops.ones(3))
    other = dataclasses.replace(settings, threads=settings.threads + 1)
    with pytest.raises(tasks.UnfitWorkerError, match="threads"):
        worker.work(other, TASK)


def test_a_scheduler_that_is_not_there(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(engines, "_ANSWER", 1)
    with pytest.raises(
        ConnectionError, match="No Dask scheduler answers at tcp://127.0.0.1:9"
    ), engines.opened(
        None, "tcp://127.0.0.1:9", tmp_path / "jobs", None, Report
    ):
        pass
    assert not (tmp_path / "jobs").exists()
