"""What of a vision transformer can go: heads, MLP units, the width.

A small pre-norm transformer of 4 x 4 patches learns CIFAR-10 at 16 x 16
pixels. Its layer normalisations are rewritten without their mean, which is
proved to change nothing, so that the width of the residual stream can shrink
as well. Then parts of it go, by several rankings, and the rest trains on.
Trainings that are in `--run` already are not repeated; the defaults take
about half an hour on two cores:

    python examples/shrink_transformer.py --run runs/transformer
"""

import argparse
import math
import pathlib

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from keras import ops
from laboratory import pages
from laboratory import runs
from tensorflow.python.framework import convert_to_constants

import tf_lottery as tfl
from tf_lottery import experiments

PARTS = {
    "heads": {"*:heads"}, "MLP": {"*_up"}, "width": {"patches"}, "all": {"*"},
}
CRITERIA = ("magnitude", "taylor", "random")
RATIOS = (0.5, 0.75)
SIZES = [
    {"width": w, "heads": h, "depth": d, "tokens": t, "mlp": m}
    for w, h, d, t, m in (
        (64, 4, 4, 16, 2), (192, 3, 6, 64, 4), (192, 3, 12, 64, 4),
        (192, 3, 12, 196, 4),
    )
]
TEXT = (
    "A vision transformer of four blocks, 64 wide, with four heads, trained "
    "on CIFAR-10 at 16 x 16 pixels and then shrunk: so much of the heads, of "
    "the units between the two dense layers of a block, of the width of the "
    "residual stream, or of every group goes, by three rankings. Accuracies "
    "on the test set in %, right after shrinking and after training on, "
    "where the transformer itself trains on as well. For the width its layer "
    "normalisations are rewritten without their mean "
    "([SliceGPT](https://arxiv.org/abs/2401.15024), section 3)."
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=pathlib.Path)
    parser.add_argument("--output-dir", type=pathlib.Path)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--trials", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--more", type=int, default=2, help="epochs, small")
    parser.add_argument("--samples", type=int, default=20000)
    parser.add_argument("--parts", nargs="+", default=[*PARTS])
    parser.add_argument("--sizes", type=int, default=4, help="to be timed")
    parser.add_argument("--criteria", nargs="+", default=CRITERIA)
    arguments = parser.parse_args()
    data = halved(experiments.load(arguments.dataset), arguments.samples)
    trainings = runs.Rows(arguments.run)
    for trial in range(arguments.trials):
        model = trained(data, trial, arguments)
        measure(trainings, model, data, trial, arguments)
    timed = [row for size in SIZES[:arguments.sizes] for row in times(size)]
    rows = [
        {
            "part": part, "removed": ratio,
            "parameters": same[0]["parameters"],
            **{
                f"{row['criterion']}, {when}": pages.Spread.of(
                    [r for r in same if r["criterion"] == row["criterion"]],
                    when,
                )
                for when in ("after", "at once") for row in same
            },
        }
        for (part, ratio), same in pages.grouped(
            trainings.rows, "part", "removed"
        ).items()
    ]
    tables = [
        pages.Table("accuracy", "Accuracy by what was removed, and how", rows),
        pages.Table("latency", "TFLite on one thread", timed),
    ]
    pages.show(*tables)
    protocol = {
        "epochs": f"{arguments.epochs}, then {arguments.more}; AdamW, 0.001 "
        "then 0.0005, batches of 128",
        "images": f"{len(data[0]):,} to train on; test set: {len(data[2]):,}, "
        "so that one standard error of 40 % is "
        f"{100 * (0.24 / len(data[2])) ** 0.5:.1f} points",
        "trials": arguments.trials,
    }
    pages.write(
        arguments.output_dir, "Shrinking a vision transformer", TEXT, tables,
        {}, protocol, {"trainings": trainings.rows},
    )


def halved(data, samples):
    """Returns images of 16 x 16, and labels, to train and to test."""
    return [
        x for images, labels in (
            (data.x_train[:samples], data.y_train[:samples]),
            (data.x_test, data.y_test),
        )
        for x in (small(images), np.ravel(labels))
    ]


def small(images):
    images = np.array(ops.image.resize(images, (16, 16), antialias=True))
    return np.broadcast_to(images, (*images.shape[:3], 3))


def transformer(width=64, heads=4, depth=4, tokens=16, mlp=2):
    side = 4 * math.isqrt(tokens)
    inputs = keras.Input((side, side, 3))
    x = layers.Conv2D(width, 4, 4, name="patches")(inputs)
    x = layers.Reshape((tokens, width))(x)
    ones = ops.ones_like(ops.reshape(inputs[:, ::4, ::4, 0], (-1, tokens)))
    places = ops.cast(ops.cumsum(ones, 1) - 1, "int32")
    x = x + layers.Embedding(tokens, width, name="places")(places)
    for i in range(depth):
        y = layers.LayerNormalization(name=f"block{i}_norm_1")(x)
        attention = layers.MultiHeadAttention(
            heads, width // heads, name=f"block{i}_attention"
        )
        x = x + attention(y, y)
        y = layers.LayerNormalization(name=f"block{i}_norm_2")(x)
        y = layers.Dense(mlp * width, "gelu", name=f"block{i}_up")(y)
        x = x + layers.Dense(width, name=f"block{i}_down")(y)
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(x))


def trained(data, trial, arguments):
    """Returns the transformer of a trial, without means."""
    path = arguments.run and arguments.run / f"transformer-{trial}.keras"
    if path is not None and path.exists():
        model = keras.models.load_model(path, compile=False)
    else:
        keras.utils.set_random_seed(trial)
        model = transformer()
        fit(model, data, 1e-3, arguments.epochs)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            model.save(path)
    return tfl.structured.centre(model)


def fit(model, data, rate, epochs):
    model.compile(
        keras.optimizers.AdamW(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(*data[:2], batch_size=128, epochs=epochs, verbose=0)


def accuracy(model, data):
    predicted = model.predict(data[2], batch_size=500, verbose=0)
    return 100 * float(np.mean(predicted.argmax(-1) == data[3]))


def measure(trainings, model, data, trial, arguments):
    """Adds the rows of a trial."""
    kinds = [("none", 0.0, "magnitude")] + [
        (part, ratio, criterion)
        for ratio in RATIOS for part in arguments.parts
        for criterion in arguments.criteria
    ]
    for part, ratio, criterion in kinds:

        def row():
            keras.utils.set_random_seed(trial)
            ratios = dict.fromkeys(PARTS.get(part, ("*",)), ratio)
            plan = tfl.structured.plan(
                model, ratio=ratios, criterion=criterion,
                data=(data[0][:512], data[1][:512]),
                loss=keras.losses.SparseCategoricalCrossentropy(
                    from_logits=True
                ),
            )
            small = tfl.structured.shrink(model, plan)
            before = accuracy(small, data)
            fit(small, data, 5e-4, arguments.more)
            return {
                "parameters": plan.after["params"], "MACs": plan.after["macs"],
                "at once": before, "after": accuracy(small, data),
                "error": tfl.structured.proof_of(small).error,
            }

        trainings.add(
            row, trial=trial, part=part, removed=ratio, criterion=criterion,
            epochs=arguments.epochs, more=arguments.more,
            samples=len(data[0]),
        )


def times(size):
    """Yields rows of how long a sample takes in TFLite, measured in turns."""
    model = tfl.structured.centre(transformer(**size))
    plans = {
        part: tfl.structured.plan(model, ratio=dict.fromkeys(PARTS[part], 0.5))
        for part in ("width", "all")
    }
    models = {"whole": model} | {
        part: tfl.structured.shrink(model, plan)
        for part, plan in plans.items()
    }
    for kind in ("float32", "int8"):
        files = {name: converted(m, kind) for name, m in models.items()}
        found = tfl.export.benchmark(files, seconds=10)
        for part, plan in plans.items():
            yield size | {
                "half of": part, "numbers": kind,
                "whole, ms": 1e3 * found.timings["whole"].median,
                "small, ms": 1e3 * found.timings[part].median,
                "speedup": found.speedups[part],
                "MACs": plan.before["macs"] / plan.after["macs"],
            }


def converted(model, kind):
    shape = [1, *model.input_shape[1:]]
    function = tf.function(model).get_concrete_function(tf.TensorSpec(shape))
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [convert_to_constants.convert_variables_to_constants_v2(function)]
    )
    if kind == "int8":
        images = np.random.default_rng(0).random((8, *shape), "float32")
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([x] for x in images)
    return converter.convert()


if __name__ == "__main__":
    main()
