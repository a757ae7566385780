"""Runs the tests of the core under other backends of Keras.

    python backends.py             # jax and torch
    python backends.py jax -x      # one of them, with arguments for pytest
"""

import os
import pathlib
import subprocess
import sys
import time

BACKENDS = ("jax", "torch")
# What is not here needs TensorFlow: its graph, its tape or TFLite.
FILES = (
    "test_backends.py",
    "test_controls.py",
    "test_criteria_backends.py",
    "test_criteria_data.py",
    "test_criteria_lookahead.py",
    "test_criteria_weights.py",
    "test_data.py",
    "test_data_parallel.py",
    "test_distributions.py",
    "test_early_bird.py",
    "test_files.py",
    "test_gradual_pruning.py",
    "test_imp.py",
    "test_layers.py",
    "test_layouts.py",
    "test_masks.py",
    "test_optimizers.py",
    "test_patterns.py",
    "test_prune_criteria.py",
    "test_pruning.py",
    "test_registration.py",
    "test_resume.py",
    "test_round_callbacks.py",
    "test_schedules.py",
    "test_sparsity_schedules.py",
    "test_ticket.py",
    "test_weights.py",
)


def main():
    chosen = [name for name in sys.argv[1:] if name in BACKENDS]
    arguments = [name for name in sys.argv[1:] if name not in BACKENDS]
    failed = []
    for backend in chosen or BACKENDS:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *FILES, *arguments],
            cwd=pathlib.Path(__file__).parent,
            env={**os.environ, "KERAS_BACKEND": backend},
        )
        print(f"{backend}: {time.perf_counter() - began:.0f} s", flush=True)
        if done.returncode:
            failed.append(backend)
    sys.exit(f"Failed under: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
