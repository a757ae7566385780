"""Runs TFMOT where it may change `tf.keras`: in a process of its own."""

import importlib.util
import pathlib
import subprocess
import sys

import pytest

installed = pytest.mark.skipif(
    not all(
        importlib.util.find_spec(name)
        for name in ("tensorflow_model_optimization", "tf_keras")
    ),
    reason="TFMOT and tf_keras are not installed (extra `tfmot` or `dev`)",
)


def run(script, directory):
    """Runs a script beside this one; returns the directory it wrote to."""
    path = pathlib.Path(__file__).with_name(script)
    ended = subprocess.run(
        [sys.executable, str(path), str(directory)],
        capture_output=True, text=True,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return directory
