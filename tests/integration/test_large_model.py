"""A model of 100 M weights: pruned, rewound and saved in bounded memory."""

import json
import subprocess
import sys

import pytest

import tests

_CHILD = """
import json
import pathlib
import resource
import sys

import keras
import numpy as np
import tensorflow as tf

import tf_lottery as tfl
from tests.benchmarks import harness

gib = 1 << 30
resource.setrlimit(resource.RLIMIT_AS, (16 * gib, 16 * gib))
layers = [keras.layers.Dense(4096, use_bias=False) for _ in range(6)]
model = keras.Sequential([keras.Input((4096,)), *layers])
model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
x = np.ones((1, 4096), "float32")
model.train_on_batch(x, x)
weights = 4 * model.count_params()
found = {"weights": weights}
for name, step in {
    "prune": lambda: tfl.prune(model, 0.8),
    "capture": lambda: globals().update(start=tfl.holding.capture(model, 0)),
    "prune on": lambda: tfl.prune(model, 0.9, scope="layer"),
    "rewind": lambda: tfl.holding.rewind(model, start),
    "save": lambda: model.save(sys.argv[1]),
}.items():
    with harness.usage() as usage:
        step()
    found[name] = usage.peak / weights
kept = tfl.masks.count(tfl.masks_of(model))
masks = [tfl.constraints.keep_of(v).mask for v in model.trainable_variables]
found["bytes a mask"] = sum(
    mask.numpy().nbytes for mask in map(tf.convert_to_tensor, masks)
) / model.count_params()
found["density"] = kept / model.count_params()
size = pathlib.Path(sys.argv[1]).stat().st_size
found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
found["file"] = size / weights
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_model_of_100_million_weights(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path / "m.keras")],
        cwd=tests.ROOT, capture_output=True, text=True,
    )
    assert not done.returncode, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["weights"] > 4e8
    assert found["density"] == pytest.approx(0.1, abs=1e-6)
    assert found["bytes a mask"] <= 1
    # Masks, scores and what is needed to choose among them, in turn.
    assert found["prune"] < 2.5, found
    assert found["rewind"] < 1.5, found
    assert found["peak"] < 12e9, found
