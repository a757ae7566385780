"""How long a model of TFMOT takes to become one of Keras 3.

    python -m tests.benchmarks.migration [--quick] [--json PATH]

Five dense layers of 2236 x 2236, wrapped and saved by TFMOT in a process of
its own. What is timed is `from_tfmot` alone, without imports; the best of
several, since other processes only add to it.
"""

import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import time

import tf_lottery as tfl
from tests.benchmarks import harness

_MAKE = """
import sys
import tensorflow_model_optimization as tfmot
import tf_keras
width, layers = map(int, sys.argv[2:])
model = tf_keras.Sequential(
    [tf_keras.layers.Input((width,))]
    + [tf_keras.layers.Dense(width) for _ in range(layers)])
model = tfmot.sparsity.keras.prune_low_magnitude(model)
for layer in model.layers:
    layer.pruning_step.assign(1)
    for weight, mask, _ in layer.pruning_vars:
        mask.assign(layer.pruning_obj._maybe_update_block_mask(weight)[1])
model.save(sys.argv[1] + ".h5")
model.save(sys.argv[1] + ".keras")
"""


def main():
    args = harness.parser(__doc__).parse_args()
    width, repetitions = (500, 1) if args.quick else (2236, 3)
    title = f"Migration of {5 * width * (width + 1):,} weights"
    if importlib.util.find_spec("tensorflow_model_optimization") is None:
        reason = "tensorflow-model-optimization is not installed"
        harness.report(title, [harness.Row("from_tfmot", reason)], args.json)
        return
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "pruned")
        command = [sys.executable, "-c", _MAKE, str(path), str(width), "5"]
        subprocess.run(command, check=True, capture_output=True)
        rows = [
            harness.Row(
                f"from_tfmot, {suffix}",
                min(run(f"{path}{suffix}") for _ in range(repetitions)),
                10.0, "s", f"{pathlib.Path(f'{path}{suffix}').stat().st_size:,}"
                " bytes",
            )
            for suffix in (".h5", ".keras")
        ]
    harness.report(title, rows, args.json)


def run(path):
    """Returns the seconds that `from_tfmot` takes."""
    start = time.perf_counter()
    model = tfl.interop.from_tfmot(path)
    seconds = time.perf_counter() - start
    masks = tfl.masks_of(model)
    if not 0.49 < sum(m.mean() for m in masks.values()) / len(masks) < 0.51:
        raise RuntimeError(f"The masks of {path} are not half ones.")
    return seconds


if __name__ == "__main__":
    main()
