"""Is pruning before training worth its data? LeNet-300-100 at 90 to 98 %.

SNIP, GraSP and SynFlow choose masks at initialisation; each is trained next to
two controls: the same masks shuffled within every layer, and magnitude
pruning after training, retrained from the same initial weights (a one-shot
lottery ticket) or from where it ended (fine-tuning). Frankle et al. 2021,
"Pruning Neural Networks at Initialization: Why Are We Missing the Mark?"
(arXiv:2009.08576) found that shuffling costs nothing, and that all of them
stay behind magnitude after training. About two minutes a seed on MNIST; the
digits that come with the package take seconds:

    python examples/prune_before_training.py --dataset mnist --seeds 3
"""

import argparse
import statistics

import keras
from rich import console
from rich import table

import tf_lottery as tfl
from tf_lottery import experiments

SPARSITIES = (0.9, 0.95, 0.98)
BEFORE = ("random", "magnitude", "snip", "grasp", "synflow")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    data = experiments.load(arguments.dataset)
    found = {}
    for seed in range(arguments.seeds):
        for row, accuracy in measure(data, arguments.epochs, seed):
            found.setdefault(row, []).append(100 * accuracy)
    show(found, arguments)


def measure(data, epochs, seed):
    """Yields (name, sparsity) and the test accuracy of each training."""
    model = experiments.models.lenet_300_100(data.image_shape, seed=seed)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    start = tfl.Ticket.of(model, ones(model))
    dense = train(start, model, data, epochs)
    trained = tfl.holding.capture(model, step=0)
    for sparsity in SPARSITIES:
        yield ("dense", sparsity), dense
        for name in BEFORE:
            start.apply(model)
            criterion = tfl.criteria.get(name)
            if name == "random":
                criterion = tfl.criteria.Random(seed)
            masks = tfl.prune(
                model, sparsity, criterion,
                data=(data.x_train[:1000], data.y_train[:1000]),
            )
            ticket = tfl.Ticket(masks, start.snapshot)
            yield (name, sparsity), train(ticket, model, data, epochs)
            shuffled = tfl.controls.shuffle_masks(ticket, seed)
            yield (
                (f"{name}, shuffled", sparsity),
                train(shuffled, model, data, epochs),
            )
        tfl.holding.rewind(model, trained, start.masks)
        masks = tfl.prune(model, sparsity, "magnitude")
        for name, snapshot in (
            ("after training, rewound", start.snapshot),
            ("after training, fine-tuned", trained),
        ):
            ticket = tfl.Ticket(masks, snapshot)
            yield (name, sparsity), train(ticket, model, data, epochs)


def ones(model):
    return tfl.constraints.current_masks(tfl.weights.prunable(model))


def train(ticket, model, data, epochs):
    ticket.apply(model)
    keras.utils.set_random_seed(0)
    model.fit(
        data.x_train, data.y_train, batch_size=128, epochs=epochs, verbose=0
    )
    return model.evaluate(
        data.x_test, data.y_test, batch_size=1000, verbose=0
    )[1]


def show(found, arguments):
    shown = table.Table(
        title=f"LeNet-300-100 on {arguments.dataset}: test accuracy in %, "
        f"{arguments.epochs} epochs, seeds: {arguments.seeds}"
    )
    shown.add_column("masks")
    for sparsity in SPARSITIES:
        shown.add_column(f"{sparsity:.0%} pruned", justify="right")
    for name in dict.fromkeys(name for name, _ in found):
        cells = []
        for sparsity in SPARSITIES:
            values = found[name, sparsity]
            cell = f"{statistics.mean(values):.2f}"
            if len(values) > 1:
                cell += f" ± {statistics.stdev(values):.2f}"
            cells.append(cell)
        shown.add_row(name, *cells)
    console.Console(width=76).print(shown)


if __name__ == "__main__":
    main()
