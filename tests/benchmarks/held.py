r"""What holding masks costs in training: CPU time against dense `fit`.

    python -m tests.benchmarks.held [--quick] \
        [--json PATH] [--only {lenet,conv,tfmot}]
    KERAS_BACKEND=torch python -m tests.benchmarks.held --short

Every figure is the median of paired ratios of the process' CPU time over
whole `fit` calls, all variants in turn in one process. `dense again` is the
same as `dense`: what it differs from 1 is noise. TensorFlow Model
Optimization is measured against dense tf_keras in a process of its own, as
it needs the retired Keras 2 (`python -m tests.benchmarks.peers tfmot`).
`--short` takes less than three minutes under every backend of Keras.
"""

import functools

import keras
import numpy as np

import tf_lottery as tfl
from tests.benchmarks import harness
from tests.benchmarks import models
from tests.benchmarks import peers


def main():
    parser = harness.parser(__doc__)
    parser.add_argument(
        "--only", choices=("lenet", "conv", "tfmot"), help="a part of it"
    )
    parser.add_argument(
        "--short", action="store_true", help="LeNet and Conv-2, few steps"
    )
    args = parser.parse_args()
    rows = short() if args.short else []
    if args.short:
        args.only = "short"
    if args.only in (None, "lenet"):
        rows += lenet(args.quick)
    if args.only in (None, "conv"):
        rows += conv(args.quick)
    if args.only in (None, "tfmot"):
        rows += tfmot(args.quick)
    harness.report("Training with masks held, CPU time", rows, args.json)


def short():
    """What trains on arrays, whatever the backend."""
    rows = []
    for name, make, shape, batch_size, steps, blocks in (
        ("LeNet-300-100", models.lenet, (784,), 128, 40, 5),
        ("Conv-2", functools.partial(models.conv, 64), (32, 32, 3), 32, 2, 4),
    ):
        x, y = models.random_data(shape, steps * batch_size)
        rows += _rows(
            f"{name}, {keras.backend.backend()}", make,
            Batches(x, y, batch_size), "auto", 1.03, (blocks, 2),
            with_ones=False,
        )
    return rows


class Batches(keras.utils.PyDataset):
    """The same batches of arrays under every backend."""

    def __init__(self, x, y, batch_size):
        super().__init__()
        self.x, self.y, self.batch_size = x, y, batch_size

    @property
    def num_batches(self):
        return len(self.x) // self.batch_size

    def __getitem__(self, index):
        part = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return self.x[part], self.y[part]


def lenet(quick, jits=(False, True), with_ones=True):
    """LeNet-300-100, Adam, batch 128, `fit` of 400 steps."""
    x, y = models.random_data((784,), 40 * 128)
    data = models.cached(x, y, 128, 400)
    rows = []
    for jit in jits:
        rows += _rows(
            f"LeNet-300-100{', jit' if jit else ''}",
            models.lenet, data, jit, 1.02 if jit else 1.05,
            (2, 2) if quick else (6, 2), with_ones,
        )
    return rows


def conv(quick):
    """Convolutional nets, Adam, few steps."""
    rows = []
    for name, widths, batch_size, steps in (
        ("Conv-2, batch 32", (64,), 32, 12),
        ("Conv-6, batch 64", (64, 128, 256), 64, 3),
    ):
        x, y = models.random_data((32, 32, 3), 3 * batch_size)
        data = models.cached(x, y, batch_size, steps)
        rows += _rows(
            name, functools.partial(models.conv, *widths), data, False, 1.01,
            (1, 3) if quick else (3, 3), with_ones=False,
        )
    return rows


def tfmot(quick):
    """The peer, in a process of its own."""
    reason = peers.why_not("tfmot")
    if reason:
        return [harness.Row("TFMOT", "skipped", note=reason)]
    found = peers.run("tfmot", "tfmot_peer", 1 if quick else 4, 3)
    times = found["times"]
    return [
        harness.ratio_row(times, name, "dense", what=f"{name} / tf_keras")
        for name in times if name != "dense"
    ] + [
        harness.Row(what, size, unit="kB")
        for what, size in found["kilobytes"].items()
    ]


def _rows(name, make, data, jit, target, sizes, with_ones=True):
    held = {"dense": None, "dense again": None, "20 % kept": 0.2}
    if with_ones:
        held["all kept"] = 1.0
    times = harness.interleaved(
        {
            variant: functools.partial(_fit, make, data, jit, density)
            for variant, density in held.items()
        },
        *sizes,
    )
    targets = {"20 % kept": target}
    return [
        harness.ratio_row(
            times, variant, "dense", targets.get(variant),
            what=f"{name}: {variant} / dense",
        )
        for variant in held if variant != "dense"
    ]


def _fit(make, data, jit, density):
    """Returns a function that trains a new model for one epoch."""
    model = make()
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit,
    )
    if density is not None:
        _hold(model, density)
    return lambda: model.fit(data, verbose=0, shuffle=False)


def _hold(model, density):
    if density < 1:
        tfl.prune(model, sparsity=1 - density)
        return
    kernels = tfl.criteria.score(model)
    tfl.hold(model, {k: np.ones(s.shape, bool) for k, s in kernels.items()})


if __name__ == "__main__":
    main()
