"""From a lottery ticket to a smaller model, in two ways.

Unstructured: the ticket of LeNet-300-100 is compacted round by round. What
its masks made dead (units that nothing reads or enters) is removed without a
trace, as the proof says.

Structured: the same network is pruned by whole channels over the rounds, and
all of the removed weights go. Handwritten digits; takes about a minute
(`--dataset mnist` takes longer, and VGG-16 a good while):

    python examples/shrink_and_compact.py
    python examples/shrink_and_compact.py --dataset cifar10 --model vgg_16 \
        --epochs 1 --steps 60
"""

import argparse

import keras
from rich import console
from rich import table

import tf_lottery as tfl
from tf_lottery import experiments


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--model", default="lenet_300_100")
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--steps", type=int, help="in an epoch; default: all")
    arguments = parser.parse_args()
    data = experiments.load(arguments.dataset)
    for pattern in ("unstructured", "channel"):
        model, imp = find(data, pattern, arguments)
        shown = table.Table(
            title=f"{arguments.model} on {arguments.dataset}, {pattern}"
        )
        for name in (
            "round", "density", "test", "units", "parameters", "MACs",
            "proved to",
        ):
            shown.add_column(name, justify="right")
        for result in imp.results:
            shown.add_row(*compacted(imp, result, model, data, arguments))
        console.Console(width=100).print(shown)


def find(data, pattern, arguments):
    """Returns a model and the rounds that pruned it."""
    keras.utils.set_random_seed(0)
    model = experiments.models.get(arguments.model)(
        data.image_shape, data.classes, 0
    )
    model.compile(
        keras.optimizers.SGD(arguments.rate, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    imp = tfl.IterativeMagnitudePruning(
        rounds=arguments.rounds,
        epochs_per_round=arguments.epochs,
        rate=0.35,
        pattern=pattern,
        monitor="accuracy",
        verbose=0,
    )
    fit(model, data, arguments.steps, imp.epochs, [imp])
    return model, imp


def compacted(imp, result, model, data, arguments):
    """Trains the small ticket of a round; returns a row of the table."""
    ticket = imp.ticket(result.round)
    ticket.apply(model)
    small = tfl.structured.compact(model)
    plan = tfl.structured.report_of(small).plan
    kept = sum(len(group.kept) for group in plan.groups)
    of = sum(group.size for group in plan.groups)
    fit(small, data, arguments.steps, arguments.epochs)
    accuracy = small.evaluate(
        data.x_test, data.y_test, batch_size=1000, verbose=0
    )[1]
    return (
        str(result.round),
        f"{result.density:.1%}",
        f"{accuracy:.1%}",
        f"{kept:,} of {of:,}",
        f"{plan.after['params']:,}",
        f"{plan.after['macs']:,}",
        f"{tfl.structured.proof_of(small).error:.0e}",
    )


def fit(model, data, steps, epochs, callbacks=()):
    size = len(data.x_train) if steps is None else 128 * steps
    model.fit(
        data.x_train[:size], data.y_train[:size], batch_size=128,
        epochs=epochs, callbacks=list(callbacks), verbose=0,
    )


if __name__ == "__main__":
    main()
