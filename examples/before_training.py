"""Masks from before training, and what is left if they are scrambled.

Frankle et al. 2021, "Pruning Neural Networks at Initialization: Why Are We
Missing the Mark?" (arXiv:2009.08576): masks that SNIP, SynFlow or magnitude
choose before training can be shuffled within each layer, and their weights
drawn anew, without a loss of accuracy; those of magnitude after training
cannot. Inverted, keeping what would go first, they should be worse than
random. At densities of a run's tickets, from the same initial weights, each
is trained as the tickets were, on the same batches. With a directory of
results that was interrupted, it resumes where it was:

    python examples/before_training.py --run runs/lenet --choose 9 15 \\
        --output-dir before-training
    python examples/before_training.py snip grasp --iterations 5000
"""

import argparse

import numpy as np
from laboratory import pages
from laboratory import runs

import tf_lottery as tfl
from tf_lottery import controls
from tf_lottery.experiments import compared_tickets

AFTER = "magnitude after training"
TICKETS = "tickets, iterative"
CHANGES = ("as found", "shuffled", "re-initialised", "inverted")
TEXT = (
    "Test accuracy at the end in %, in equal numbers of steps from the same "
    "initial weights on the same batches. Shuffled: the masks are permuted "
    "within each layer. Re-initialised: the same masks, other initial "
    "weights. Inverted: what the criterion ranks lowest is kept. SNIP looks "
    "at {:,} training images. Magnitude after training prunes the dense "
    "network once and goes back to the initial weights; tickets are those of "
    "the run, which took all its rounds. In "
    "[arXiv:2009.08576](https://arxiv.org/abs/2009.08576), on larger "
    "networks, shuffled and re-initialised masks from before training do as "
    "well as found or better, and those from after training do worse."
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "criteria", nargs="*", default=("magnitude", "snip", "synflow")
    )
    runs.add_arguments(parser, rounds=15, choose=True)
    parser.add_argument("--examples", type=int, default=1000, help="for SNIP")
    arguments = parser.parse_args()
    trainings = runs.Rows(arguments.output_dir)
    with runs.found(arguments, control_trials=1) as subject:
        for bench, ticket in runs.tickets(subject, arguments):
            if ticket.round:
                compare(trainings, subject, bench, ticket, arguments)
        rows = trainings.rows + of_run(subject.run, trainings.rows)
    shown = table(rows)
    pages.show(shown)
    pages.write(
        arguments.output_dir,
        f"Masks from before training: {subject.preset.name}",
        TEXT.format(arguments.examples),
        [shown],
        {
            change.replace(" ", "-"): pages.against_density(
                [row for row in rows if row["change"] == change], "accuracy"
            ) | {"title": f"Test accuracy (%), {change}"}
            for change in CHANGES[:2]
        },
        runs.protocol(subject, arguments),
    )


def compare(trainings, subject, bench, ticket, arguments):
    """Trains what each criterion chooses at a ticket's density, and changes.

    Args:
        trainings: `runs.Rows`.
        subject: `Subject` of the run.
        bench: `Bench` of a trial.
        ticket: `Ticket` of the run.
        arguments: Namespace.
    """
    seed = bench.seed("controls", ticket.round, 0)
    makers = {
        name: _before(bench, ticket, name, arguments.examples)
        for name in arguments.criteria
    }
    makers[AFTER] = _after(subject, bench, ticket)
    changes = {
        "as found": lambda make: make(),
        "shuffled": lambda make: controls.shuffle_masks(make(), seed),
        "re-initialised": lambda make: controls.random_reinitialize(
            make(), bench.model, seed
        ),
        "inverted": lambda make: make(invert=True),
    }
    for network, make in makers.items():
        for change, changed in changes.items():

            def train():
                pruned = changed(make)
                return {
                    "density": 100 * pruned.density,
                    "accuracy": 100 * bench.retrain(pruned),
                }

            trainings.add(
                train, trial=bench.number, round=ticket.round,
                network=network, change=change,
                iterations=bench.preset.iterations,
            )


def _before(bench, ticket, name, examples):
    """Returns a maker of what a criterion chooses before training."""
    model, data = bench.model, bench.data
    data = data.x_train[:examples], data.y_train[:examples]
    ones = {key: np.ones_like(mask) for key, mask in ticket.masks.items()}
    start = tfl.Ticket(ones, ticket.snapshot)

    def lowest(model, variables):
        scores = tfl.criteria.score(model, name, data)
        return {key: -scores[key] for key in variables}

    def make(invert=False):
        start.apply(model)
        masks = tfl.prune(
            model, ticket.sparsity, lowest if invert else name, data=data
        )
        return tfl.Ticket(masks, start.snapshot)

    return make


def _after(subject, bench, ticket):
    """Returns a maker of what one pruning of the dense network leaves."""

    def make(invert=False):
        return compared_tickets.one_shot(
            ticket, bench.model, subject.trained_dense(bench.number),
            bench.preset, invert,
        )

    return make


def of_run(run, others):
    """Returns rows of the run's tickets and controls, where others are."""
    changes = {
        None: "as found", "random_masks": "shuffled",
        "random_reinitialize": "re-initialised",
    }
    places = pages.grouped(others, "trial", "round")
    return [
        {
            "trial": row["trial"], "round": row["round"], "network": TICKETS,
            "change": changes[row.get("control")],
            "density": 100 * row["density"],
            "accuracy": 100 * row["test_accuracy"],
        }
        for row in run.rows + run.controls
        if row.get("control") in changes
        and (row["trial"], row["round"]) in places
    ]


def table(rows):
    """A row for each density and criterion, a column for each change."""
    shown = []
    for (number, network), same in pages.grouped(
        rows, "round", "network"
    ).items():
        found = pages.grouped(same, "change")
        shown.append({
            "round": number,
            "density, %": pages.Spread.of(same, "density").mean,
            "masks of": network,
            **{
                change: pages.Spread.of(found.get((change,), ()), "accuracy")
                for change in CHANGES
            },
        })
    return pages.Table("by_density", "Test accuracy in %", shown)


if __name__ == "__main__":
    main()
