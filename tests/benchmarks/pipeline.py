r"""What the experiments' input, evaluation and bookkeeping cost.

    TFDS_DATA_DIR=... python -m tests.benchmarks.pipeline [--quick] \
        [--json PATH]

`lenet-mnist`: 900 steps of batch 60, an epoch of 55,000 images, evaluated on
validation and test set after every 100, as a preset trains them; beside it
the same steps and evaluations in `tf.function` loops written by hand, with
the same optimizer. CPU time of all threads. ResNet-20: the time to make an
augmented batch of 128 beside the time to train on it, wall and CPU.
"""

import itertools
import pathlib
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

from tests.benchmarks import harness
from tf_lottery import experiments
from tf_lottery.experiments import bench
from tf_lottery.experiments import datasets
from tf_lottery.experiments import feeds
from tf_lottery.experiments import histories
from tf_lottery.experiments import models

_EVALUATIONS, _STEPS, _BATCH = 9, 100, 60


def main():
    args = harness.parser(__doc__).parse_args()
    blocks, repetitions = (1, 3) if args.quick else (3, 5)
    rows = _epochs(blocks, repetitions) + _inputs(10 if args.quick else 40)
    harness.report("Input and bookkeeping of experiments", rows, args.json)


def _epochs(blocks, repetitions):
    preset = experiments.preset("lenet-mnist")
    try:
        data = feeds.load(preset)
    except experiments.DatasetUnavailableError:
        return [harness.Row("MNIST", "skipped", note="no prepared data")]
    times = harness.interleaved(
        {
            "preset": lambda: _preset(preset, data),
            "by hand": lambda: _by_hand(data, True),
            "by hand, training alone": lambda: _by_hand(data, False),
        },
        blocks,
        repetitions,
    )
    middle = {
        name: harness.quartiles(found)[1] for name, found in times.items()
    }
    return [
        harness.ratio_row(
            times, "preset", "by hand", 1.3,
            "lenet-mnist epoch with evaluations / by hand",
        ),
        *(
            harness.Row(f"an epoch, {name}", seconds, unit="s")
            for name, seconds in middle.items()
        ),
    ]


def _preset(preset, data):
    found = bench.Bench(preset, data)
    path = pathlib.Path(tempfile.mkdtemp(), "history.csv")

    def epoch():
        found.fit(_EVALUATIONS, callbacks=[histories.HistoryFile(path)])

    return epoch


def _by_hand(data, evaluated):
    model = models.lenet_300_100(data.image_shape)
    optimizer = keras.optimizers.Adam(1.2e-3)
    optimizer.build(model.trainable_variables)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    x, y = tf.constant(data.x_train), tf.constant(data.y_train)

    @tf.function
    def train(order):
        for i in tf.range(_STEPS):
            images, labels = tf.gather(x, order[i]), tf.gather(y, order[i])
            with tf.GradientTape() as tape:
                value = loss(labels, model(images, training=True))
            gradients = tape.gradient(value, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)

    @tf.function
    def evaluate(images, labels):
        logits = model(images, training=False)
        hits = tf.argmax(logits, -1, "int32") == labels
        return loss(labels, logits), tf.math.count_nonzero(hits)

    parts = [
        tuple(map(tf.constant, part))
        for part in ((data.x_val, data.y_val), (data.x_test, data.y_test))
    ]
    rng = np.random.default_rng(0)

    def epoch():
        order = rng.permutation(len(data.x_train))
        order = order[:_EVALUATIONS * _STEPS * _BATCH].astype("int32")
        for indices in order.reshape(_EVALUATIONS, _STEPS, _BATCH):
            train(tf.constant(indices))
            for part in parts if evaluated else ():
                _, hits = evaluate(*part)
                hits.numpy()

    return epoch


def _inputs(steps):
    rng = np.random.default_rng(0)
    arrays = []
    for count in (10_000, 100, 100):
        arrays += [
            rng.normal(size=(count, 32, 32, 3)).astype("float32"),
            rng.integers(0, 10, count).astype("int32"),
        ]
    found = bench.Bench(
        experiments.preset("resnet20-cifar10", evaluate_every=100),
        datasets.Data("cifar10", 10, *arrays),
    )
    fed = iter(found.feed.batches.dataset)
    images, labels = next(fed)
    found.model.train_on_batch(images, labels)
    rows = []
    for kind, clock in (("wall", time.perf_counter),
                        ("CPU", time.process_time)):
        reading = _seconds(lambda: next(fed), 5 * steps, clock)
        training = _seconds(
            lambda: found.model.train_on_batch(images, labels),
            max(3, steps // 4), clock,
        )
        rows.append(
            harness.Row(
                f"ResNet-20: input / step, {kind}", reading / training, 0.1,
                "x", f"{1000 * reading:.1f} of {1000 * training:.0f} ms",
            )
        )
    return rows


def _seconds(function, count, clock):
    began = clock()
    for _ in itertools.repeat(None, count):
        function()
    return (clock() - began) / count


if __name__ == "__main__":
    main()
