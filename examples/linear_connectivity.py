"""Does the order of the data decide where a training ends?

Frankle, Dziugaite, Roy and Carbin 2020, "Linear Mode Connectivity and the
Lottery Ticket Hypothesis" (arXiv:1912.05671): two trainings from the same
weights, whose data come in different orders, are stable if the error on the
line between them is nowhere more than 2 points above that of its ends. LeNet
on MNIST is stable from initialisation, and so are its tickets; larger
networks become so after some steps. Compared are the dense network, the
ticket and random masks, from every rewinding point of the run. Statistics of
batch normalisation are estimated anew at every point. With a directory of
results that was interrupted, it resumes where it was:

    python examples/linear_connectivity.py --run runs/lenet --round 10 \\
        --output-dir linear
    python examples/linear_connectivity.py --preset resnet20-cifar10-low
"""

import argparse

from laboratory import lines
from laboratory import pages
from laboratory import runs

from tf_lottery import analysis
from tf_lottery import controls

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
    parser.add_argument(
        "--round", type=int, help="whose tickets; default: --rounds"
    )
    parser.add_argument("--rewind", type=int, default=500, metavar="STEP")
    lines.add_arguments(parser)
    arguments = parser.parse_args()
    if arguments.run is None and arguments.iterations is None:
        arguments.iterations = 5000
    number = arguments.round or arguments.rounds
    trainings = runs.Rows(arguments.output_dir)
    with runs.found(
        arguments, compare=(), rewind_to=0,
        also_rewind_to=(f"{arguments.rewind}it",),
    ) as subject:
        for trial in subject.trials(number)[:arguments.trials]:
            bench = subject.bench(trial, arguments.iterations)
            for name, step, ticket in networks(subject, trial, number):
                trainings.add(
                    lambda: between(bench, ticket, arguments), trial=trial,
                    network=f"{name}, from step {step}", round=number,
                    iterations=bench.preset.iterations,
                )
    shown = table(trainings.rows)
    pages.show(shown)
    pages.write(
        arguments.output_dir,
        f"Linear connectivity: {subject.preset.name}",
        TEXT,
        [shown],
        {"line": lines.chart(
            "Test error between two trainings", trainings.rows, "network"
        )},
        runs.protocol(subject, arguments),
    )


def networks(subject, trial, number):
    """Yields the name and the start of what is trained twice."""
    for step in runs.points(subject):
        ticket = subject.ticket(trial, number, step)
        for name, start in (
            ("dense", subject.ticket(trial, 0, step)),
            (f"ticket, {ticket.density:.1%}", ticket),
            ("random masks", controls.random_masks(ticket, trial)),
        ):
            yield name, step, start


def between(bench, ticket, arguments):
    """Trains a ticket on two orders of the data; returns what is between."""
    ends, accuracies = [], []
    for order in (1, 2):
        accuracies.append(100 * bench.retrain(ticket, order))
        ends.append(bench.weights())
    return {
        "density": 100 * ticket.density,
        "test error of both": 100 - sum(accuracies) / 2,
        **lines.between(bench, ends, arguments),
        "L2": analysis.stability(*ends, ticket.masks).distance,
    }


def table(rows):
    measured = (
        "test error of both", "barrier, train", "barrier, test",
        "loss barrier, test", "L2",
    )
    return pages.Table(
        "barriers", "On the line between two trainings; errors in points",
        [
            {
                "network": network, "density, %": same[0]["density"],
                **{name: pages.Spread.of(same, name) for name in measured},
                "stable": lines.stable(same),
            }
            for (network,), same in pages.grouped(rows, "network").items()
        ],
    )


if __name__ == "__main__":
    main()
