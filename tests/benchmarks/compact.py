r"""Rounds that train what masks have left alone, against the dense round.

    TFDS_DATA_DIR=... python -m tests.benchmarks.compact [--quick] \
        [--json PATH]

CPU time of 100 steps of `lenet-mnist` and an evaluation, what it takes to
make and trace the smaller network left out: the dense network, the tickets
of the last three of 16 rounds (short ones, of which masks are made), and a
network of one unit a layer, which costs what cannot be saved. VGG-16 at a
quarter of its width, with whole channels pruned to 2 %, trains without
evaluations.
"""

import dataclasses
import functools
import pathlib
import tempfile
import time

import keras
import numpy as np

import tf_lottery as tfl
from tests.benchmarks import harness
from tf_lottery import holding
from tf_lottery.experiments import bench
from tf_lottery.experiments import compacting
from tf_lottery.experiments import datasets
from tf_lottery.experiments import feeds
from tf_lottery.experiments import models
from tf_lottery.experiments import pipeline
from tf_lottery.runs import run_directory
from tf_lottery.runs import ticket as ticket_lib
from tf_lottery.structured import standins
from tf_lottery.structured import vacancies

_ROUNDS = 16
_LAST = (14, 15, 16)


class Clock(keras.callbacks.Callback):
    """CPU seconds of each epoch but the first two, which trace."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        if epoch > 1:
            self.seconds.append(time.process_time() - self._began)


def main():
    args = harness.parser(__doc__).parse_args()
    try:
        rows = lenet(args.quick)
    except datasets.DatasetUnavailableError:
        rows = [harness.Row("LeNet-300-100 on MNIST", "skipped: no data")]
    harness.report(
        "Rounds with compact=True / dense", rows + vgg(args.quick), args.json
    )


def lenet(quick):
    """The last rounds of LeNet-300-100 on MNIST."""
    compacting._WORTH = 0
    preset = tfl.experiments.preset(
        "lenet-mnist", iterations=200 if quick else 2000, control_trials=0,
        trials=1, rounds=_ROUNDS,
    )
    with tempfile.TemporaryDirectory() as directory:
        tfl.experiments.run(preset, directory)
        files = run_directory.RunDirectory(pathlib.Path(directory, "trial-0"))
        tickets = {
            round: ticket_lib.Ticket(
                files.load_masks(round), files.load_snapshot(), round
            )
            for round in (0, *_LAST)
        }
    data = feeds.load(preset)
    small = dataclasses.replace(preset, compact=True)
    whole = bench.Bench(preset, data)
    makers = {
        "dense": functools.partial(_train, whole, tickets[0]),
        "dense again": functools.partial(_train, whole, tickets[0]),
        "one unit a layer": functools.partial(
            _train, bench.Bench(preset, data, change=_one_unit)
        ),
    }
    compacted = bench.Bench(small, data)
    for round in _LAST:
        makers[f"round {round}"] = functools.partial(
            _train, compacted, tickets[round]
        )
    times = {name: [] for name in makers}
    for _ in range(1 if quick else 4):
        for name, make in makers.items():
            times[name] += make(4 if quick else 8)
    return [
        harness.ratio_row(
            times, name, "dense", 0.6 if "round" in name else None,
            f"LeNet-300-100, {name} / dense",
        )
        for name in makers if name != "dense"
    ]


def _one_unit(model):
    return keras.Sequential([
        keras.Input(model.input_shape[1:]), keras.layers.Flatten(),
        keras.layers.Dense(1, "relu", name="fc1"),
        keras.layers.Dense(1, "relu", name="fc2"),
        keras.layers.Dense(10, name="logits"),
    ])


def _train(measured, *arguments):
    *ticket, epochs = arguments
    for found in ticket:
        found.apply(measured.model)
    clock = Clock()
    measured.fit(epochs, callbacks=[clock])
    return clock.seconds


def vgg(quick):
    """A narrow VGG-16 at 2 % of its weights, in whole channels."""
    make = {
        name: functools.partial(_vgg_step, *how)
        for name, how in {
            "dense": (None, False), "dense again": (None, False),
            "held": ("channel", False), "compact": ("channel", True),
            "compact, single weights": ("unstructured", True),
        }.items()
    }
    times = harness.interleaved(make, 1, 2 if quick else 6)
    return [
        harness.ratio_row(
            times, name, "dense", 0.5 if name == "compact" else None,
            f"VGG-16, quarter width, 2 %, {name} / dense",
        )
        for name in make if name != "dense"
    ]


def _vgg_step(pattern, compact, steps=4):
    model = _narrow()
    model.compile(
        keras.optimizers.SGD(0.05, 0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=steps,
    )
    model.optimizer.build(model.trainable_variables)
    if pattern is not None:
        tfl.prune(
            model, sparsity=0.98, scope="global", exclude=("logits",),
            pattern=pattern,
        )
    if compact:
        masks = holding.masks_of(model)
        found = vacancies.Vacancies(model, masks)
        model = standins.StandIn(model, masks, found).model
    generator = np.random.default_rng(0)
    batches = pipeline.Batches(
        generator.normal(size=(512, 32, 32, 3)).astype("float32"),
        generator.integers(0, 10, 512), 64, steps,
    )
    return lambda: model.fit(
        batches.dataset, steps_per_epoch=steps, callbacks=[batches], verbose=0,
        shuffle=False,
    )


def _narrow():
    whole = models.get("vgg_16")((32, 32, 3), 10, 0)

    def quarter(layer):
        config = layer.get_config()
        config.pop("build_config", None)
        if "filters" in config:
            config["filters"] //= 4
        return type(layer).from_config(config)

    return keras.Sequential(
        [keras.Input((32, 32, 3)), *map(quarter, whole.layers)]
    )


if __name__ == "__main__":
    main()
