r"""What `SparsityBoard` costs in training: CPU time against no board.

    TFDS_DATA_DIR=... python -m tests.benchmarks.tensorboard [--quick] \
        [--json PATH]

LeNet-300-100 on 60,000 images, Adam, batch 60: three epochs with 20 % of the
weights kept, and two rounds of three epochs of iterative magnitude pruning,
what comes between the rounds included. All variants in turn in one process;
every figure is the median of paired ratios. `no board again` is the same as
`no board`: what it differs from 1 is noise. `inside` is free of that: the
time in the callback's own hooks, as a part of the rest. Without prepared data
of MNIST the images are made up, which takes as long.
"""

import itertools
import pathlib
import tempfile
import time

import keras

import tf_lottery as tfl
from tests.benchmarks import harness
from tests.benchmarks import models
from tf_lottery import experiments

_EXAMPLES, _BATCH, _EPOCHS = 60_000, 60, 3


def main():
    args = harness.parser(__doc__).parse_args()
    blocks, repetitions = (1, 2) if args.quick else (3, 4)
    data = _data()
    rows = []
    for name, train in (("epochs", _epochs), ("rounds", _rounds)):
        with tempfile.TemporaryDirectory() as directory:
            rows += _compared(
                name, train, data, pathlib.Path(directory), blocks,
                repetitions,
            )
    harness.report("TensorBoard, CPU time", rows, args.json)


def _compared(name, train, data, directory, blocks, repetitions):
    number, boards = itertools.count(), []

    def board():
        boards.append(_Timed(directory / str(next(number))))
        return boards[-1:]

    times = harness.interleaved(
        {
            "no board": lambda: train(data, list),
            "no board again": lambda: train(data, list),
            "board": lambda: train(data, board),
        },
        blocks,
        repetitions,
    )
    found = [
        harness.ratio_row(
            times, variant, "no board", target,
            what=f"{name} of LeNet-300-100: {variant} / no board",
        )
        for variant, target in (("no board again", None), ("board", 1.03))
    ]
    shares = harness.quartiles([board.share for board in boards])
    note = f"quartiles {shares[0]:.4f} to {shares[2]:.4f}, n={len(boards)}"
    what = f"{name} of LeNet-300-100: inside / the rest"
    return [*found, harness.Row(what, shares[1], 0.03, "x", note)]


class _Timed(tfl.callbacks.SparsityBoard):
    """Measures the CPU time in its own hooks, and in the rest of `fit`."""

    def on_train_begin(self, logs=None):
        self._inside, self._began = 0.0, time.process_time()
        self._timed(super().on_train_begin, logs)

    def on_epoch_begin(self, epoch, logs=None):
        self._timed(super().on_epoch_begin, epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._timed(super().on_epoch_end, epoch, logs)

    def on_train_end(self, logs=None):
        self._timed(super().on_train_end, logs)
        total = time.process_time() - self._began
        self.share = self._inside / (total - self._inside)

    def _timed(self, hook, *args):
        began = time.process_time()
        hook(*args)
        self._inside += time.process_time() - began


def _epochs(data, make_callbacks):
    """Returns a function that trains with masks held."""
    model = _model()
    tfl.prune(model, sparsity=0.8)
    return lambda: model.fit(
        data, epochs=_EPOCHS, verbose=0, callbacks=make_callbacks()
    )


def _rounds(data, make_callbacks):
    """Returns a function that trains a dense round and a pruned one."""
    model = _model()

    def rounds():
        imp = tfl.IterativeMagnitudePruning(
            rounds=1, epochs_per_round=_EPOCHS, monitor="loss", verbose=0
        )
        model.fit(
            data, epochs=imp.epochs, verbose=0,
            callbacks=[imp, *make_callbacks()],
        )

    return rounds


def _model():
    model = models.lenet()
    model.compile(
        keras.optimizers.Adam(1.2e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def _data():
    try:
        found = experiments.load("mnist")
        x, y = found.x_train.reshape(-1, 784), found.y_train
    except experiments.DatasetUnavailableError:
        x, y = models.random_data((784,), _EXAMPLES)
    steps = _EXAMPLES // _BATCH
    return models.cached(x, y, _BATCH, steps)


if __name__ == "__main__":
    main()
