"""What happens between two rounds: seconds and memory for 25 M weights.

    python -m tests.benchmarks.between_rounds [--quick] [--json PATH]

A `fit` of one step a round with `IterativeMagnitudePruning`, on 24 layers of
1024 x 1024 weights. Measured is all from the moment before the callback sees
the end of a round's last epoch to the moment after it has begun the next
round: check of the weights, scores, selection, masks, rewinding, saving.
Memory is the peak of the resident set over that at the start, as a multiple
of the weights' bytes.
"""

import contextlib
import statistics
import tempfile

import keras
import numpy as np

import tf_lottery as tfl
from tests.benchmarks import harness

_WIDTH = 1024
_LAYERS = 24


def main():
    args = harness.parser(__doc__).parse_args()
    rounds = 3 if args.quick else 6
    rows = []
    for name, optimizer, target in (
        ("SGD", keras.optimizers.SGD(1e-4), (2.0, 1.5)),
        ("Adam", keras.optimizers.Adam(1e-4), (None, None)),
    ):
        measured = run(optimizer, rounds)
        rows += _rows(name, measured, target)
    harness.report("Between two rounds, 25.2 M weights", rows, args.json)


def run(optimizer, rounds):
    """Trains; returns a list of `harness.Usage`, one for each pruning."""
    model = _model()
    model.compile(optimizer, "mse")
    # Noise in and out, so that no gradient or slot is zero.
    x, y = np.random.default_rng(0).standard_normal((2, 1, _WIDTH), "float32")
    with tempfile.TemporaryDirectory() as directory:
        imp = tfl.IterativeMagnitudePruning(
            rounds=rounds, epochs_per_round=1, monitor="loss",
            directory=f"{directory}/run", verbose=0,
        )
        before, after = _bracket()
        model.fit(
            x, y, epochs=imp.epochs, callbacks=[before, imp, after],
            verbose=0,
        )
    if len(after.measured) != rounds:
        raise RuntimeError(f"{len(after.measured)} prunings, not {rounds}")
    return after.measured


def _model():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(_WIDTH) for _ in range(_LAYERS)]
    return keras.Sequential([keras.Input((_WIDTH,)), *layers])


def _bracket():
    """Two callbacks to put before and after the one that is measured."""
    blocks = contextlib.ExitStack()

    class Before(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            after.measured.append(blocks.enter_context(harness.usage()))

    class After(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            blocks.close()

        def on_train_end(self, logs=None):
            # After the last round nothing is pruned.
            blocks.close()
            self.measured.pop()

    after = After()
    after.measured = []
    return Before(), after


def _rows(name, measured, target):
    seconds, multiple = target
    weights = 4 * _LAYERS * _WIDTH**2
    peaks = [usage.peak / weights for usage in measured]
    walls = [usage.wall for usage in measured]
    return [
        harness.Row(
            f"{name}: wall", statistics.median(walls), seconds, "s",
            f"median of {len(walls)}, {min(walls):.2f} to {max(walls):.2f}",
        ),
        harness.Row(
            f"{name}: CPU", statistics.median(u.cpu for u in measured),
            None, "s",
        ),
        harness.Row(
            f"{name}: peak extra memory / weights", max(peaks), multiple,
            "x", f"highest of {len(peaks)}, {measured[0].how}",
        ),
    ]


if __name__ == "__main__":
    main()
