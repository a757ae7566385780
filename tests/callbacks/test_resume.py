"""A run that is killed ends as one that is not."""

import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading

import pytest

import tests
from tests import conftest
from tests.callbacks import kill_harness

VOLATILE = ("statuses", "events")
SCENARIOS, KILLS = list(kill_harness.SCENARIOS), 5
QUICK = ("callbacks",)
if conftest.BACKEND != "tensorflow":
    # Every child of JAX compiles for seconds.
    SCENARIOS, KILLS = ["adam", "every_round", "learning_rate"], 2


@pytest.fixture(scope="module", autouse=True)
def one_harness():
    """Serves all tests, which else would wait for imports."""
    yield
    if _process.cache_info().currsize:
        _process().kill()
        _process().communicate()
        _process.cache_clear()


@functools.cache
def _process():
    return subprocess.Popen(
        [sys.executable, "-m", kill_harness.__name__],
        cwd=tests.ROOT, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def harness(jobs):
    process, found = _process(), []
    timer = threading.Timer(1800, process.kill)
    timer.start()
    for job in jobs:
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        found.append(json.loads(process.stdout.readline()))
    timer.cancel()
    return found


@functools.cache
def undisturbed(name):
    (found,) = harness([{"name": name}])
    return found


def outcome(found):
    assert "error" not in found, found["error"]
    return {k: v for k, v in found.items() if k not in VOLATILE}


def kills_of(name, count, seed):
    """Moments to die at, each counted from the start of a child."""
    events = undisturbed(name)["events"]
    rng = random.Random(seed)
    return [rng.randint(1, events // 2) for _ in range(count)]


def assert_survives(jobs):
    killed = 0
    for job, found in zip(jobs, harness(jobs), strict=True):
        assert outcome(found) == outcome(undisturbed(job["name"])), job
        killed += found["statuses"].count(signal.SIGKILL)
    return killed


@pytest.mark.parametrize("name", conftest.slow_but(QUICK, SCENARIOS))
def test_killed_at_random_moments(name):
    kills = kills_of(name, KILLS, SCENARIOS.index(name))
    assert assert_survives([{"name": name, "kills": kills}]) >= 0.7 * KILLS


@pytest.mark.slow
@conftest.tensorflow_only("elsewhere the scenarios are few")
def test_killed_at_200_random_moments():
    jobs = [
        {"name": name, "kills": kills_of(name, 5, 100 * repeat + seed)}
        for repeat in range(5)
        for seed, name in enumerate(SCENARIOS)
    ]
    assert assert_survives(jobs) >= 200


@pytest.mark.parametrize(
    "sig", conftest.slow_but(["SIGINT"], ["SIGINT", "SIGTERM", "SIGHUP"])
)
def test_signals_end_the_run_wherever_they_come(sig):
    jobs = [
        {"name": name, "kills": [30, 45], "signal": sig}
        for name in ("adam", "every_round")
    ]
    for job, found in zip(jobs, harness(jobs)):
        assert outcome(found) == outcome(undisturbed(job["name"]))
        ended = 130 << 8 if sig == "SIGINT" else getattr(signal, sig)
        assert found["statuses"] == [ended, ended, 0]


@pytest.mark.slow
def test_finished_and_extended_runs(tmp_path):
    run = str(tmp_path / "run")
    first, again, longer, fresh = harness(
        [
            {"name": "late", "rounds": 1, "directory": run},
            {"name": "late", "rounds": 1, "directory": run},
            {"name": "late", "rounds": 2, "directory": run},
            {"name": "late", "rounds": 2},
        ]
    )
    assert outcome(again) == outcome(first)
    assert again["events"] < first["events"] / 3
    assert outcome(longer) == outcome(fresh)


@pytest.mark.slow
def test_second_process_is_refused_until_the_first_is_killed(tmp_path):
    """The lock goes with the process, however it ends."""
    run = tmp_path / "run"
    run.mkdir()
    holder = (
        "import sys, time; from tf_lottery.files import locks; "
        "lock = locks.Lock(sys.argv[1]); lock.acquire(); "
        "print('held', flush=True); time.sleep(600)"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", holder, run / "lock"], stdout=subprocess.PIPE
    )
    assert first.stdout.readline() == b"held\n"
    (refused,) = harness([{"name": "adam", "directory": str(run)}])
    first.kill()
    first.wait()
    first.stdout.close()
    (found,) = harness([{"name": "adam", "directory": str(run)}])
    assert refused["error"].startswith("InUseError")
    assert str(run) in refused["error"]
    assert outcome(found) == outcome(undisturbed("adam"))


@pytest.mark.slow
def test_another_configuration_is_refused(tmp_path):
    run = str(tmp_path / "run")
    _, other, same = harness(
        [
            {"name": "adam", "directory": run},
            {"name": "schedule", "directory": run},
            {"name": "adam", "directory": run},
        ]
    )
    assert other["error"].startswith("ValueError")
    assert "CosineDecay" in other["error"] and "rewind_to" in other["error"]
    assert outcome(same) == outcome(undisturbed("adam"))


@pytest.fixture(scope="module")
def half_a_run(tmp_path_factory):
    """A run directory as a kill in round 1 leaves it."""
    directory = tmp_path_factory.mktemp("half") / "run"
    events = undisturbed("learning_rate")["events"]
    jobs = [{"name": "learning_rate", "directory": str(directory)}]
    script = (
        "import sys; from tests.callbacks import kill_harness; "
        "print(kill_harness.child('learning_rate', sys.argv[1], 2, "
        "int(sys.argv[2]))[0])"
    )
    for at in (events // 2,):
        subprocess.run(
            [sys.executable, "-c", script, directory, str(at)],
            cwd=tests.ROOT, check=True, capture_output=True,
        )
    assert jobs and (directory / "rounds" / "01").exists()
    return directory


def damaged_copies(directory, target):
    """Copies of a directory, each with one file damaged in one way."""
    for path in sorted(directory.rglob("*")):
        if path.is_dir() or not path.stat().st_size:
            continue
        content = path.read_bytes()
        middle = len(content) // 2
        for kind, data in {
            "truncated": content[:middle],
            "empty": b"",
            "flipped": content[:middle]
            + bytes([content[middle] ^ 4])
            + content[middle + 1:],
        }.items():
            name = path.relative_to(directory)
            copy = target / f"{str(name).replace(os.sep, '-')}-{kind}"
            shutil.copytree(directory, copy)
            (copy / name).write_bytes(data)
            yield name, copy


@pytest.mark.slow
def test_any_damaged_file_is_survived_or_named(half_a_run, tmp_path):
    """Never a wrong result: the right one, or an error that names a file."""
    cases = list(damaged_copies(half_a_run, tmp_path))
    found = harness(
        [{"name": "learning_rate", "directory": str(c)} for _, c in cases]
    )
    expected = outcome(undisturbed("learning_rate"))
    survived = 0
    for (name, copy), result in zip(cases, found, strict=True):
        if "error" in result:
            assert "state" not in name.name, result["error"]
            assert str(copy) in result["error"], result["error"]
            assert any(
                word in result["error"] for word in ("damaged", "another run")
            )
        else:
            assert outcome(result) == expected, name
            survived += 1
    assert survived >= 6 and len(cases) >= 15


@pytest.mark.slow
def test_both_states_damaged_names_them(half_a_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(half_a_run, copy)
    states = sorted(copy.glob("state-*"))
    assert len(states) == 2
    for path in states:
        path.write_bytes(path.read_bytes()[:-3])
    (found,) = harness([{"name": "learning_rate", "directory": str(copy)}])
    assert "DamagedFileError" in found["error"]
    assert all(str(path) in found["error"] for path in states)
