"""Jobs on the command line."""

import pytest

from tf_lottery import __main__ as cli
from tf_lottery import experiments
from tf_lottery.commands import console
from tf_lottery.experiments import progress


@pytest.mark.parametrize("command, name", [
    (["run", "lenet-digits", "--output-dir", "here"], "run"),
    (["analyze", "gap", "here"], "analyze"),
])
def test_flags_are_passed_on(monkeypatch, tmp_path, command, name):
    monkeypatch.chdir(tmp_path)
    given = []

    def noted(*arguments, **options):
        given.extend(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments, name, noted)
    flags = ["--jobs", "3", "--scheduler", "tcp://host:8786"]
    assert cli.main([*command, *flags]) == 130
    assert given[-2:] == [3, "tcp://host:8786"]


@pytest.mark.parametrize("flags, words", [
    (["--jobs", "0"], "Argument --jobs must be an integer of at least 1"),
    (["--threads", "0"], "Argument --threads must be an integer of at least"),
    (["--scheduler", "host"], "Argument --scheduler must be an address such"),
])
def test_mistakes(capsys, monkeypatch, tmp_path, flags, words):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "lenet-digits", *flags]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_all_workers_are_shown():
    pulses = [
        {"key": f"trial-{i}/rounds", "host": "ab"[i % 2], "pid": i,
         "memory": 2**29 * (i + 1)}
        for i in range(5)
    ]
    assert console.workers(pulses[:1]) == (
        "1 workers, 0.5 GiB each: trial-0/rounds"
    )
    assert console.workers(pulses) == (
        "5 workers on 2 hosts, 2.5 GiB each: trial-0/rounds, trial-1/rounds, "
        "trial-2/rounds, trial-3/rounds, ..."
    )


class Told(progress.Progress):
    def __init__(self):
        self.calls = []

    def skip(self, epochs):
        self.calls.append(("skip", epochs))

    def epoch_end(self):
        self.calls.append("epoch")

    def variant_begin(self, trial, name):
        self.calls.append((trial, name))

    def round_end(self, trial, result):
        self.calls.append((trial, result.round))


def test_a_task_that_is_done_again_is_shown_once():
    """Two of five epochs, killed, gone on with after the first."""
    told = Told()
    follower = progress.Follower(told)
    result = {
        "round": 1, "density": 0.8, "densities": {}, "metrics": {},
        "steps": 10, "early_stop_step": None, "seconds": 1.0,
        "effective_density": None,
    }
    begin = ["variant_begin", 0, "lr_rewind"]
    for epochs, skipped, rounds in (
        (1, 0, []), (2, 0, []), (0, 1, []), (1, 1, []), (4, 1, [[0, result]]),
        (4, 1, [[0, result]]),
    ):
        follower.pulses([{
            "key": "a", "epochs": epochs, "skipped": skipped, "begin": begin,
            "rounds": rounds,
        }])
    assert told.calls == ["epoch"] * 5 + [(0, "lr_rewind"), (0, 1)]


def test_what_an_earlier_process_has_trained_is_skipped():
    told = Told()
    progress.Follower(told).pulses([{
        "key": "a", "epochs": 1, "skipped": 4, "begin": [], "rounds": [],
    }])
    assert told.calls == [("skip", 4), "epoch"]
