"""Files run in child processes: what crashes there fails here, no more."""

import contextlib
import math
import pathlib
import types

import keras
import numpy as np
import pytest

from tf_lottery import export
from tf_lottery.export import check
from tf_lottery.export import children
from tf_lottery.export import convert
from tf_lottery.export import latency
from tf_lottery.export import runner
from tf_lottery.export import samples
from tf_lottery.export import sources


@pytest.fixture(scope="module")
def content(child):
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(3, name="fc")]
    )
    source = sources.open_model(model)
    return convert.Converter(source, child=child).convert()


@pytest.fixture
def crashing(monkeypatch, tmp_path):
    """Makes children do something else on the n-th request."""
    def change(code):
        source = pathlib.Path(runner.__file__).read_text()
        script = tmp_path / "runner.py"
        script.write_text(source.replace("if __name__", f"{code}\nif __name__"))
        fake = types.SimpleNamespace(__file__=str(script))
        monkeypatch.setattr(children, "runner", fake)
    return change


X = [np.ones((2, 6), "float32")]
NAME = export.installed()[0]
CRASH = "_REQUESTS['run'] = lambda *a, **k: os.kill(os.getpid(), 11)"


@pytest.mark.slow
def test_outputs_come_call_by_call(content):
    with children.Runtime(NAME) as runtime:
        one = runtime.run(content, X, batch=1)
        two = runtime.run(content, X, batch=2)
    assert one[0].shape == (2, 1, 3) and two[0].shape == (1, 2, 3)
    np.testing.assert_allclose(one[0].reshape(2, 3), two[0][0], atol=1e-6)


def test_files_go_where_the_parent_is_killed(crashing):
    crashing("_load = lambda runtime: None")
    with children.Runtime(NAME) as runtime:
        runtime.start()
        # As the end of a process closes it.
        runtime._child._process.stdin.close()
        assert runtime._child._process.wait(60) == 0
        assert not runtime.place.exists()


@pytest.mark.slow
def test_a_crash_is_a_failure_with_the_signal(content, crashing):
    crashing(CRASH)
    with children.Runtime(NAME) as runtime:
        with pytest.raises(export.RuntimeFailure, match="SIGSEGV") as caught:
            runtime.run(content, X)
    assert caught.value.crashed


@pytest.mark.slow
def test_the_next_file_has_a_new_process(content, crashing, monkeypatch):
    crashing(CRASH)
    with children.Runtime(NAME) as runtime:
        with pytest.raises(export.RuntimeFailure):
            runtime.run(content, X)
        monkeypatch.setattr(children, "runner", runner)
        assert runtime.run(content, X)[0].shape == (2, 1, 3)


@pytest.mark.slow
def test_a_runtime_that_hangs_is_ended(content, crashing):
    crashing("_REQUESTS['run'] = lambda *a, **k: time.sleep(60)")
    with children.Runtime(NAME, timeout=4) as runtime:
        with pytest.raises(export.RuntimeFailure, match="within 4 s"):
            runtime.run(content, X)


@pytest.mark.slow
def test_a_refused_file_says_why_and_the_process_goes_on(content):
    with children.Runtime(NAME) as runtime:
        with pytest.raises(export.RuntimeFailure) as caught:
            runtime.run(b"\0" * 40, X)
        assert not caught.value.crashed and runtime.ran == 1
        runtime.run(content, X)
        assert runtime.ran == 2


@pytest.mark.slow
def test_a_checker_crash_is_an_outcome(content, crashing):
    crashing(CRASH)
    wanted = samples.Samples(X, 1, [np.zeros((2, 1, 3))])
    with children.Runtime(NAME) as runtime:
        outcome, = check.Checker([runtime], wanted).check(
            content, "float32", dense=True
        )
    assert not outcome.passed and outcome.error == math.inf
    assert "SIGSEGV" in str(outcome)


@pytest.mark.slow
def test_wrong_numbers_fail(content):
    wrong = samples.Samples(X, 1, [np.full((2, 1, 3), 7.0)])
    with children.Runtime(NAME) as runtime:
        outcome, = check.Checker([runtime], wrong).check(
            content, "float32", dense=True
        )
    assert not outcome.passed and "the Keras model" in str(outcome)


@pytest.mark.slow
def test_a_wrong_dense_file_is_no_reference(content):
    wrong = samples.Samples(X, 1, [np.full((2, 1, 3), 7.0)])
    with children.Runtime(NAME) as runtime:
        checker = check.Checker([runtime], wrong)
        checker.check(content, "int8", dense=True)
        outcome, = checker.check(content, "int8", dense=False)
    assert not outcome.passed


@pytest.mark.parametrize(
    "output, reference, expected",
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 3.0], [1.0, 2.0], 0.5),
        ([np.nan, 2.0], [1.0, 2.0], math.inf),
        ([np.inf, 2.0], [np.inf, 2.0], 0.0),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([1e-9, 0.0], [0.0, 0.0], math.inf),
        ([1.0], [1.0, 2.0], math.inf),
    ],
)
def test_relative_error(output, reference, expected):
    found = check.relative_error([np.array(output)], [np.array(reference)])
    assert found == expected


def test_a_missing_output_is_wrong():
    assert check.relative_error([], [np.ones(1)]) == math.inf


@pytest.mark.slow
def test_benchmark_times_every_file_beside_the_first(content, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    files = {"path": path} | {f"bytes {i}": content for i in range(4)}
    found = export.benchmark(files, seconds=0.01)
    assert list(found.timings) == list(files)
    assert found.speedups["path"] == 1.0
    for timing in found.timings.values():
        assert 0 < timing.low <= timing.median <= timing.high
        assert timing.number >= 9
    assert found.table().row_count == 5
    assert found.to_dict()["runtime"] == NAME


@pytest.mark.slow
def test_cold_calls_are_measured(content):
    found = export.benchmark({"a": content}, seconds=0.001, cold=True)
    assert found.timings["a"].median > 0


@pytest.mark.parametrize("files", [{}, [], "m.tflite"])
def test_benchmark_needs_files(files):
    with pytest.raises(ValueError, match="files"):
        export.benchmark(files)


def test_random_inputs_are_tokens_where_they_are_integers():
    found = latency.random_array(np.random.default_rng(0), (50,), "int32")
    assert found.dtype == "int32" and set(found) == {0, 1}


def test_exports_share_the_children_that_are_kept():
    with contextlib.ExitStack() as stack:
        with children.kept():
            found = children.started(stack, NAME)
            with contextlib.ExitStack() as other:
                assert children.started(other, NAME) is found
            pid = found._child._process.pid
            found.start()
            assert found._child._process.pid == pid
        assert found._child is None
        assert children.started(stack, NAME) is not found


def test_conversions_run_in_the_child_that_is_kept():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    with contextlib.ExitStack() as stack:
        kept = children.started(stack, children.TENSORFLOW)
        before = kept.ran
        convert.Converter(sources.open_model(model)).convert()
        assert kept.ran == before + 1
