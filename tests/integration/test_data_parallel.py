"""Several processes train one model under JAX, and hold the same masks."""

import functools
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time

import keras
import numpy as np
import pytest

import tests
import tf_lottery as tfl
from tests import conftest
from tf_lottery.runs import run_directory
from tf_lottery.utils import processes

EXAMPLE = (
    tests.ROOT / "examples" / "data_parallel_jax.py"
)
needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None,
    reason="jax is not installed (pip install tf_lottery[jax])",
)


def start(directory, rounds=2):
    return subprocess.Popen(
        [
            sys.executable, EXAMPLE, "--rounds", str(rounds), "--epochs", "2",
            "--directory", str(directory),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(EXAMPLE.parent.parent)},
        # A group of its own, to be killed with all its processes.
        start_new_session=True,
    )


def ended(process):
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]
    return output.splitlines()


@functools.cache
def undisturbed():
    with tempfile.TemporaryDirectory() as directory:
        lines = ended(start(directory))
        run = run_directory.RunDirectory(directory)
        masks = [run.load_masks(round) for round in range(3)]
        return lines, masks, run.load_results()


@pytest.mark.slow
@needs_jax
def test_two_processes_agree_and_one_writes():
    lines, masks, results = undisturbed()
    assert lines[-1] == "2 processes agree bit for bit in every round."
    assert [line.split(":")[0] for line in lines[:-1]] == [
        "round 0", "round 1", "round 2",
    ]
    digests = [line.split()[-1] for line in lines[:-1]]
    assert len(set(digests)) == 3
    densities = [tfl.masks.density(m) for m in masks]
    assert densities == pytest.approx([1, 0.7, 0.49], abs=0.001)
    assert [result.density for result in results] == densities
    for key, mask in masks[2].items():
        assert not (mask & ~masks[1][key]).any()


@needs_jax
@pytest.mark.slow
def test_a_killed_pair_ends_as_one_that_was_not(tmp_path):
    run = tmp_path / "run"
    process = start(run)
    # Somewhere in the second round.
    while not (run / "rounds" / "01").exists() and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert ended(start(run))[-2:] == undisturbed()[0][-2:]


@conftest.only("jax", because="Keras shards weights under JAX")
def test_sharded_weights_are_refused(compiled):
    mesh = keras.distribution.DeviceMesh(
        (1, 1), ["batch", "model"], keras.distribution.list_devices()[:1]
    )
    distribution = keras.distribution.ModelParallel(
        layout_map=keras.distribution.LayoutMap(mesh),
        batch_dim_name="batch",
    )
    with distribution.scope():
        with pytest.raises(ValueError, match="ModelParallel.*DataParallel"):
            tfl.prune(compiled, 0.5)


def test_a_process_that_only_reads_writes_nothing(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="process 0"):
        run_directory.RunDirectory(path, writes=False).open({"seed": 0})
    assert not path.exists()
    writer = run_directory.RunDirectory(path)
    writer.open({"seed": 0})
    masks = {"fc/kernel": np.eye(3, dtype=bool)}
    writer.save_masks(0, masks)
    writer.save_state({"a": np.arange(3)}, {"epoch": 1})
    before = {file: file.read_bytes() for file in path.rglob("*.*")}
    reader = run_directory.RunDirectory(path, writes=False)
    with pytest.raises(ValueError, match="another run"):
        reader.open({"seed": 1})
    reader.open({"seed": 0})
    arrays, position = reader.load_state()
    assert position == {"epoch": 1} and reader.saves == writer.saves == 1
    reader.save_state(arrays, {"epoch": 2})
    reader.save_masks(0, {"fc/kernel": np.ones((3, 3), bool)})
    reader.save_masks(1, masks)
    reader.save_results([])
    assert {f: f.read_bytes() for f in path.rglob("*.*")} == before
    np.testing.assert_array_equal(
        reader.load_masks(0)["fc/kernel"], masks["fc/kernel"]
    )


@pytest.fixture(params=[0, 1])
def pair(request, monkeypatch):
    """This process as one of two; the list is what the other one gives."""
    other = []
    me = request.param

    def gather(number):
        theirs = other.pop(0)
        return [number, theirs] if me == 0 else [theirs, number]

    monkeypatch.setattr(processes, "gather", gather)
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "is_first", lambda: me == 0)
    return me, other


def test_processes_take_turns(pair):
    _, other = pair
    other[:] = [0, 0]
    assert processes.in_turn(lambda: "done") == "done"
    assert not other


def test_the_failure_of_one_process_ends_all(pair):
    me, other = pair
    # The other one fails in its turn: the first, or the second.
    other[:] = [1] if me == 1 else [0, 1]
    with pytest.raises(RuntimeError, match=f"Process {1 - me} of 2 has fail"):
        processes.in_turn(lambda: "done")
    other[:] = [0, 0]
    with pytest.raises(ZeroDivisionError):
        processes.in_turn(lambda: 1 / 0)


def test_processes_that_found_different_states_all_end(pair):
    me, other = pair
    other[:] = [3, 4]
    processes.check_equal(3, "They differ.")
    with pytest.raises(RuntimeError, match=r"They differ. Received: \[.*3"):
        processes.check_equal(3, "They differ.")


def test_one_process_is_all_there_is():
    assert processes.count() == 1 and processes.is_first()
    assert processes.gather(5) == [5]
    assert processes.in_turn(lambda: "done") == "done"
