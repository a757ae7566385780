"""How small does `tfl.compress` make a network, next to what is usual?

Networks are trained, and made smaller until their int8 files lose one point
of accuracy on validation examples: by `tfl.compress`, and by three recipes
whose one number, the sparsity, is searched in the same way: magnitude at one
sparsity in every layer, magnitude over all layers, and channels at one ratio.
All see the same calibration examples and renew the statistics of batch
normalisation. With `--epochs` every file tried is trained as long after
pruning, from the learning rate of the network down to zero, and a schedule
that prunes in the course of that training, the one of TensorFlow Model
Optimization's guide, joins in; without it nothing is trained further. The
accuracy is then that of the file on examples that nothing was chosen on. A
directory of results that was interrupted resumes where it was:

    python examples/compress_networks.py --output-dir smaller
    python examples/compress_networks.py --networks lenet_300_100 --epochs 2
"""

import argparse
import functools
import pathlib
import statistics
import tempfile

import keras
import numpy as np
import tensorflow as tf
from laboratory import pages
from laboratory import runs

import tf_lottery as tfl
from tf_lottery import experiments
from tf_lottery import files
from tf_lottery.compression import search
from tf_lottery.export import children

# Data, epochs, learning rate and batch size.
NETWORKS = {
    "lenet_300_100": ("mnist", 12, 1.2e-3, 60),
    "resnet_20_narrow": ("cifar10_16x16", 14, 3e-3, 128),
    "lenet_300_100 on digits": ("digits", 12, 1.2e-3, 60),
}
TEXT = (
    "The smallest int8 file, after `gzip -9`, that loses at most {:g} points "
    "of accuracy on the validation examples, and what it reaches on held-out "
    "examples that nothing was chosen on. Every file tried was trained {} "
    "after pruning."
)
SAMPLES, BATCH = 1024, 128


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, metavar="NAME",
        default=["lenet_300_100", "resnet_20_narrow"],
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[3],
        help="how many, for all networks or for each; default: 3",
    )
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument(
        "--epochs", type=int, default=0,
        help="of training after pruning, for every file tried; default: 0",
    )
    parser.add_argument("--max-drop", type=float, default=0.01)
    parser.add_argument(
        "--keep", type=pathlib.Path, metavar="DIR",
        help="where trained networks and files are kept; default: nowhere",
    )
    parser.add_argument("--output-dir", type=pathlib.Path, metavar="DIR")
    arguments = parser.parse_args()
    rows = runs.Rows(arguments.output_dir)
    seeds = arguments.seeds
    if len(seeds) == 1:
        seeds = seeds * len(arguments.networks)
    numbers = dict(zip(arguments.networks, seeds, strict=True))
    with tempfile.TemporaryDirectory() as place, children.kept():
        keep = arguments.keep or pathlib.Path(place)
        for seed in range(max(seeds)):
            for name in arguments.networks:
                if seed < numbers[name]:
                    add(rows, name, seed, arguments, keep)
    shown = table(rows.rows), leads(rows.rows)
    for each in shown:
        pages.show(each)
    pages.write(
        arguments.output_dir, "Compressed networks",
        TEXT.format(100 * arguments.max_drop, "for "
                    f"{arguments.epochs} epochs" * bool(arguments.epochs)
                    or "no further"), list(shown), {},
        {
            "networks": "; ".join(
                f"{name} on {NETWORKS[name][0]}, Adam {NETWORKS[name][2]} "
                f"falling along a cosine, {NETWORKS[name][1]} epochs"
                for name in arguments.networks
            ),
            "seeds": "; ".join(
                f"{name} 0 to {number - 1}"
                for name, number in numbers.items()
            ) + ", for weights and order",
            "examples": "calibrated on "
            f"{SAMPLES:,} of the training examples; chosen on the last 5,000 "
            "of these, which training left out; held out: the 5,000 "
            "validation and the test examples of the data set",
            "files tried": f"{arguments.candidates}, by each recipe",
        },
    )


def add(rows, name, seed, arguments, keep):
    """Adds a row for each recipe of a network."""
    data, epochs = Data(NETWORKS[name][0]), arguments.epochs
    train = functools.partial(trained, name=name, data=data, epochs=epochs)
    for recipe in ("compress", *RECIPES):
        if recipe == IN_TRAINING and not epochs:
            continue
        place = f"{name}-{seed}-{recipe}" + f"-{epochs}-epochs" * bool(epochs)
        place = keep / place.replace(" ", "-")

        def measure():
            model = dense(name, seed, data, keep)
            if recipe == "compress":
                return compressed(model, data, place, arguments)
            return baseline(
                functools.partial(RECIPES[recipe], train=train), model, data,
                place, arguments,
            )

        rows.add(
            measure, network=name, seed=seed, recipe=recipe,
            max_drop=arguments.max_drop, candidates=arguments.candidates,
            epochs=epochs or None,
        )


class Data:
    """A data set in training, choosing and held-out examples."""

    def __init__(self, name):
        found = experiments.load(name)
        number = len(found.x_train) - min(5000, len(found.x_train) // 5)
        self.images = name.startswith("cifar")
        self.train = found.x_train[:number], found.y_train[:number]
        self.choose = found.x_train[number:], found.y_train[number:]
        self.held = (
            np.concatenate([found.x_val, found.x_test]),
            np.concatenate([found.y_val, found.y_test]),
        )
        chosen = np.linspace(0, number - 1, min(SAMPLES, number)).round()
        self.some = self.train[0][chosen.astype(int)]


def dense(name, seed, data, keep):
    """Returns the trained network."""
    path = keep / f"{name}-{seed}.keras"
    if path.exists():
        return keras.saving.load_model(path)
    _, epochs, rate, batch = NETWORKS[name]
    x, y = data.train
    if data.images:
        # Half the epochs of twice the examples.
        x, y = np.concatenate([x, x[:, :, ::-1]]), np.concatenate([y, y])
        epochs //= 2
    build = getattr(experiments.models, name.split()[0])
    model = build(x.shape[1:], seed=seed)
    keras.utils.set_random_seed(seed)
    compile_like(model, rate, epochs * -(-len(x) // batch))
    model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0)
    files.save_model(model, path)
    return model


def compressed(model, data, place, arguments):
    result = tfl.compress(
        model, data.train, data.choose, "size", arguments.max_drop,
        samples=SAMPLES, candidates=arguments.candidates, directory=place,
        epochs=arguments.epochs, batch_size=BATCH,
    )
    chosen, whole = result.chosen, result.candidates[0]
    return measured(
        chosen.compressed, chosen.metric, result.file, whole.compressed,
        result.reference, data,
    )


def baseline(recipe, model, data, place, arguments):
    """Searches the one number of a recipe as `compress` searches its own."""
    place.mkdir(exist_ok=True)
    found = {}

    def report(number):
        small = tfl.strip(model)
        if number:
            small = recipe(small, 1 - 0.93**number)
            tfl.recalibrate(small, data.some)
        found[number] = tfl.export.tflite(
            small, place / f"{number:03}.tflite", "size", "int8",
            data.some[:300], data.choose, seconds=0,
        )
        return found[number]

    whole = report(0)
    search.last_holding(
        lambda number: (
            whole.metric - report(number).shipped.metric <= arguments.max_drop
        ),
        20, 10, 40, arguments.candidates,
    )
    best = min(
        (
            each for each in found.values()
            if whole.metric - each.shipped.metric <= arguments.max_drop
        ),
        key=lambda each: each.compressed, default=whole,
    )
    return measured(
        best.compressed, best.shipped.metric, best.path, whole.compressed,
        whole.metric, data,
    )


def uniform(model, sparsity, train):
    tfl.prune(model, sparsity, scope="layer")
    return train(model)


def over_all(model, sparsity, train):
    tfl.prune(model, sparsity, scope="global")
    return train(model)


def channels(model, ratio, train):
    plan = tfl.structured.plan(model, ratio=ratio)
    return train(tfl.structured.shrink(model, plan))


def in_training(model, sparsity, train):
    """From half, or less, along a cubic curve, as TFMOT's guide does."""
    return train(model, lambda steps: [tfl.callbacks.GradualPruning(
        tfl.sparsity_schedules.PolynomialDecay(
            min(0.5, sparsity), sparsity, 0, steps - 1,
            frequency=min(100, max(1, steps // 10)),
        ), scope="layer",
    )])


IN_TRAINING = "magnitude in training"
RECIPES = {
    "uniform magnitude": uniform,
    "global magnitude": over_all,
    "channels at one ratio": channels,
    IN_TRAINING: in_training,
}


def trained(model, callbacks=lambda steps: (), *, name, data, epochs):
    """Trains what was pruned, as long as `compress` does."""
    if epochs:
        x, y = data.train
        steps = epochs * -(-len(x) // BATCH)
        masks = tfl.masks_of(model)
        compile_like(model, NETWORKS[name][2], steps)
        tfl.hold(model, masks)
        model.fit(
            x, y, batch_size=BATCH, epochs=epochs, verbose=0,
            callbacks=list(callbacks(steps)),
        )
    return model


def compile_like(model, rate, steps):
    """Compiles a model for a learning rate that falls to zero."""
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(rate, steps)
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def measured(nbytes, chosen, path, whole, dense, data):
    """Returns a row: what a file takes and reaches."""
    return {
        "int8 bytes": whole, "bytes": nbytes, "smaller": whole / nbytes,
        "dense, chosen on": 100 * dense, "chosen on": 100 * chosen,
        "held out": 100 * accuracy(path, *data.held),
    }


def accuracy(path, x, y):
    """Returns what a file reaches, on TensorFlow's interpreter."""
    interpreter = tf.lite.Interpreter(str(path))
    index = interpreter.get_input_details()[0]["index"]
    hits = 0
    for start in range(0, len(x), 500):
        batch = x[start:start + 500]
        interpreter.resize_tensor_input(index, batch.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(index, batch)
        interpreter.invoke()
        outputs = interpreter.get_tensor(
            interpreter.get_output_details()[0]["index"]
        )
        hits += int((outputs.argmax(-1) == y[start:start + 500]).sum())
    return hits / len(x)


def table(rows):
    """Returns the means over the seeds."""
    found = []
    for (network, recipe), same in pages.grouped(
        rows, "network", "recipe"
    ).items():
        same = [{**row, "trial": row["seed"]} for row in same]
        found.append({
            "network": network, "recipe": recipe, **{
                name: pages.Spread.of(same, name) for name in (
                    "int8 bytes", "bytes", "smaller", "dense, chosen on",
                    "chosen on", "held out",
                )
            },
        })
    return pages.Table(
        "compressed", "Bytes after gzip, times smaller, accuracies in %",
        found,
    )


def leads(rows):
    """Returns how much smaller `compress` is than the best other recipe."""
    found = []
    for (network, seed), same in pages.grouped(
        rows, "network", "seed"
    ).items():
        taken = {row["recipe"]: row["bytes"] for row in same}
        own = taken.pop("compress")
        best = min(taken, key=taken.get)
        found.append({
            "network": network, "seed": seed, "best other recipe": best,
            "times smaller": taken[best] / own,
        })
    median = statistics.median(
        statistics.median(row["times smaller"] for row in same)
        for same in pages.grouped(found, "network").values()
    )
    return pages.Table(
        "leads", "`compress` next to the best other recipe, in bytes",
        [*found, {"network": "median of medians", "times smaller": median}],
    )


if __name__ == "__main__":
    main()
