"""`import tf_lottery` changes nothing in the process."""

import json
import os
import subprocess
import sys

import pytest

UNWANTED = (
    "tf_keras",
    "tensorflow_model_optimization",
    "keras_tuner",
    "kerastuner",
    "tensorflow_datasets",
    "matplotlib",
    "jinja2",
    "vl_convert",
    "tensorboard",
    "rich",
    "pandas",
    "requests",
)
# Runs before and after the import, in one process.
CODE = """
import json, logging, os, socket, sys, threading, warnings

def no_network(*args, **kwargs):
    raise AssertionError("a socket was opened")

import numpy as np
import tensorflow as tf
import keras

def state():
    rng = np.random.get_state()
    return {
        "environ": dict(os.environ),
        "filters": [str(f) for f in warnings.filters],
        "showwarning": str(warnings.showwarning),
        "logging": {
            name: (log.level, log.propagate, len(log.handlers),
                   len(log.filters))
            for name, log in [(None, logging.getLogger()), *sorted(
                (n, l) for n, l in logging.root.manager.loggerDict.items()
                if isinstance(l, logging.Logger)
                and not n.startswith(("tf_lottery", "asyncio"))
            )]
        },
        "disabled": logging.root.manager.disable,
        "keras": [
            keras.config.floatx(), keras.config.epsilon(),
            keras.config.image_data_format(),
            keras.config.dtype_policy().name, keras.config.backend(),
            keras.config.is_traceback_filtering_enabled(),
            keras.config.is_interactive_logging_enabled(),
        ],
        "numpy": [np.get_printoptions(), str(np.geterr()), rng[0],
                  rng[1].tolist(), rng[2]],
        "tensorflow": [
            tf.executing_eagerly(), tf.config.functions_run_eagerly(),
            tf.config.optimizer.get_jit(),
            str(tf.config.get_soft_device_placement()),
            tf.config.threading.get_inter_op_parallelism_threads(),
            tf.config.threading.get_intra_op_parallelism_threads(),
            str(tf.config.list_logical_devices()),
        ],
        "threads": threading.active_count(),
        "cwd": os.getcwd(),
        "files": sorted(os.listdir()),
        "hooks": [str(sys.excepthook), str(sys.displayhook),
                  str(sys.stdout), str(sys.meta_path), str(sys.path)],
    }

before, modules = state(), set(sys.modules)
socket.socket.connect = no_network
socket.getaddrinfo = no_network
import tf_lottery
after = state()
import json
changed = {k: [before[k], after[k]] for k in before if before[k] != after[k]}
print(json.dumps([changed, sorted(set(sys.modules) - modules)], default=str))
"""


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", CODE],
        cwd=tmp_path_factory.mktemp("empty"),
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    changed, modules = json.loads(lines[-1])
    return changed, modules, lines[:-1], done.stderr


@pytest.mark.slow
def test_the_process_is_as_it_was(process):
    assert process[0] == {}


@pytest.mark.parametrize("name", UNWANTED)
def test_nothing_unwanted_is_imported(name, process):
    tops = {module.partition(".")[0] for module in process[1]}
    assert "tf_lottery" in tops
    assert name not in tops


def test_what_is_imported_is_ours(process):
    """Nothing heavy comes along beside TensorFlow and Keras."""
    others = [m for m in process[1] if not m.startswith("tf_lottery")]
    assert len(others) < 60, others


def test_nothing_is_said(process):
    assert process[2] == []
    assert "tf_lottery" not in process[3]


def test_the_public_names():
    import tf_lottery as tfl

    for name in (
        "IterativeMagnitudePruning", "Ticket", "prune", "hold", "masks_of",
        "strip", "criteria", "controls", "layers", "optimizers", "callbacks",
        "masks", "schedules", "weights", "__version__",
    ):
        assert hasattr(tfl, name), name
    assert not [name for name in vars(tfl) if name in ("keras", "np", "tf")]
