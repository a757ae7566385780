"""The schedule that the documentation has on paper."""

import re

import tests
from tf_lottery.jobs import scheduling
from tf_lottery.jobs import tasks

PAGE = (tests.ROOT / "docs/several_machines.md").read_text()


def test_the_table_is_what_the_page_computes():
    block, = re.findall(r"```python\n(import heapq.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(block, names)
    wall = names["wall"]
    table = re.findall(
        r"^\| (\d+) workers? \| ([\d,]+) \| ([\d,]+) \|$", PAGE, re.M
    )
    assert len(table) == 4
    for workers, digits, resnet in table:
        found = (
            wall(names["digits"], int(workers), names["seconds"], 10),
            wall(names["resnet"], int(workers), names["hours"]),
        )
        assert [digits, resnet] == [f"{value:,.0f}" for value in found]
    chain = wall(names["resnet"], 99, names["hours"])
    assert f"{chain:.0f} hours of ResNet-50" in PAGE


class Clock:
    """An engine whose tasks take the time that they cost, by a clock."""

    def __init__(self, slots):
        self.now, self._slots, self._ends = 0.0, list(range(slots)), {}

    def slots(self):
        return self._slots

    def submit(self, slot, task):
        self._ends[slot] = self.now + task.cost
        return Future(self, self._ends[slot])

    def pulses(self, keys):
        return []

    def advance(self, *arguments):
        self.now = min(end for end in self._ends.values() if end > self.now)


class Future:
    def __init__(self, clock, end):
        self._clock, self._end = clock, end

    def done(self):
        return self._clock.now >= self._end

    def result(self):
        return None


class Followers(tasks.Listener):
    def done(self, task, result):
        return [
            tasks.Task(f"{task.key}-{i}", None, group=task.group)
            for i in range(12 if task.cost > 1 else 0)
        ]


def test_the_schedule_is_the_one_of_the_page(monkeypatch):
    block, = re.findall(r"```python\n(import heapq.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(block, names)
    preset = names["experiments"].preset(
        "lenet-digits", trials=3, rounds=3, control_trials=2,
        control_every=1,
    )
    for workers in (2, 3, 5):
        clock = Clock(workers)
        monkeypatch.setattr(
            scheduling.concurrent.futures, "wait", clock.advance
        )
        scheduling.run(
            [tasks.Task(f"{i}", None, group=f"{i}", cost=4) for i in range(3)],
            clock, Followers(),
        )
        expected = names["wall"](preset, workers, 1 / 60)
        assert clock.now == round(expected)
