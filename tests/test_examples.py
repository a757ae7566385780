"""Every example runs as a user runs it."""

import os
import pathlib
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
# What each prints, and the arguments that keep it short.
EXPECTED = {
    "quickstart.py": ("Trained alone it reaches",),
    "late_rewinding.py": ("rewind_to=0.1",),
    "custom_training_loop.py": ("0 revived weights",),
    "critical_compression.py": ("3.33", "random"),
    "prune_before_training.py": ("snip, shuffled", "--epochs", "1"),
    "shrink_and_compact.py": ("channel", "--rounds", "2", "--epochs", "1"),
}


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_example(name, tmp_path):
    words, *arguments = EXPECTED[name]
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert words in done.stdout
    assert not list(tmp_path.iterdir())
