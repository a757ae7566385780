"""Tickets are found under any backend of Keras, and read under another."""

import importlib.util
import json
import os
import subprocess
import sys

import keras
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
    assert found["effective"][0] == 1
    assert found["effective"][2] == tfl.paths.effective_density(
        conftest.functional(), dict(np.load(tmp_path / "masks.npz"))
    )
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


# What is computed of the same weights, in a process of any backend.
COMPUTE = """
import sys, warnings
import keras, numpy as np
import tf_lottery as tfl

model = keras.models.load_model(f"{sys.argv[1]}/model.keras")
place, shaped = sys.argv[2], tfl.structured
masks = tfl.masks_of(model)
found = {f"mask {key}": mask for key, mask in masks.items()}
for name in ("synflow", "magnitude"):
    for key, score in tfl.criteria.score(model, name).items():
        found[f"{name} {key}"] = score
for key, mask in tfl.paths.effective_masks(model).items():
    found[f"live {key}"] = mask
small = {
    "shrunk": shaped.shrink(model, plan := shaped.plan(model, ratio=0.5)),
    "compact": shaped.compact(model),
}
assert shaped.proof_of(small["shrunk"]).dtype == "float64"
x = np.random.default_rng(1).normal(size=(8, 12, 12, 3)).astype("float32")
for name, each in {"whole": model, **small}.items():
    found[f"{name} outputs"] = keras.ops.convert_to_numpy(each(x))
    for key, variable in tfl.weights.variables(each).items():
        found[f"{name} {key}"] = keras.ops.convert_to_numpy(variable)
y = model.predict(x, verbose=0).argmax(-1)
for attack in ("fgsm", "pgd"):
    reached = tfl.analysis.robustness(
        model, (x, y), (0.01, 0.1, 0.5), attack, steps=3)
    found[attack] = [reached.clean_accuracy, *reached.accuracies.values()]
dense = keras.models.load_model(f"{sys.argv[1]}/dense.keras")
y = dense.predict(x, verbose=0).argmax(-1)
result = tfl.compress(
    dense, (x, y), (x, y), max_drop=0.9, directory=f"{place}/files",
    candidates=1)
arrays, tables = tfl.files.read_arrays(f"{place}/files/tables.safetensors")
found["number"] = result.number
found["removed"] = list(result.chosen.removed.values())
found |= {f"gone {key}": array for key, array in arrays.items()}
found |= {f"errors {i}": each for i, each in enumerate(tables["errors"])}
found |= {f"costs {key}": each for key, each in tables["costs"].items()}
for key, variable in tfl.weights.variables(result.model).items():
    found[f"compressed {key}"] = keras.ops.convert_to_numpy(variable)
np.savez(f"{place}/found.npz", **found)
open(f"{place}/plan.json", "w").write(plan.to_json())
"""


def residual():
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", name="c1")(inputs)
    x = keras.layers.BatchNormalization(name="n1")(x)
    y = keras.layers.ReLU(name="r1")(x)
    y = keras.layers.Conv2D(8, 3, padding="same", name="c2")(y)
    x = keras.layers.Add(name="add")([x, y])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dense(24, "relu", name="fc")(x)
    return keras.Model(inputs, keras.layers.Dense(4, name="logits")(x))


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend",
    [pytest.param(name, marks=needs(name)) for name in OTHERS],
)
def test_every_backend_comes_to_the_same(backend, tmp_path):
    model = residual()
    model.compile("adam", conftest.loss())
    model.save(tmp_path / "dense.keras")
    tfl.prune(model, 0.95, scope="layer")
    model.save(tmp_path / "model.keras")
    found = {}
    for name in ("tensorflow", backend):
        (tmp_path / name).mkdir()
        done = subprocess.run(
            [sys.executable, "-c", COMPUTE, tmp_path, tmp_path / name],
            env={
                **os.environ,
                "KERAS_BACKEND": name,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
            capture_output=True, text=True, timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        with np.load(tmp_path / name / "found.npz") as arrays:
            found[name] = dict(arrays)
    here, there = found.values()
    assert here.keys() == there.keys()
    assert len(here["compact fc/bias"]) < len(here["whole fc/bias"])
    assert 0 < here["fgsm"][-1] < here["fgsm"][0] == 1 and here["number"] > 0
    for key, value in here.items():
        # Sums of squares of what differs by rounding; least squares of few
        # examples.
        most = {"errors": 1e-5, "compressed": 1e-4}.get(key.split()[0], 1e-6)
        np.testing.assert_allclose(
            value, there[key], rtol=most, atol=most, err_msg=key
        )
    plans = [(tmp_path / name / "plan.json").read_text() for name in found]
    assert plans[0] == plans[1]


def test_what_needs_tensorflow_says_so(monkeypatch):
    if conftest.BACKEND == "tensorflow":
        monkeypatch.setattr(backends, "name", lambda: "jax")
    with pytest.raises(ValueError) as raised:
        tfl.experiments.estimate(tfl.experiments.preset("lenet-digits"))
    message = str(raised.value)
    assert f"'{backends.name()}'" in message
    assert "Received" in message and "Expected: 'tensorflow'" in message


def test_unknown_backends_of_gradients_are_named(compiled, monkeypatch):
    monkeypatch.setattr(backends, "name", lambda: "openvino")
    data = np.ones((4, 10), "float32"), np.zeros(4, int)
    with pytest.raises(ValueError, match="jax.*tensorflow.*Received: 'openvi"):
        tfl.criteria.score(compiled, "snip", data)


def test_summary_tells_the_effective_density(compiled):
    tfl.prune(compiled, 0.5)
    summary = tfl.summary(compiled)
    assert 0 < summary.effective <= 0.5 and not summary.reason
