"""Does the order of the data decide where a training ends?

Frankle, Dziugaite, Roy and Carbin 2020, "Linear Mode Connectivity and the
Lottery Ticket Hypothesis" (arXiv:1912.05671): two trainings from the same
weights, whose data come in different orders, are stable if the error on the
line between them is nowhere more than 2 points above that of its ends. LeNet
on MNIST is stable from initialisation, and so are its tickets; larger
networks become so after some steps. Compared are the dense network, the
ticket and random masks, from initialisation and from `--rewind`. Statistics
of batch normalisation are estimated anew at every point. Five minutes:

    python examples/linear_connectivity.py --output-dir linear
    python examples/linear_connectivity.py --preset resnet20-cifar10-low
"""

import argparse

from laboratory import pages
from laboratory import runs

from tf_lottery import analysis
from tf_lottery import controls
from tf_lottery.report import charts

TEXT = (
    "Instability of Frankle et al. 2020, "
    "[arXiv:1912.05671](https://arxiv.org/abs/1912.05671): two trainings from "
    "the same weights with different orders of the data, and the error on "
    "the line between them. The barrier is the highest error less the mean of "
    "both ends, in points; below 2 the two are stable. The paper finds LeNet "
    "on MNIST, and its tickets, stable from initialisation."
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    runs.add_arguments(parser, rounds=10)
    parser.add_argument("--rewind", type=int, default=500, metavar="STEP")
    parser.add_argument("--points", type=int, default=30)
    parser.add_argument(
        "--examples", type=int, default=10_000, help="of each set"
    )
    arguments = parser.parse_args()
    if arguments.run is None and arguments.iterations is None:
        arguments.iterations = 5000
    with runs.found(
        arguments, compare=(), rewind_to=0,
        also_rewind_to=(f"{arguments.rewind}it",),
    ) as subject:
        bench = subject.bench(0, arguments.iterations)
        found = {}
        for name, ticket in networks(subject, arguments.rounds):
            found[name] = between(bench, ticket, arguments)
    table = pages.Table(
        "barriers", "On the line between two trainings; errors in points",
        [{"network": name, **row} for name, (row, _) in found.items()],
    )
    pages.show(table)
    lines = {name: connected for name, (_, connected) in found.items()}
    pages.write(
        arguments.output_dir,
        f"Linear connectivity: {subject.preset.name}",
        TEXT,
        [table],
        {"line": chart(lines)},
        runs.protocol(subject.preset, arguments),
        {"line": points(lines)},
    )


def networks(subject, number):
    """Yields the name and the start of what is trained twice."""
    preset = subject.preset
    for step in (preset.rewind_step, *preset.other_rewind_steps):
        ticket = subject.ticket(0, number, step)
        dense = subject.ticket(0, 0, step)
        for name, start in (
            ("dense", dense),
            (f"ticket, {ticket.density:.1%}", ticket),
            ("random masks", controls.random_masks(ticket, preset.seed)),
        ):
            yield f"{name}, from step {step}", start


def between(bench, ticket, arguments):
    """Trains a ticket on two orders of the data; returns what is between."""
    ends = []
    for order in (1, 2):
        bench.retrain(ticket, order)
        ends.append(bench.weights())
    data, first = bench.data, slice(arguments.examples)
    found = analysis.linear_connectivity(
        bench.model,
        *ends,
        {
            "train": (data.x_train[first], data.y_train[first]),
            "test": (data.x_test[first], data.y_test[first]),
        },
        points=arguments.points,
    )
    errors = found.errors["test"]
    return {
        "density, %": 100 * ticket.density,
        "test error of both": 50 * (errors[0] + errors[-1]),
        "barrier, train": 100 * found.barriers["train"],
        "barrier, test": 100 * found.barriers["test"],
        "barrier of the loss, test": found.loss_barriers["test"],
        "stable": "yes" if found.stable else "no",
        "L2": analysis.stability(*ends, ticket.masks).distance,
    }, found


def chart(lines):
    """Returns the test errors of all networks as one chart."""
    return charts.lines(
        "Test error between two trainings", "fraction of the way",
        "error (%)",
        [
            {"series": name, "x": fraction, "y": 100 * error}
            for name, found in lines.items()
            for fraction, error in zip(found.fractions, found.errors["test"])
        ],
    )


def points(lines):
    return [
        {
            "network": name, "fraction": fraction,
            "train error": found.errors["train"][i],
            "test error": found.errors["test"][i],
            "train loss": found.losses["train"][i],
            "test loss": found.losses["test"][i],
        }
        for name, found in lines.items()
        for i, fraction in enumerate(found.fractions)
    ]


if __name__ == "__main__":
    main()
