"""Runs TFMOT where it may change `tf.keras`: in a process of its own."""

import importlib.util
import subprocess
import sys

import pytest

import tests

installed = pytest.mark.skipif(
    not all(
        importlib.util.find_spec(name)
        for name in ("tensorflow_model_optimization", "tf_keras")
    ),
    reason="TFMOT and tf_keras are not installed (extra `tfmot` or `dev`)",
)


def run(script, directory):
    """Runs a script next to this one; returns the directory it wrote to."""
    ended = subprocess.run(
        [sys.executable, "-m", f"tests.interop.{script}", str(directory)],
        cwd=tests.ROOT,
        capture_output=True, text=True,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return directory
