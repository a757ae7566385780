"""`tf-lottery sweep`: in one process, and as a chief with workers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

import tests
from tf_lottery import __main__ as cli
from tf_lottery import experiments
from tf_lottery.tuner import sweeps

TINY = [
    "sweep", "lenet-digits", "--iterations", "40", "--rounds", "1",
    "--tune", "rate=0.2:0.6", "--tune", "rewind_to=0,20it",
]
ROOT = tests.ROOT


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_sweep_goes_on(capsys, tmp_path):
    assert cli.main([*TINY, "--trials", "2"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "lenet-digits: lenet_300_100 on digits"
    assert lines[1].startswith("trial 0: rate 0.") and "density " in lines[1]
    assert "best compromises of density and val_accuracy" in out
    assert err == ""
    place = tmp_path / "runs" / "lenet-digits-sweep"
    for name in ("results.json", "results.csv", "pareto.csv", "pareto.html"):
        assert f"runs/lenet-digits-sweep/{name}" in out
        assert (place / name).stat().st_size
    first = (place / "results.csv").read_text()
    # The first trial's dense round is that of the second.
    found = [
        json.loads((place / f"trial_{i}" / "outcome.json").read_text())
        for i in range(2)
    ]
    assert [trial["shared"] for trial in found] == [False, True]
    assert cli.main([*TINY, "--trials", "2"]) == 0
    out = capsys.readouterr().out
    assert "resumes after 2 trials" in out and "trial 0:" not in out
    assert (place / "results.csv").read_text() == first


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--objective", "speed"], "'accuracy@0.1'"),
        (["--tune", "criterion=magic"], "'magnitude'"),
        (["--tune", "rewind_to=30it"], "The nearest is 40"),
        (["--tune", "rate=0.5:0.1"], "range"),
        (["--iterations", "50"], "The nearest is 40"),
    ],
)
def test_errors(capsys, tmp_path, arguments, words):
    assert cli.main(["sweep", "lenet-digits", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and words in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag, text, words", [
    ("--tuner", "grid", "hyperband"),
    ("--tune", "speed=1", "learning_rate"),
    ("--tune", "rate", "such as rate=0.1:0.5"),
    ("--tune", "rate=", "such as rate=0.1:0.5"),
    ("--tune", "rate=a:b", "'a' is not a number"),
])
def test_usage_errors(capsys, flag, text, words):
    with pytest.raises(SystemExit):
        cli.main(["sweep", "lenet-digits", flag, text])
    err = capsys.readouterr().err
    assert err.startswith(f"error: argument {flag}: ") and words in err


def test_another_sweep_is_refused(capsys, tmp_path):
    preset = experiments.preset("lenet-digits", iterations=40, rounds=1)
    sweeps.search(preset, tmp_path / "here")
    before = (tmp_path / "here" / "search.json").read_text()
    other = ["sweep", "lenet-digits", "--output-dir", "here"]
    assert cli.main([*other, "--objective", "accuracy@0.1"]) == 2
    err = capsys.readouterr().err
    assert "'density' of 'lenet-digits'" in err
    assert "'accuracy@0.1' of 'lenet-digits'" in err
    assert (tmp_path / "here" / "search.json").read_text() == before


def test_flags_fix_what_would_be_tuned(tmp_path):
    preset = experiments.preset("lenet-digits")
    space = sweeps.default_space(preset)
    assert set(space) == {"rate", "rewind_to", "learning_rate"}
    tuner = sweeps.search(preset, tmp_path / "a", tune={"rate": (0.1, 0.3)})
    assert [p.name for p in tuner.oracle.get_space().space] == ["ticket/rate"]


@pytest.mark.slow
def test_chief_and_workers_of_which_one_dies(tmp_path):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]

    def start(name):
        return subprocess.Popen(
            [
                sys.executable, "-m", "tf_lottery", *TINY, "--trials", "4",
                "--iterations", "200", "--rounds", "3", "--output-dir",
                "shared", "--worker-timeout", "8",
            ],
            env={
                **os.environ,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "PYTHONPATH": str(ROOT),
                "KERASTUNER_TUNER_ID": name,
                "KERASTUNER_ORACLE_IP": "127.0.0.1",
                "KERASTUNER_ORACLE_PORT": str(port),
            },
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )

    processes = {name: start(name) for name in ("chief", "tuner0", "tuner1")}
    try:
        _wait_for_trial(tmp_path / "shared" / "oracle.json", "tuner1")
        processes["tuner1"].send_signal(signal.SIGKILL)
        said = {
            name: processes[name].communicate(timeout=240)[0]
            for name in ("chief", "tuner0")
        }
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
            process.stdout.close()
    assert processes["chief"].returncode == 0, said["chief"]
    assert processes["tuner0"].returncode == 0, said["tuner0"]
    report = json.loads((tmp_path / "shared" / "results.json").read_text())
    statuses = [trial["status"] for trial in report["trials"]]
    assert len(statuses) == 4
    # The lost trial is run again, unless the other worker has gone by then.
    assert statuses.count("done") >= 3 and "failed" not in statuses
    assert "best compromises" in said["chief"]


def _wait_for_trial(path, worker):
    """Returns when the chief has given a trial to a worker."""
    until = time.monotonic() + 200
    while time.monotonic() < until:
        if path.exists():
            state = json.loads(path.read_text())
            if worker in state["ongoing_trials"]:
                return
        time.sleep(0.05)
    raise TimeoutError(f"'{worker}' was given no trial.")
