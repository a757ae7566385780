"""How far apart do two trainings of a ticket end? Row LeNet of table 1.

Frankle et al. 2019, "Stabilizing the Lottery Ticket Hypothesis"
(arXiv:1903.01611), at 10.7 % density: the distance between the whole network
and the ticket, trained on the same data in the same order ("pruning"), and
between trainings of the ticket that differ in the order ("data order"), each
next to the same of random masks. The paper's angles are those of figure 10.

The tickets of an existing run need only their own trainings, two for each
order of the data; without `--run` they are found first, in a few minutes:

    python examples/stabilizing_table.py --run runs/lenet --output-dir stable
    python examples/stabilizing_table.py --iterations 5000
"""

import argparse
import itertools

from laboratory import pages
from laboratory import runs

from tf_lottery import analysis
from tf_lottery import controls

# The paper's, of tickets and of random masks, and the ratio of the two.
PAPER = {
    "data order, L2": ("20.7 ± 0.6", "58.6 ± 4.0", "2.8"),
    "data order, degrees": ("22.7 ± 0.5", "49.2 ± 3.0", "2.2"),
    "pruning, L2": ("48.1 ± 0.6", "75.7 ± 0.5", "1.6"),
    "pruning, degrees": ("53.1", "83.6", "1.6"),
    "test accuracy, %": ("98.3 ± 0.1", "97.5 ± 0.3", None),
    "dense test accuracy, %": ("98.0 ± 0.2", None, None),
}
TEXT = (
    "Row LeNet of table 1, and the angles of figure 10, of Frankle et al. "
    "2019, [arXiv:1903.01611](https://arxiv.org/abs/1903.01611), at 10.7 % "
    "density: distances over the weights that the ticket keeps, at the end "
    "of training. Ours are means over trials, of the mean of a trial's pairs "
    "of data orders and trainings; distances grow with the length of "
    "training, the ratios say more."
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    runs.add_arguments(parser, rounds=10)
    parser.add_argument(
        "--round", type=int, help="whose tickets; default: --rounds"
    )
    parser.add_argument("--orders", type=int, default=3, help="of the data")
    arguments = parser.parse_args()
    arguments.round = arguments.round or arguments.rounds
    found = []
    with runs.found(arguments) as subject:
        for trial in subject.trials(arguments.round)[:arguments.trials]:
            found += measure(subject, trial, arguments)
    table = beside_paper(found)
    pages.show(table)
    pages.write(
        arguments.output_dir,
        f"Stability of tickets: {subject.preset.name}, round {arguments.round}",
        TEXT,
        [table],
        {},
        runs.protocol(subject, arguments) | {
            "data orders": arguments.orders
        },
        {"measured": found},
    )


def measure(subject, trial, arguments):
    """Yields a row for each number: of a training, or of two of them."""
    bench = subject.bench(trial, arguments.iterations)
    ticket = subject.ticket(trial, arguments.round)
    seed = bench.seed("controls", arguments.round, 0)
    dense, accuracy = runs.trained(subject, bench)
    yield row("dense test accuracy, %", "tickets", trial, 100 * accuracy)
    for name, network in (
        ("tickets", ticket),
        ("random masks", controls.random_masks(ticket, seed)),
    ):
        ends = []
        for order in range(arguments.orders):
            accuracy = bench.retrain(network, order)
            ends.append(bench.weights())
            yield row("test accuracy, %", name, trial, 100 * accuracy, order)
        compared = {"0 of the dense network, 0": (dense, ends[0])}
        for a, b in itertools.combinations(range(arguments.orders), 2):
            compared[f"{a}, {b}"] = ends[a], ends[b]
        for orders, (a, b) in compared.items():
            kind = "pruning" if a is dense else "data order"
            between = analysis.stability(a, b, network.masks)
            for unit, value in (
                ("L2", between.distance), ("degrees", between.angle)
            ):
                yield row(f"{kind}, {unit}", name, trial, value, orders)


def row(quantity, network, trial, value, orders=0):
    return {
        "quantity": quantity, "network": network, "trial": trial,
        "data orders": orders, "value": value,
    }


def beside_paper(found):
    def ours(quantity, network):
        return pages.Spread.of([
            row for row in found
            if (row["quantity"], row["network"]) == (quantity, network)
        ], "value")

    rows = []
    for quantity, (ticket, random, ratio) in PAPER.items():
        both = [ours(quantity, name) for name in ("tickets", "random masks")]
        rows.append({
            "": quantity,
            "ticket, paper": ticket,
            "ticket, here": both[0],
            "random masks, paper": random,
            "random masks, here": both[1],
            "ratio, paper": ratio,
            "ratio, here": ratio and both[1].mean / both[0].mean,
        })
    return pages.Table("table", "The paper's numbers and ours", rows)


if __name__ == "__main__":
    main()
