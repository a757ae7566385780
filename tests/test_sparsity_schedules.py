"""Schedules of sparsity follow their formulas and TFMOT's protocol."""

import importlib.util
import math
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tf_lottery import sparsity_schedules
from tf_lottery.sparsity_schedules import ConstantSparsity
from tf_lottery.sparsity_schedules import OneCycle
from tf_lottery.sparsity_schedules import PolynomialDecay

SCHEDULES = [
    ConstantSparsity(0.5, 20, 90, frequency=20),
    ConstantSparsity(0.5, 0),
    PolynomialDecay(0.1, 0.8, 20, 90, frequency=20, power=2),
    OneCycle(0.8, 90, begin_step=20, initial_sparsity=0.1, frequency=20),
]


def steps_due(schedule, until=200):
    return [step for step in range(until) if schedule(step)[0]]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_config_makes_an_equal_schedule(schedule):
    twin = type(schedule).from_config(schedule.get_config())
    assert twin == schedule and hash(twin) == hash(schedule)
    assert [twin(s) for s in range(99)] == [schedule(s) for s in range(99)]
    assert schedule != ConstantSparsity(0.25, 3)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_due_every_so_many_steps_and_at_the_end(schedule):
    if schedule.end_step < 0:
        assert steps_due(schedule) == [0, 100]
    else:
        assert steps_due(schedule) == [20, 40, 60, 80, 90]


@pytest.mark.parametrize("kind", [
    int, np.int64, np.float32, tf.constant,
    lambda step: tf.Variable(step, dtype=tf.int64),
])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_step_may_be_of_any_kind(schedule, kind):
    due, sparsity = schedule(kind(40))
    assert (due, sparsity) == schedule(40)
    assert type(due) is bool and type(sparsity) is float


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0, 0.4), st.floats(0.4, 0.99), st.integers(0, 50),
    st.integers(1, 300), st.floats(0.5, 5), st.integers(0, 400),
)
def test_polynomial_decay_is_equation_1(
    initial, final, begin, length, power, step
):
    schedule = PolynomialDecay(
        initial, final, begin, begin + length, frequency=1, power=power
    )
    inside = min(max(step, begin), begin + length)
    t = (inside - begin) / length
    expected = final + (initial - final) * (1 - t) ** power
    assert schedule(step)[1] == pytest.approx(expected, abs=1e-12)
    assert schedule(begin + length)[1] == final


@pytest.mark.parametrize("alpha, beta", [(14, 6), (14, 5), (8, 3)])
def test_one_cycle_is_the_papers_formula(alpha, beta):
    schedule = OneCycle(
        0.9, 100, initial_sparsity=0.2, alpha=alpha, beta=beta
    )
    for step in range(101):
        t = step / 100
        rise = (1 + math.exp(-alpha + beta)) / (
            1 + math.exp(-alpha * t + beta)
        )
        assert schedule(step)[1] == pytest.approx(0.2 + 0.7 * rise)
    assert schedule(100) == (True, 0.9) == schedule(100.0)
    values = [schedule(step)[1] for step in range(101)]
    assert values == sorted(values) and values[0] > 0.2
    # Fastest where half the way is gone.
    steepest = int(np.argmax(np.diff(values)))
    assert abs(steepest - 100 * beta / alpha) <= 1


def test_begin_and_end_may_be_one_step():
    schedule = PolynomialDecay(0.0, 0.5, 7, 7)
    assert steps_due(schedule) == [7] and schedule(7)[1] == 0.5


@pytest.mark.parametrize("make, words", [
    (lambda: PolynomialDecay(0.0, 1.0, 0, 9), "final_sparsity"),
    (lambda: PolynomialDecay(0.0, None, 0, 9), "final_sparsity"),
    (lambda: PolynomialDecay(-0.1, 0.5, 0, 9), "initial_sparsity"),
    (lambda: PolynomialDecay(0.6, 0.5, 0, 9), "stays pruned"),
    (lambda: PolynomialDecay(0.0, 0.5, 0), "end_step"),
    (lambda: PolynomialDecay(0.0, 0.5, 0, -1), "end_step"),
    (lambda: PolynomialDecay(0.0, 0.5, 10, 9), "must not lie before"),
    (lambda: PolynomialDecay(0.0, 0.5, -1, 9), "begin_step"),
    (lambda: PolynomialDecay(0.0, 0.5, 0, 9, frequency=0), "frequency"),
    (lambda: PolynomialDecay(0.0, 0.5, 0, 9, power=0), "power"),
    (lambda: PolynomialDecay(0.0, True, 0, 9), "final_sparsity"),
    (lambda: ConstantSparsity(math.nan, 0), "target_sparsity"),
    (lambda: ConstantSparsity(0.5, 0.5), "begin_step"),
    (lambda: ConstantSparsity(0.5, 0, -2), "end_step"),
    (lambda: OneCycle(0.5, 9, alpha=-1), "alpha"),
    (lambda: OneCycle(0.5, 9, beta=math.inf), "beta"),
    (lambda: sparsity_schedules.get(0.5), "schedule"),
    (lambda: sparsity_schedules.get(PolynomialDecay), "schedule"),
])
def test_bad_arguments_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_described_schedule_of_tfmot_becomes_ours():
    config = {
        "initial_sparsity": 0.1, "final_sparsity": 0.8, "begin_step": 20,
        "end_step": 90, "power": 2, "frequency": 20,
    }

    class Theirs:
        def __call__(self, step):
            raise AssertionError("not needed")

        def get_config(self):
            return {"class_name": "PolynomialDecay", "config": config}

    Theirs.__module__ = "tensorflow_model_optimization.schedules"
    assert sparsity_schedules.get(Theirs()) == SCHEDULES[2]


def test_any_callable_is_a_schedule():
    def schedule(step):
        return False, 0.0

    assert sparsity_schedules.get(schedule) is schedule
    assert sparsity_schedules.get(SCHEDULES[0]) is SCHEDULES[0]


TFMOT = """
import numpy as np
import tensorflow_model_optimization as tfmot
from tf_lottery import sparsity_schedules

theirs = tfmot.sparsity.keras
for schedule in (
    theirs.PolynomialDecay(0.1, 0.8, 20, 100, power=2, frequency=20),
    theirs.ConstantSparsity(0.5, 20, 100, frequency=20),
    theirs.ConstantSparsity(0.5, 20, frequency=20),
):
    ours = sparsity_schedules.get(schedule)
    assert isinstance(ours, sparsity_schedules.SparsitySchedule)
    for step in range(150):
        due, sparsity = schedule(step)
        assert ours(step)[0] == bool(due), (schedule, step)
        assert np.isclose(ours(step)[1], float(sparsity)), (schedule, step)
print("equal")
"""


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_model_optimization") is None,
    reason="the tfmot extra is not installed",
)
def test_schedules_of_tfmot_become_ours():
    run = subprocess.run(
        [sys.executable, "-c", TFMOT], capture_output=True, text=True
    )
    assert run.stdout.strip() == "equal", run.stderr
