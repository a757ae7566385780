"""Tickets are found under any backend of Keras, and read under another."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import tf_lottery as tfl
from tests import conftest
from tf_lottery.utils import backends

OTHERS = ("jax", "torch")
# Rounds of `fit` on arrays, in a process that has no TensorFlow.
TRAIN = """
import sys

sys.modules["tensorflow"] = None
import json, keras, numpy as np
from tests import conftest
import tf_lottery as tfl

run = sys.argv[1]
rng = np.random.default_rng(0)
x = rng.normal(size=(96, 10)).astype("float32")
y = np.argmax(x @ rng.normal(size=(10, 4)), axis=1)
model = conftest.functional()
model.compile(
    keras.optimizers.Adam(0.01), conftest.loss(), metrics=["accuracy"])
imp = tfl.IterativeMagnitudePruning(
    rounds=2, epochs_per_round=2, rate=0.5, rewind_to="3it",
    monitor="accuracy", directory=f"{run}/run", verbose=1)
ends = conftest.BatchEnds()
model.fit(x, y, batch_size=16, epochs=imp.epochs, callbacks=[imp, ends],
          verbose=0)
imp.ticket(2).save(f"{run}/found.ticket")
np.savez(f"{run}/masks.npz", **tfl.masks_of(model))
np.savez(f"{run}/start.npz", **imp.ticket(2).snapshot.weights)
json.dump({
    "revived": ends.revived, "seen": ends.seen, "densities": ends.densities,
    "effective": [result.effective_density for result in imp.results],
}, open(f"{run}/found.json", "w"))
"""


def needs(backend):
    return pytest.mark.skipif(
        importlib.util.find_spec(backend) is None,
        reason=f"no {backend} (pip install tf_lottery[{backend}])",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend",
    [pytest.param(name, marks=needs(name)) for name in OTHERS],
)
def test_tickets_found_without_tensorflow_are_read_here(backend, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", TRAIN, tmp_path],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["revived"] == 0 and found["seen"] > 0
    assert found["densities"][0] == 1
    assert found["densities"][-1] == pytest.approx(0.25, abs=0.01)
    assert found["effective"] == [None] * 3
    assert done.stdout.count("effective density is not known") == 1
    assert (tmp_path / "run" / "results.csv").read_text().count("\n") == 4
    ticket = tfl.Ticket.load(tmp_path / "found.ticket")
    assert ticket.snapshot.step == 3
    masks = np.load(tmp_path / "masks.npz")
    assert sorted(ticket.masks) == sorted(masks)
    model = conftest.functional()
    model.compile("adam", conftest.loss())
    ticket.apply(model)
    start = np.load(tmp_path / "start.npz")
    variables = tfl.weights.variables(model)
    for key, mask in tfl.masks_of(model).items():
        np.testing.assert_array_equal(mask, masks[key])
        np.testing.assert_array_equal(
            variables[key].numpy(), np.where(mask, start[key], 0)
        )


def refused(model):
    return {
        "shrink": lambda: tfl.structured.shrink(model, None),
        "compact": lambda: tfl.structured.compact(model),
        "export": lambda: tfl.export.tflite(model, "m.tflite"),
        "paths": lambda: tfl.paths.effective_density(model),
    }


@pytest.mark.parametrize("what", refused(None))
def test_what_needs_tensorflow_says_so(what, compiled, monkeypatch):
    if conftest.BACKEND == "tensorflow":
        monkeypatch.setattr(backends, "name", lambda: "jax")
        monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with pytest.raises(ValueError) as raised:
        refused(compiled)[what]()
    message = str(raised.value)
    assert f"'{backends.name()}'" in message
    assert "Received" in message and "Expected: 'tensorflow'" in message


def test_unknown_backends_of_gradients_are_named(compiled, monkeypatch):
    monkeypatch.setattr(backends, "name", lambda: "openvino")
    data = np.ones((4, 10), "float32"), np.zeros(4, int)
    with pytest.raises(ValueError, match="jax.*tensorflow.*Received: 'openvi"):
        tfl.criteria.score(compiled, "snip", data)


def test_summary_says_why_the_effective_density_is_missing(compiled):
    tfl.prune(compiled, 0.5)
    summary = tfl.summary(compiled)
    if conftest.BACKEND == "tensorflow":
        assert summary.effective is not None and not summary.reason
    else:
        assert summary.effective is None
        assert conftest.BACKEND in summary.reason
        assert "n/a" in str(summary)
