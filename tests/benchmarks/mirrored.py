"""What holding masks costs under MirroredStrategy: CPU time against none.

    python -m tests.benchmarks.mirrored [--quick] [--json PATH]

Two logical CPUs, the same strategy without masks as the base. Every figure is
the median of paired ratios of the process' CPU time over whole `fit` calls,
all variants in turn in one process. `dense again` is the same as `dense`: what
it differs from 1 is noise.
"""

import functools

import keras
import tensorflow as tf

import tf_lottery as tfl
from tests.benchmarks import harness
from tests.benchmarks import models


def main():
    args = harness.parser(__doc__).parse_args()
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    x, y = models.random_data((784,), 40 * 128)
    data = models.cached(x, y, 128, 100 if args.quick else 400)
    times = harness.interleaved(
        {
            name: functools.partial(_fit, strategy, data, sparsity)
            for name, sparsity in {
                "dense": None, "dense again": None, "20 % kept": 0.8,
            }.items()
        },
        *((2, 2) if args.quick else (6, 2)),
    )
    rows = [
        harness.ratio_row(
            times, name, "dense", target,
            what=f"LeNet-300-100, 2 replicas: {name} / dense",
        )
        for name, target in {"dense again": None, "20 % kept": 1.05}.items()
    ]
    harness.report("MirroredStrategy with masks held, CPU time", rows,
                   args.json)


def _fit(strategy, data, sparsity):
    """Returns a function that trains a new model for one epoch."""
    with strategy.scope():
        model = models.lenet()
        model.compile(
            keras.optimizers.Adam(1e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
    if sparsity is not None:
        tfl.prune(model, sparsity)
    return lambda: model.fit(data, verbose=0, shuffle=False)


if __name__ == "__main__":
    main()
