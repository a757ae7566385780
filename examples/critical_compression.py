"""How far can each criterion prune before a layer is empty?

Figure 1 of the SynFlow paper (Tanaka et al. 2020, arXiv:2006.05467) without
training: VGG-16 with a head for CIFAR-100 at initialisation. The critical
compression is the largest ratio 10^a, a in steps of 0.25, at which all 14
layers keep weights; no ratio beyond 10^6.02 could leave one in each. Random,
magnitude, SNIP and GraSP are pruned in one step, SynFlow in 100.

SNIP and GraSP look at ten images of each of the 100 classes. Where CIFAR-100
is not at hand (`TFDS_DATA_DIR`), 1,000 images of CIFAR-10 take its place, or
noise with random labels; the table says which. Takes less than a minute a
seed without SynFlow, and half a minute for each ratio that SynFlow tries:

    python examples/critical_compression.py --seeds 3
"""

import argparse
import statistics
import warnings

import keras
import numpy as np
from rich import console
from rich import table

import tf_lottery as tfl
from tf_lottery import experiments

PUBLISHED = {
    "magnitude": 2.75,
    "random": 3.33,
    "snip": 3.58,
    "grasp": 3.58,
    "synflow": 5.92,
}
GRID = [step / 4 for step in range(25)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "criteria", nargs="*", default=list(PUBLISHED), metavar="CRITERION"
    )
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    found = table.Table(title="Critical compression of VGG-16, log10")
    for column in ("criterion", "here", "each seed", "published"):
        found.add_column(column, justify="right")
    data, origin = images()
    for criterion in arguments.criteria:
        ratios = [
            critical(criterion, seed, data) for seed in range(arguments.seeds)
        ]
        found.add_row(
            criterion,
            f"{statistics.mean(ratios):.2f}",
            " ".join(f"{ratio:.2f}" for ratio in ratios),
            f"{PUBLISHED[criterion]:.2f}",
        )
    found.caption = f"SNIP and GraSP looked at {origin}."
    console.Console().print(found)


def critical(criterion, seed, data):
    """Returns the largest ratio, log10, that leaves weights everywhere."""
    model = experiments.models.vgg_16((32, 32, 3), 100, seed)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if criterion == "random":
        criterion = tfl.criteria.Random(seed)
    if criterion == "synflow":
        return next(r for r in reversed(GRID) if synflow_survives(model, r))
    scores = tfl.criteria.score(model, criterion, data=data, loss=loss)
    size = sum(score.size for score in scores.values())
    alive = [
        ratio for ratio in GRID
        if survives(
            tfl.masks.select(
                scores, round(size / 10**ratio), allow_collapse=True
            )
        )
    ]
    return max(alive)


def synflow_survives(model, ratio):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    copy.compile("sgd", "mse")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Layer collapse")
        masks = tfl.prune(
            copy, 1 - 10**-ratio, criterion="synflow", collapse="warn"
        )
    return survives(masks)


def survives(masks):
    return all(mask.any() for mask in masks.values())


def images():
    """Returns 1,000 images with labels, and what they are."""
    try:
        data = experiments.load("cifar100")
    except experiments.DatasetUnavailableError:
        pass
    else:
        chosen = np.concatenate(
            [np.flatnonzero(data.y_train == n)[:10] for n in range(100)]
        )
        return (data.x_train[chosen], data.y_train[chosen]), "CIFAR-100"
    try:
        data = experiments.load("cifar10")
    except experiments.DatasetUnavailableError:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(1000, 32, 32, 3)).astype("float32")
        return (x, rng.permutation(np.arange(1000) % 100)), "noise"
    return (data.x_train[:1000], data.y_train[:1000]), "CIFAR-10"


if __name__ == "__main__":
    main()
