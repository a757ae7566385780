"""Every example runs as a user runs it."""

import os
import subprocess
import sys

import pytest

import tests
from tests import conftest

EXAMPLES = tests.ROOT / "examples"
# What each prints, and the arguments that keep it short.
TINY = (
    "--preset", "lenet-digits", "--iterations", "40", "--rounds", "2",
    "--trials", "1",
)
EXPECTED = {
    "quickstart.py": ("Trained alone it reaches",),
    "everyday_journey.py": ("int8, ",),
    "late_rewinding.py": ("rewind_to=0.1",),
    "custom_training_loop.py": ("0 revived weights",),
    "critical_compression.py": ("3.33", "random"),
    "prune_before_training.py": ("snip, shuffled", "--epochs", "1"),
    "layer_collapse.py": (
        "not depthwise", "--networks", "ds_cnn", "--dataset", "digits",
        "--epochs", "1", "--samples", "256",
    ),
    "watch_in_tensorboard.py": (
        "sparsity/against_sparsity", "--rounds", "1", "--epochs", "1",
    ),
    "shrink_and_compact.py": ("channel", "--rounds", "2", "--epochs", "1"),
    "shrink_transformer.py": (
        "TFLite on one thread", "--dataset", "digits", "--samples", "256",
        "--epochs", "1", "--more", "1", "--parts", "width", "--sizes", "1",
        "--criteria", "magnitude",
    ),
    "mirrored_strategy.py": (
        "0 revived weights on 2 replicas, which are equal",
        "--rounds", "2", "--epochs", "1",
    ),
    "ethos_u.py": ("Each step, ethos-u55-128", "digits", "--quick"),
    "lenet_figure_3.py": ("one-shot", *TINY),
    "rewinding_matters.py": (
        "rewound to step 20", "--rewind-to", "20it", "--points", "3", *TINY,
    ),
    "cheap_tickets.py": (
        "% of the steps, tickets end", *TINY, "--rounds", "4",
    ),
    "stabilizing_table.py": ("58.6 ± 4.0", "--orders", "2", *TINY),
    "linear_connectivity.py": (
        "yes", "--points", "3", "--rewind", "20", *TINY,
    ),
    "robustness_of_tickets.py": (
        "PGD 0.1", "--choose", "2", "--examples", "50", *TINY,
    ),
    "before_training.py": (
        "synflow", "--choose", "2", "--examples", "50", *TINY,
    ),
    "level_connectivity.py": (
        "1 and 2", "--choose", "1", "2", "--points", "3", *TINY,
    ),
    "supermasks_and_signs.py": ("same sign", "--choose", "2", *TINY),
    "compress_networks.py": (
        "uniform magnitude", "--networks", "lenet_300_100 on digits",
        "--seeds", "1", "--candidates", "1", "--max-drop", "0.1",
    ),
    "tune_tickets.py": (
        "The best model keeps", "--trials", "2", "--rounds", "1",
        "--epochs", "2",
    ),
    "distributed_sweep.py": (
        "best compromises", "--workers", "1", "--trials", "1",
        "--iterations", "40", "--rounds", "1",
    ),
}
QUICK = ("quickstart.py",)
# Run by tests of their own.
ELSEWHERE = {"data_parallel_jax.py", "multi_worker_loop.py"}


def test_every_example_is_tested():
    found = {path.name for path in EXAMPLES.glob("*.py")}
    assert found == EXPECTED.keys() | ELSEWHERE


@pytest.mark.parametrize("name", conftest.slow_but(QUICK, EXPECTED))
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
