"""Every model of `keras.applications`, shrunk to half width and proved.

    python -m tests.benchmarks.structured_applications TABLE.csv [MODEL ...]

Random weights, 96 x 96 inputs, `ratio=0.5`, `round_to=8`; then saved, loaded
and compared. One process for each model; models that the table has already
are left out, so that a run that was stopped goes on.
"""

import csv
import inspect
import pathlib
import subprocess
import sys
import tempfile
import time

import keras
import numpy as np

from tf_lottery import graph as graph_lib
from tf_lottery import structured

FIELDS = (
    "model", "groups", "units", "params_before", "params_after",
    "macs_before", "macs_after", "build_seconds", "shrink_seconds",
    "seconds", "relative_error", "weights_error", "negative_control", "dtype",
    "saved_error",
)
NAMES = tuple(sorted(
    name for name, value in vars(keras.applications).items()
    if inspect.isfunction(value)
))


def measure(name, size=96):
    """Returns the row of a model: dict of `FIELDS`."""
    start = time.perf_counter()
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3)
    )
    built = time.perf_counter()
    graph = graph_lib.trace(model)
    plan = structured.plan(model, ratio=0.5, round_to=8)
    small = structured.shrink(model, plan)
    proof = structured.proof_of(small)
    end = time.perf_counter()
    return {
        "model": name,
        "groups": len(graph.groups),
        "units": graph.units,
        "params_before": model.count_params(),
        "params_after": small.count_params(),
        "macs_before": plan.before["macs"],
        "macs_after": plan.after["macs"],
        "build_seconds": round(built - start, 2),
        "shrink_seconds": round(end - built - proof.seconds, 2),
        "seconds": round(end - start, 2),
        "relative_error": f"{proof.error:.1e}",
        "weights_error": f"{proof.weights_error:.1e}",
        "negative_control": f"{proof.control:.1e}",
        "dtype": proof.dtype,
        "saved_error": _error_after_saving(small, size),
    }


def _error_after_saving(model, size):
    inputs = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3))
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "small.keras"
        model.save(path)
        loaded = keras.saving.load_model(path)
    before = keras.ops.convert_to_numpy(model(inputs, training=False))
    after = keras.ops.convert_to_numpy(loaded(inputs, training=False))
    return float(np.abs(before - after).max())


def _main(table, names):
    done = set()
    if table.exists():
        with table.open() as file:
            done = {row["model"] for row in csv.DictReader(file)}
    for name in names or NAMES:
        if name not in done:
            command = [sys.executable, "-m", __spec__.name, str(table)]
            subprocess.run([*command, "--one", name], check=False)


def _one(table, name):
    row = measure(name)
    new = not table.exists()
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    if sys.argv[2:3] == ["--one"]:
        _one(pathlib.Path(sys.argv[1]), sys.argv[3])
    else:
        _main(pathlib.Path(sys.argv[1]), sys.argv[2:])
