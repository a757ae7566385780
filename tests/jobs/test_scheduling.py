"""Who does which task, with workers that are made up."""

import concurrent.futures

import pytest

from tf_lottery.jobs import engines
from tf_lottery.jobs import resources
from tf_lottery.jobs import scheduling
from tf_lottery.jobs import tasks


def nothing(*arguments):
    """A function of tasks that are only handed out."""


def task(key, **values):
    return tasks.Task(key, nothing, **values)


class Fake:
    """An engine whose workers do what a test says, one task a turn.

    Args:
        slots: Integer.
        outcomes: Dict from key to a list of what happens at each attempt: an
            error, `"gone"`, or a result. Others are done at once.
    """

    def __init__(self, slots=1, outcomes=None):
        self._slots = list(range(slots))
        self._outcomes = outcomes or {}
        self.given, self.restarted, self.unfit = [], [], {}

    def slots(self):
        return list(self._slots)

    def submit(self, slot, task):
        self.given.append((slot, task.key))
        future = concurrent.futures.Future()
        left = self._outcomes.get(task.key)
        outcome = left.pop(0) if left else task.key
        if outcome == "gone":
            self._slots.remove(slot)
        elif isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
        return future

    def restart(self, slot):
        self.restarted.append(slot)

    def leave_out(self, slot, reason):
        self._slots.remove(slot)
        self.unfit[slot] = reason

    def pulses(self, keys):
        return []

    def keys(self):
        return [key for _, key in self.given]


class Heard(tasks.Listener):
    def __init__(self, followers=()):
        self.results, self._followers = {}, dict(followers)

    def done(self, task, result):
        assert task.key not in self.results
        self.results[task.key] = result
        return self._followers.get(task.key, ())


def do(found, engine, followers=()):
    heard = Heard(followers)
    scheduling.run(found, engine, heard)
    return heard.results


def test_all_are_done_in_order():
    engine = Fake()
    assert do(map(task, "abc"), engine) == {"a": "a", "b": "b", "c": "c"}
    assert engine.keys() == ["a", "b", "c"]


def test_nothing_to_do():
    assert do([], Fake()) == {}


def test_what_comes_after_waits():
    engine = Fake(3)
    do([task("late", after=("a", "b"), cost=9), task("a"), task("b")], engine)
    assert engine.keys()[-1] == "late"


def test_followers_are_done():
    engine = Fake()
    do([task("a"), task("z")], engine, {"a": [task("b")]})
    assert sorted(engine.keys()) == ["a", "b", "z"]


def test_one_worker_stays_with_a_trial():
    """Whatever costs more elsewhere: its model is compiled once."""
    engine = Fake()
    do(
        [task("0", group="0", cost=9), task("1", group="1", cost=9)], engine,
        {"0": [task("0a", group="0")], "1": [task("1a", group="1")]},
    )
    assert engine.keys() == ["0", "0a", "1", "1a"]


def test_several_begin_with_what_takes_longest():
    engine = Fake(2)
    do([task("a"), task("b", cost=5), task("c", cost=7)], engine)
    assert engine.keys() == ["c", "b", "a"]


def test_several_keep_to_their_trials():
    engine = Fake(2)
    do(
        [task("0", group="0"), task("1", group="1")], engine, {
            "0": [task(f"0{i}", group="0") for i in range(3)],
            "1": [task(f"1{i}", group="1") for i in range(3)],
        },
    )
    assert {(slot, key[0]) for slot, key in engine.given} == {
        (0, "0"), (1, "1"),
    }


def test_what_fails_is_tried_again():
    engine = Fake(outcomes={"a": [OSError("disk"), ValueError("x"), "fine"]})
    assert do([task("a")], engine) == {"a": "fine"}


def test_what_fails_again_and_again_is_named():
    engine = Fake(2, {"bad": [ValueError("no data")] * 9})
    heard = Heard()
    with pytest.raises(tasks.TasksFailedError) as error:
        scheduling.run(
            [task("bad"), task("after", after=("bad",)), task("a"), task("b")],
            engine, heard,
        )
    assert sorted(heard.results) == ["a", "b"]
    assert engine.keys().count("bad") == scheduling.ATTEMPTS
    assert list(error.value.reasons) == ["bad", "after"]
    assert "ValueError: no data" in str(error.value)
    assert "it comes after bad" in str(error.value)


def test_a_worker_that_died_is_replaced():
    died = concurrent.futures.BrokenExecutor()
    engine = Fake(2, {"a": [died]})
    assert sorted(do(map(task, "ab"), engine)) == ["a", "b"]
    assert engine.restarted == [0]


def test_a_worker_that_has_gone_takes_no_task_along():
    engine = Fake(2, {"a": ["gone"]})
    assert sorted(do(map(task, "abc"), engine)) == ["a", "b", "c"]
    assert engine.given[0] == (0, "a") and engine.slots() == [1]


def test_an_unfit_worker_is_left_out():
    unfit = tasks.UnfitWorkerError("It has Keras 2.")
    engine = Fake(2, {"a": [unfit]})
    with pytest.warns(UserWarning, match="Keras 2. The worker is left out"):
        assert sorted(do(map(task, "ab"), engine)) == ["a", "b"]
    assert engine.unfit == {0: "It has Keras 2."}


def test_an_interruption_goes_through():
    engine = Fake(outcomes={"a": [KeyboardInterrupt()]})
    with pytest.raises(KeyboardInterrupt):
        do(map(task, "ab"), engine)


def fail(progress):
    raise ZeroDivisionError


def test_in_this_process_an_error_is_raised_at_once():
    with pytest.raises(ZeroDivisionError):
        do([tasks.Task("a", fail), task("b")], engines.Here(None))


@pytest.mark.parametrize("cores, free, jobs, chosen, why", [
    (4, 100, 4, 4, None),
    (4, 100, 9, 4, "4 cores"),
    (16, 10, 8, 3, "of free memory"),
    (16, 1, 8, 1, "of free memory"),
    (16, None, 8, 8, None),
    (1, 1, 1, 1, None),
])
def test_workers_by_cores_and_memory(
    monkeypatch, recwarn, cores, free, jobs, chosen, why
):
    each = 3 * 2**30
    monkeypatch.setattr(resources, "cores", lambda: cores)
    monkeypatch.setattr(resources, "memory_used", lambda: each)
    monkeypatch.setattr(
        resources, "memory_available", lambda: free and free * 2**30
    )
    assert resources.workers(jobs) == chosen
    said = [str(warning.message) for warning in recwarn]
    assert len(said) == (why is not None)
    assert why is None or (why in said[0] and f"jobs={jobs}" in said[0])


def test_what_this_machine_has():
    assert resources.cores() >= 1
    assert 10**6 < resources.memory_used() < resources.memory_available()


@pytest.mark.parametrize("jobs, scheduler", [
    (0, None), (1.5, None), (True, None), (None, "machine"), (None, ""),
])
def test_wrong_arguments(jobs, scheduler):
    with pytest.raises(ValueError, match="Argument `(jobs|scheduler)` must"):
        engines.check(jobs, scheduler)
