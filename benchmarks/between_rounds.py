"""What happens between two rounds: seconds and memory for 25 M weights.

    python -m benchmarks.between_rounds [--quick] [--json PATH]

A `fit` of one step a round with `IterativeMagnitudePruning`, on 24 layers of
1024 x 1024 weights. Measured is all from the moment before the callback sees
the end of a round's last epoch to the moment after it has begun the next
round: check of the weights, scores, selection, masks, rewinding, saving.
Memory is the peak of the resident set over that at the start, as a multiple
of the weights' bytes.
"""

import statistics
import tempfile

import keras
import numpy as np

import tf_lottery as tfl
from benchmarks import harness

_WIDTH = 1024
_LAYERS = 24


def main():
    args = harness.parser(__doc__).parse_args()
    rounds = 3 if args.quick else 6
    rows = []
    for name, optimizer, target in (
        ("SGD", keras.optimizers.SGD(0.1), (2.0, 1.5)),
        ("Adam", keras.optimizers.Adam(1e-3), (None, None)),
    ):
        measured = run(optimizer, rounds)
        rows += _rows(name, measured, target)
    harness.report("Between two rounds, 25.2 M weights", rows, args.json)


def run(optimizer, rounds):
    """Trains; returns a list of `harness.Usage`, one for each pruning."""
    model = _model()
    model.compile(optimizer, "mse")
    x = np.zeros((1, _WIDTH), "float32")
    with tempfile.TemporaryDirectory() as directory:
        imp = tfl.IterativeMagnitudePruning(
            rounds=rounds, epochs_per_round=1, monitor="loss",
            directory=f"{directory}/run", verbose=0,
        )
        before, after = _bracket()
        model.fit(
            x, x, epochs=imp.epochs, callbacks=[before, imp, after],
            verbose=0,
        )
    assert [round(r.density, 3) for r in imp.results] == [
        round(0.8 ** i, 3) for i in range(rounds + 1)
    ]
    return after.measured


def _model():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(_WIDTH) for _ in range(_LAYERS)]
    return keras.Sequential([keras.Input((_WIDTH,)), *layers])


def _bracket():
    """Two callbacks to put before and after the one that is measured."""
    open_blocks = []

    class Before(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            block = harness.usage()
            open_blocks.append((block, block.__enter__()))

    class After(keras.callbacks.Callback):
        measured = []

        def on_epoch_begin(self, epoch, logs=None):
            while open_blocks:
                block, usage = open_blocks.pop()
                block.__exit__(None, None, None)
                self.measured.append(usage)

    After.measured = []
    return Before(), After()


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
