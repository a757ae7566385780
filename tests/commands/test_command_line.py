"""The command line answers help and mistakes at once, and without noise."""

import argparse
import ast
import os
import pathlib
import resource
import subprocess
import sys

import pytest

import tf_lottery as tfl
from tests import conftest
from tf_lottery import criteria
from tf_lottery import distributions
from tf_lottery import experiments
from tf_lottery.commands import flags
from tf_lottery.commands import parsers
from tf_lottery.commands.parsers import analyze
from tf_lottery.commands.parsers import names
from tf_lottery.export import arguments as export_arguments
from tf_lottery.export import children
from tf_lottery.export import targets
from tf_lottery.export import vela
from tf_lottery.structured import scores

ROOT = pathlib.Path(tfl.__file__).parent.parent
HEAVY = ("tensorflow", "keras", "numpy", "ml_dtypes")
SECONDS = 0.5
# Runs a command as the console script does, and says what was imported.
SCRIPT = f"""
import atexit, sys
atexit.register(lambda: print(
    [name for name in {HEAVY!r} if name in sys.modules]))
from tf_lottery.__main__ import main
sys.exit(main())
"""


def commands(parser=None, path=()):
    """Every command as a tuple of words, with its parser."""
    parser = parser or parsers.make()
    yield path, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, one in action.choices.items():
                yield from commands(one, (*path, name))


COMMANDS = dict(commands())
HELP = [(*path, "--help") for path in COMMANDS]
HELP += [("run", "lenet-mnist", "--help"), ("--version",), ("list",)]
MISTAKES = [
    (("runn",), "Did you mean run?"),
    (("run", "lenet-mnits"), "Did you mean lenet-mnist?"),
    (("analyze", "stabilty", "runs"), "Did you mean stability?"),
    (("prune", "m.keras", "--sparsity", "0.5", "--scope", "globl"),
     "Did you mean global?"),
    (("export", "m.keras", "--data", "nothing"), "module:function"),
    (("export", "m.keras", "--input-shapes", "mel=49xten"), "write 49x10"),
    (("run", "lenet-mnist", "--rewnd-to", "3"), "Did you mean --rewind-to?"),
    (("prune", "m.keras", "--sparsity", "*=0.9,*=0.5"), "says '*' twice"),
    *(((*path, "words", "--no-such-flag"), "error: ") for path in COMMANDS),
]


def run(arguments, tmp_path, script=True):
    program = ["-m", "tf_lottery"]
    if script:
        path = tmp_path / "tf-lottery"
        path.write_text(SCRIPT)
        program = [str(path)]
    environment = {
        name: value for name, value in os.environ.items()
        if name != "TF_CPP_MIN_LOG_LEVEL"
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *program, *arguments], cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = (
        after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    )
    return done, seconds


@pytest.mark.some(3)
@pytest.mark.parametrize("script", [True, False], ids=["script", "module"])
@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_is_quick_and_quiet(arguments, script, tmp_path):
    done, seconds = run(arguments, tmp_path, script)
    assert (done.returncode, done.stderr) == (0, "")
    assert seconds <= SECONDS
    if script:
        assert ast.literal_eval(done.stdout.splitlines()[-1]) == []


@pytest.mark.parametrize("arguments, words", MISTAKES)
def test_mistakes_are_one_line(arguments, words, tmp_path):
    done, seconds = run(arguments, tmp_path)
    assert done.returncode == 2 and seconds <= SECONDS
    assert done.stderr.startswith("error: ") and words in done.stderr
    assert done.stderr.count("\n") == 1
    assert ast.literal_eval(done.stdout) == []
    assert [path.name for path in tmp_path.iterdir()] == ["tf-lottery"]


@pytest.mark.parametrize("script", [True, False], ids=["script", "module"])
@pytest.mark.some(1)
def test_a_command_has_the_whole_package_and_says_nothing(tmp_path, script):
    (tmp_path / "own.py").write_text(
        "import sys, tf_lottery\n"
        "def data():\n"
        "    tf_lottery.prune, tf_lottery.experiments.load\n"
        "    sys.exit('tensorflow' in sys.modules and 7)\n"
    )
    conftest.functional().save(tmp_path / "m.keras")
    arguments = ["prune", "m.keras", "--sparsity", "0.5", "--criterion",
                 "snip", "--data", "own:data"]
    done, _ = run(arguments, tmp_path, script)
    assert (done.returncode, done.stderr) == (7, "")


@pytest.mark.slow
def test_an_import_is_whole_whatever_the_program_is_called(tmp_path):
    """Only the command line comes in two steps: others load models."""
    path = tmp_path / "train.py"
    path.write_text("import tf_lottery; print('Ticket' in vars(tf_lottery))")
    done = subprocess.run(
        [sys.executable, str(path), "tf_lottery"], text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True,
    )
    assert done.stdout == "True\n"


def test_help_shows_defaults_and_the_values_of_a_preset(capsys):
    def shown(*arguments):
        with pytest.raises(SystemExit):
            parsers.make().parse_args([*arguments, "--help"])
        return " ".join(capsys.readouterr().out.split())

    assert "(default: magnitude)" in shown("prune")
    assert "Number of times to prune. (default: " not in shown("run")
    for name in ("lenet-digits", "resnet20-cifar10"):
        preset = experiments.PRESETS[name]
        text = shown("run", name)
        assert f"Number of times to prune. (default: {preset.rounds})" in text
        assert f"Training steps of a round. (default: {preset.iterations})" in (
            text
        )


def test_one_word_for_one_thing():
    for path, parser in COMMANDS.items():
        found = {flag for action in parser._actions
                 for flag in action.option_strings}
        assert not {"--out", "--output-directory"} & found, path
        assert not {"--output", "--output-dir"} <= found, path


def test_names_are_those_of_the_library():
    assert set(names.DATASETS) == set(experiments.LOADERS)
    assert set(names.CRITERIA) == {
        # A saved model has no earlier weights.
        criterion.name for criterion in criteria.ALL_CRITERIA
        if not criterion.needs_snapshot
    }
    assert names.SCOPES == (*distributions.SCOPES, "search")
    assert names.NORMS == scores.NORMS
    assert names.TARGETS == targets.TARGETS
    assert names.ACCELERATORS == vela.ACCELERATORS
    assert names.RUNTIMES == tuple(children.LABELS)
    assert names.ENCODINGS == export_arguments.ENCODINGS
    assert names.DTYPES == export_arguments.DTYPES
    assert names.QUANTIZE == export_arguments.QUANTIZE
    from tf_lottery.analysis import findings

    assert tuple(analyze.KINDS) == findings.KINDS


def test_names_of_searches_are_those_of_the_library():
    sweeps = pytest.importorskip("tf_lottery.tuner.sweeps")
    assert names.TUNERS == sweeps.TUNERS
    assert names.TUNABLE == sweeps.TUNABLE


def test_messages_speak_flags():
    message = (
        "Argument `rewind_to` must be a multiple of evaluate_every=20 steps, "
        "as `fit` wants. Received: rewind_to='3it'"
    )
    known = {"rewind_to": "--rewind-to", "evaluate_every": "--evaluate-every"}
    assert flags.rename(message, known) == (
        "Argument --rewind-to must be a multiple of --evaluate-every=20 "
        "steps, as `fit` wants. Received: --rewind-to='3it'"
    )


def test_the_face():
    assert set(tfl.__all__) <= set(dir(tfl))
    assert set(dir(tfl)) == {
        *tfl.__all__, "__version__", "experiments", "tuner"
    }
    assert tfl.experiments is experiments
