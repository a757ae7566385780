"""Are sparse tickets robust, and do they generalise better?

Every ticket of a few rounds is trained once more, next to the same masks from
other initial weights and random masks from its own: accuracy on clean test
images, under FGSM (Goodfellow et al. 2015, arXiv:1412.6572) and under PGD
(Madry et al. 2018, arXiv:1706.06083), and the generalisation gap, which
Frankle and Carbin (arXiv:1803.03635, section 5) found smaller in tickets.
Radii are in units of the pixels, from 0 (black) to 1 (white). With a
directory of results that was interrupted, it resumes where it was:

    python examples/robustness_of_tickets.py --run runs/lenet \
        --iterations 10000 --output-dir robust
    python examples/robustness_of_tickets.py --iterations 5000
"""

import argparse

from laboratory import pages
from laboratory import runs

from tf_lottery import analysis
from tf_lottery import controls

ATTACKS = ("FGSM", "PGD")
TEXT = (
    "Tickets and controls under attack, FGSM "
    "([arXiv:1412.6572](https://arxiv.org/abs/1412.6572)) and PGD of 10 steps "
    "from a random start "
    "([arXiv:1706.06083](https://arxiv.org/abs/1706.06083)), in the maximum "
    "norm; radii are in units of the pixels (0 to 1). The gap is accuracy on "
    "training images less that on test images. No paper's numbers are known "
    "to us for just these networks. PGD is the stronger attack and is below "
    "FGSM; where it is not, gradients are masked."
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    runs.add_arguments(parser, rounds=15, choose=True)
    parser.add_argument(
        "--radii", type=float, nargs="+", default=[0.05, 0.1]
    )
    parser.add_argument("--examples", type=int, default=2000, help="to attack")
    arguments = parser.parse_args()
    trainings = runs.Rows(arguments.output_dir)
    with runs.found(arguments) as subject:
        for bench, ticket in runs.tickets(subject, arguments):
            measure(trainings, bench, ticket, arguments)
    rows = trainings.rows
    radii = [f" {radius:g}" for radius in arguments.radii]
    attacks = [f"{name}{radius}" for name in ATTACKS for radius in radii]
    measured = ["gap", "clean", *attacks]
    shown = pages.Table(
        "by_density", "Accuracies and gap in %",
        [
            {
                "round": number, "density": same[0]["density"],
                "network": network,
                **{
                    name: pages.Spread.of(same, name) for name in measured
                },
            }
            for (number, network), same in pages.grouped(
                rows, "round", "network"
            ).items()
        ],
    )
    pages.show(shown)
    pages.write(
        arguments.output_dir,
        f"Robustness and generalisation of tickets: {subject.preset.name}",
        TEXT,
        [shown],
        {
            name.replace(" ", "-"): pages.against_density(rows, name)
            for name in ("gap", *attacks[::len(radii)])
        },
        runs.protocol(subject, arguments) | {
            "attacked": f"the first {arguments.examples:,} test images"
        },
    )


def measure(trainings, bench, ticket, arguments):
    seed = bench.seed("controls", ticket.round, 0)
    networks = {
        "tickets": ticket,
        "random re-init": controls.random_reinitialize(
            ticket, bench.model, seed
        ),
    }
    if ticket.density < 1:
        networks["random masks"] = controls.random_masks(ticket, seed)
    for name, network in networks.items():

        def train():
            bench.retrain(network)
            return {
                "density": 100 * ticket.density, **attack(bench, arguments)
            }

        trainings.add(
            train, trial=bench.number, round=ticket.round, network=name,
            iterations=bench.preset.iterations,
        )


def attack(bench, arguments):
    """Returns accuracies, and the gap, of the model as it was trained."""
    model, data = bench.model, bench.data
    gap = analysis.generalization_gap(
        model, (data.x_train, data.y_train), (data.x_test, data.y_test)
    )
    found = {"gap": 100 * gap.accuracy, "clean": 100 * gap.test.accuracy}
    first = slice(arguments.examples)
    black, white = data.x_train.min(), data.x_train.max()
    for name in ATTACKS:
        for radius in arguments.radii:
            result = analysis.robustness(
                model, (data.x_test[first], data.y_test[first]),
                radius * (white - black), name.lower(), clip=(black, white),
            )
            accuracy, = result.accuracies.values()
            found[f"{name} {radius:g}"] = 100 * accuracy
    return found


if __name__ == "__main__":
    main()
