"""What a trained ticket is as a file."""

import pathlib
import tempfile

from tf_lottery import export

# What suits an objective, unless the user has said how to export.
_TARGETS = {"bytes": "flash", "latency": "auto"}


def measure(model, kind, arguments=None):
    """Exports a model; returns what its file takes.

    Args:
        model: `keras.Model`.
        kind: `"bytes"` or `"latency"`.
        arguments: Dict of arguments of `tf_lottery.export.tflite`. Defaults
            to the target that suits `kind`.

    Returns:
        Dict of floats: `bytes`, `compressed`, and `latency` in milliseconds
        if it is asked for.
    """
    arguments = {
        "target": _TARGETS[kind],
        "seconds": 0.5 if kind == "latency" else 0,
        **(arguments or {}),
    }
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "model.tflite")
        report = export.tflite(model, path, **arguments)
    found = {
        "bytes": float(report.nbytes),
        "compressed": float(report.compressed),
    }
    if kind == "latency":
        found["latency"] = 1e3 * report.shipped.timing.median
    return found
