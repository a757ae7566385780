"""Supermasks, and whether the signs of the initial weights are enough.

Zhou et al. 2019, "Deconstructing Lottery Tickets" (arXiv:1905.01067): a mask
is a kind of training, so that a network with its initial weights and the
masks of a ticket is far above chance before it has been trained at all,
further with one magnitude for each layer, and furthest with masks that keep
weights whose sign has not changed. And what a ticket needs of its initial
weights are their signs. The first part trains nothing; the second trains the
tickets of `--choose` from changed initial weights:

    python examples/supermasks_and_signs.py --run runs/lenet --choose 9 15 \\
        --output-dir supermask
"""

import argparse

import numpy as np
from laboratory import pages
from laboratory import runs

import tf_lottery as tfl
from tf_lottery import controls

MASKS = ("tickets", "large final", "large final, same sign", "random")
TEXT = (
    "Masks on weights that were never trained, then trained from changed "
    "initial weights; all test accuracies in %, chance is 10. Constant: every "
    "weight has the standard deviation of its layer's initial weights, with "
    "its own sign. \"Large final\" masks keep the largest weights of the "
    "dense network after training, as many of each layer as the ticket, "
    "\"same sign\" only where the sign is the initial one. In "
    "[arXiv:1905.01067](https://arxiv.org/abs/1905.01067) the best of these "
    "comes to 86 % on MNIST, untrained; trained, tickets whose initial "
    "weights are replaced do as well as long as the signs stay, and those "
    "whose signs are lost fall back."
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    runs.add_arguments(parser, rounds=15, choose=True)
    arguments = parser.parse_args()
    trainings = runs.Rows(arguments.output_dir)
    untrained = []
    with runs.found(arguments, control_trials=1) as subject:
        for trial in list(subject.results)[:arguments.trials]:
            untrained += supermasks(subject, trial)
        for bench, ticket in runs.tickets(subject, arguments):
            if ticket.round:
                train(trainings, bench, ticket)
        trained = trainings.rows + of_run(subject.run, trainings.rows)
    tables = [
        table(
            "untrained", "Supermasks: accuracy without any training",
            untrained, "masks", "values",
        ),
        table(
            "trained", "Tickets trained from other initial weights", trained,
            "signs", "magnitudes",
        ),
    ]
    pages.show(*tables)
    pages.write(
        arguments.output_dir,
        f"Supermasks and signs: {subject.preset.name}",
        TEXT,
        tables,
        {
            "untrained": pages.against_density(
                [row for row in untrained if row["values"] == "constant"],
                "accuracy", "masks",
            ) | {"title": "Accuracy of masks on signed constants, untrained"}
        },
        runs.protocol(subject, arguments),
        {"supermasks": untrained},
    )


def supermasks(subject, trial):
    """Yields a row for each ticket, kind of masks, and values under them."""
    bench, dense = subject.bench(trial), subject.trained_dense(trial)
    for number in range(1, len(subject.results[trial])):
        ticket = subject.ticket(trial, number)
        seed = bench.seed("controls", number, 0)
        for name, masked in zip(MASKS, (
            ticket,
            large_final(ticket, dense),
            large_final(ticket, dense, same_sign=True),
            controls.random_masks(ticket, seed),
        )):
            for values, start in (
                ("initial", masked), ("constant", controls.constant(masked)),
            ):
                start.apply(bench.model)
                yield {
                    "trial": trial, "round": number, "masks": name,
                    "values": values, "density": 100 * ticket.density,
                    "accuracy": 100 * bench.evaluate()["test_accuracy"],
                }


def large_final(ticket, dense, same_sign=False):
    """Returns a ticket of the largest weights after training.

    Args:
        ticket: `Ticket`, which says how many of each layer.
        dense: Dict from weight key to the weights of the dense network.
        same_sign: Boolean, whether those come last whose sign has changed.
    """
    unstructured, masks = tfl.patterns.get_pattern("unstructured"), {}
    for key, mask in ticket.masks.items():
        scores = np.abs(dense[key])
        if same_sign:
            initial = ticket.snapshot.weights[key]
            scores = np.where(
                np.sign(initial) == np.sign(dense[key]), scores, -1 - scores
            )
        masks |= unstructured.select(
            {key: scores}, {key: np.ones_like(mask)}, int(mask.sum())
        )
    return tfl.Ticket(masks, ticket.snapshot)


def train(trainings, bench, ticket):
    """Trains a ticket from initial weights of which a part is kept."""
    seed = bench.seed("controls", ticket.round, 0)
    starts = {
        ("kept", "constant"): lambda: controls.constant(ticket),
        ("kept", "new"): lambda: controls.random_reinitialize(
            ticket, bench.model, seed, signed=True
        ),
        ("kept", "reshuffled"): lambda: controls.reshuffle(
            ticket, seed, signed=True
        ),
        ("lost", "constant"): lambda: controls.constant(
            ticket, seed, signed=False
        ),
        ("lost", "reshuffled"): lambda: controls.reshuffle(ticket, seed),
    }
    for (signs, magnitudes), start in starts.items():
        trainings.add(
            lambda: {
                "density": 100 * ticket.density,
                "accuracy": 100 * bench.retrain(start()),
            },
            trial=bench.number, round=ticket.round, signs=signs,
            magnitudes=magnitudes, iterations=bench.preset.iterations,
        )


def of_run(run, others):
    """Returns rows of the run's tickets and re-initialised ones."""
    names = {
        None: ("kept", "the ticket's"), "random_reinitialize": ("lost", "new"),
    }
    places = pages.grouped(others, "trial", "round")
    return [
        {
            "trial": row["trial"], "round": row["round"],
            "signs": names[row.get("control")][0],
            "magnitudes": names[row.get("control")][1],
            "density": 100 * row["density"],
            "accuracy": 100 * row["test_accuracy"],
        }
        for row in run.rows + run.controls
        if row.get("control") in names
        and (row["trial"], row["round"]) in places
    ]


def table(name, title, rows, *kinds):
    """A row for each density, a column for each kind."""
    shown = []
    for (number,), same in pages.grouped(rows, "round").items():
        shown.append({
            "round": number,
            "density, %": pages.Spread.of(same, "density").mean,
            **{
                ", ".join(key): pages.Spread.of(found, "accuracy")
                for key, found in pages.grouped(same, *kinds).items()
            },
        })
    return pages.Table(name, f"{title} (by {' and '.join(kinds)})", shown)


if __name__ == "__main__":
    main()
