"""Runs the tests of the core under other backends of Keras.

    python -m tests.backends         # jax and torch
    python -m tests.backends jax -x  # one of them, with arguments for pytest
"""

import os
import subprocess
import sys
import time

import tests

BACKENDS = ("jax", "torch")
# What is not here is the same under all, or tests TensorFlow's own.
# Whatever of `FILES` needs it is skipped, with the reason (`-rs` shows them).
FILES = (
    "integration/test_backends.py",
    "test_controls.py",
    "analysis/test_models.py::test_fgsm_by_hand",
    "analysis/test_models.py::test_attacks_on_a_saturated_softmax_use_logits",
    "compression/test_compress.py::"
    "test_channels_alone_where_zeros_are_worth_nothing",
    "compression/test_compress.py::"
    "test_what_was_interrupted_resumes_with_the_same_bits",
    "criteria/test_backends.py",
    "criteria/test_data.py",
    "criteria/test_layerwise.py",
    "criteria/test_lookahead.py",
    "criteria/test_weights.py",
    "test_data.py",
    "integration/test_data_parallel.py",
    "test_distributions.py",
    "callbacks/test_dynamic_sparse_training.py",
    "callbacks/test_early_bird.py",
    "export/test_elsewhere.py",
    "files/test_arrays.py",
    "callbacks/test_gradual_pruning.py",
    "graph/test_functional.py",
    "graph/test_rules.py",
    "callbacks/test_iterative_magnitude_pruning.py",
    "layers/test_masked.py",
    "patterns/test_layouts.py",
    "test_masks.py",
    "optimizers/test_masked.py",
    "patterns/test_patterns.py",
    "callbacks/test_planned.py",
    "criteria/test_prune_criteria.py",
    "pruning/test_prune.py",
    "integration/test_registration.py",
    "callbacks/test_resume.py",
    "callbacks/test_round_callbacks.py",
    "test_schedules.py",
    "test_sparsity_schedules.py",
    "structured/test_compact.py",
    "structured/test_mean_squares.py",
    "structured/test_shrink.py",
    "structured/test_verify.py",
    "runs/test_ticket.py",
    "utils/test_companion.py",
    "weights/test_keys.py",
)
# JAX takes seconds to compile for a model that trains in milliseconds, so of
# parameters that differ in no code of ours that knows of the backend, some.
LEFT_OUT = (
    # Optimizers with the kinds of slots, clipping or averages of others.
    "[nesterov or [amsgrad or [nadam or [lamb or [adadelta or [adamax",
    "[adagrad or [rmsprop or [sgd or [clipnorm or [clipvalue or [ema_muon",
    "[lion or [schedule or [adamw- or [adamw] or [sgd_cosine or [adamw_p",
    # Ways to run a step, times optimizers.
    "(-eager or -steps_per) and not ([adam- or [muon- or [loss_scale-)",
    "optimizers and goes_on_alike and not ([adam] or [muon] or [ema])",
    "optimizers and fitted_before and not ([ema] or [ftrl])",
    # Criteria, times scopes.
    "test_every_criterion and erk",
    # Models that are made of the same layers as others.
    "([auto and not [auto]) or [causal or [initial or [time] or [spectral",
    # Scopes and models, times ways to rewind; data, times points.
    "test_masks_hold_nest and (layer or sequential)",
    "test_any_data_that_fit_takes and not 4it",
    # Files are written alike, whatever trains.
    "test_any_damaged_file or test_both_states or test_signals_end",
    "test_second_process or test_another_configuration",
)
# JAX has no float64 unless JAX_ENABLE_X64 is set.
LEFT_OUT_UNDER = {
    # Attention of Keras takes values as wide as keys there.
    "jax": (
        "float64", "double_precision", "test_removal_is_exact[wrapped",
        "equally_wide_under_jax",
    ),
    "torch": (),
}


def _chosen(backend):
    left_out = LEFT_OUT + LEFT_OUT_UNDER[backend]
    return " and ".join(f"not ({some})" for some in left_out)


def main():
    chosen = [name for name in sys.argv[1:] if name in BACKENDS]
    arguments = [name for name in sys.argv[1:] if name not in BACKENDS]
    failed = []
    for backend in chosen or BACKENDS:
        began = time.perf_counter()
        done = subprocess.run(
            [
                sys.executable, "-m", "pytest", "-q",
                *(f"tests/{name}" for name in FILES),
                "-k", _chosen(backend),
                *arguments,
            ],
            cwd=tests.ROOT,
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
                # For models this small, threads of torch wait for each other.
                "OMP_NUM_THREADS": "1",
            },
        )
        print(f"{backend}: {time.perf_counter() - began:.0f} s", flush=True)
        if done.returncode:
            failed.append(backend)
    sys.exit(f"Failed under: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
