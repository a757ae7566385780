"""Can a ticket be had without training? SNIP and SynFlow next to rounds.

At the densities of the tickets of a run, and from the same initial weights,
masks are chosen before training: by SNIP (Lee et al. 2019, arXiv:1810.02340),
SynFlow (Tanaka et al. 2020, arXiv:2006.05467), magnitude, or at random. Each
is trained as the tickets were: as many steps on the same batches. Frankle et
al. 2021 (arXiv:2009.08576) found all of these behind magnitude after
training. With a directory of results that was interrupted, it resumes where
it was; GraSP and others join by their names:

    python examples/tickets_beside_snip.py --run runs/lenet --output-dir snip
    python examples/tickets_beside_snip.py snip grasp --iterations 5000
"""

import argparse

import numpy as np
from laboratory import pages
from laboratory import runs

import tf_lottery as tfl
from tf_lottery.analysis import run_files

CRITERIA = ("random", "magnitude", "snip", "synflow")
TEXT = (
    "Masks from before training next to tickets of iterative magnitude "
    "pruning, which take the training of all rounds before them: test "
    "accuracy at the end in %, from the same initial weights, in equal "
    "numbers of steps on the same batches. SNIP looks at {} training images; "
    "one-shot prunes once, after training. No paper has these numbers for "
    "just this network; that masks from before training stay behind is "
    "found in [arXiv:2009.08576](https://arxiv.org/abs/2009.08576)."
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("criteria", nargs="*", default=CRITERIA)
    runs.add_arguments(parser, rounds=15, choose=True)
    parser.add_argument("--examples", type=int, default=1000, help="for SNIP")
    arguments = parser.parse_args()
    trainings = runs.Rows(arguments.output_dir)
    with runs.found(arguments) as subject:
        for bench, ticket in runs.tickets(subject, arguments):
            for name in arguments.criteria if ticket.round else ():
                before_training(
                    trainings, bench, ticket, name, arguments.examples
                )
        run = run_files.read(subject.path)
    rows = trainings.rows + of_run(run, trainings.rows)
    shown = table(rows)
    pages.show(shown)
    pages.write(
        arguments.output_dir,
        f"Before training, and after: {subject.preset.name}",
        TEXT.format(f"{arguments.examples:,}"),
        [shown],
        {"accuracy": pages.against_density(rows, "accuracy")},
        runs.protocol(subject.preset, arguments),
    )


def before_training(trainings, bench, ticket, name, examples):
    """Trains a subnetwork of a ticket's density that a criterion chose."""
    model, data = bench.model, bench.data
    ones = {key: np.ones_like(mask) for key, mask in ticket.masks.items()}
    start = tfl.Ticket(ones, ticket.snapshot)

    def train():
        start.apply(model)
        criterion = tfl.criteria.get(name)
        if name == "random":
            seed = bench.seed("controls", ticket.round, 0)
            criterion = tfl.criteria.Random(seed)
        masks = tfl.prune(
            model, ticket.sparsity, criterion,
            data=(data.x_train[:examples], data.y_train[:examples]),
        )
        pruned = tfl.Ticket(masks, start.snapshot)
        return {
            "density": 100 * pruned.density,
            "accuracy": 100 * bench.retrain(pruned),
        }

    trainings.add(
        train, trial=bench.number, round=ticket.round, network=name,
        iterations=bench.preset.iterations,
    )


def of_run(run, others):
    """Returns tickets and one-shot pruning of the run, where others are."""
    found = [
        {
            "trial": row["trial"], "round": row["round"],
            "network": row.get("control", "tickets").replace("_", "-"),
            "density": 100 * row["density"],
            "accuracy": 100 * row["test_accuracy"],
        }
        for row in run.rows + run.controls
    ]
    places = pages.grouped(others, "trial", "round")
    places |= {(trial, 0): [] for trial, _ in places}
    return [
        row for row in found if (row["trial"], row["round"]) in places
        and row["network"] in ("tickets", "one-shot")
    ]


def table(rows):
    """A row for each density, a column for each way to choose masks."""
    networks = dict.fromkeys(row["network"] for row in reversed(rows))
    shown = []
    for (number,), same in pages.grouped(rows, "round").items():
        found = pages.grouped(same, "network")
        shown.append({
            "round": number,
            "density": same[0]["density"],
            **{
                name: pages.Spread.of(
                    row["accuracy"] for row in found.get((name,), ())
                )
                for name in networks
            },
        })
    return pages.Table("by_density", "Test accuracy in %", shown)


if __name__ == "__main__":
    main()
