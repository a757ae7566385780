"""The small diffs of CONTRIBUTING.md apply, and do what they say."""

import os
import re
import shutil
import subprocess
import sys

import pytest

import tests

DIFFS = re.compile(r"^```diff\n(.*?)^```$", re.MULTILINE | re.DOTALL)
USE = """
import keras

import tf_lottery as tfl
from tf_lottery.commands import parsers

model = keras.Sequential([
    keras.Input((32,)), keras.layers.Dense(8, name="fc"),
    keras.layers.RandomBrightness(0.1), keras.layers.Dense(4)])
assert tfl.graph.trace(model).units == 8
tfl.prune(model, 0.5, criterion="centred", pattern="lanes")
assert abs(tfl.masks.density(tfl.masks_of(model)) - 0.5) < 0.2
assert tfl.export.targets.get("exact").dtypes == ("float32",)
preset = tfl.experiments.preset(
    "lenet-mnist-short", dataset="digits", iterations=20, evaluate_every=10,
    rounds=1, trials=1, control_trials=0)
tfl.experiments.run(preset, "run")
finding, paths = tfl.experiments.analyze("silent", "run")
assert finding.rows[0]["silent"] == 0
parsers.make().parse_args(["analyze", "silent", "run"])
parsers.make().parse_args(["export", "model.keras", "--target", "exact"])
"""


@pytest.mark.slow
def test_the_examples_are_complete(tmp_path):
    shutil.copytree(
        tests.ROOT / "tf_lottery", tmp_path / "tf_lottery",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    page = (tests.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    changes = "".join(DIFFS.findall(page))
    applied = subprocess.run(
        ["git", "apply"], input=changes, cwd=tmp_path, text=True,
        capture_output=True,
    )
    assert applied.returncode == 0, applied.stderr
    used = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, text=True,
        capture_output=True, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert used.returncode == 0, used.stderr[-3000:]
