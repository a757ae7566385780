"""Arguments of `tf-lottery analyze`."""

from tf_lottery.commands.parsers import tables

DESCRIPTION = (
    "Analyses a run of `tf-lottery run`, whose preset says model, data and "
    "protocol. The results are written to DIR/analysis, and `tf-lottery "
    "report` shows them. Kinds that look at trained weights train tickets "
    "again, as the run did; these weights are kept, and an analysis that was "
    "interrupted resumes."
)
# What each kind measures, and the options that it takes besides `--rounds`.
KINDS = {
    "accuracy": (
        "test accuracy and early-stop step of tickets and controls", ()
    ),
    "stability": (
        "how far apart trainings of tickets end, next to random masks",
        ("orders", "masks", "seed", "budget"),
    ),
    "connectivity": (
        "error barrier between two trainings of a ticket",
        ("points", "samples", "orders", "seed", "budget"),
    ),
    "movement": (
        "how far surviving and pruned weights move in dense training",
        ("budget",),
    ),
    "overlap": (
        "what masks have in common between trials, rounds and layers", ()
    ),
    "density": ("density of each layer, and of what lies on a path", ()),
    "gap": (
        "trained tickets on training and test data", ("samples", "budget")
    ),
    "robustness": (
        "accuracy of trained tickets under FGSM and PGD",
        ("epsilon", "samples", "seed", "budget"),
    ),
    "capacity": (
        "random labels that tickets can learn by heart",
        ("samples", "epochs", "seed", "budget"),
    ),
}
_OPTIONS = {
    "samples": {
        "--samples N": "examples of each part of the data to look at "
        "(default: all; 10000 for connectivity, 1000 for robustness, 2000 for "
        "capacity)",
    },
    "epsilon": {
        "epsilons --epsilon RADII": "radii of the attacks in units of the "
        "range of the pixels (default: 0.05,0.1,0.2 for gray images, 2/255, "
        "4/255 and 8/255 for colour)",
    },
    "points": {
        "--points N": "points on the line, ends included (default: 30)",
    },
    "epochs": {"--epochs N": "epochs on the random labels (default: 20)"},
    "orders": {
        "--orders N": "orders of the data that a ticket is trained in, each "
        "compared with each (default: 2)",
    },
    "masks": {"--masks N": "random masks next to a ticket (default: 1)"},
    "seed": {
        "--seed SEED": "seed of what is random in the analysis (default: 0)",
    },
    "budget": {
        "--budget TIME": "time, such as 10m; rounds that do not fit are left "
        "out",
    },
}
_FIRST = {
    "directory DIR": "the directory that `tf-lottery run` wrote to, finished "
    "or not",
    "--rounds ROUNDS": "rounds to look at, such as 3,7,9 (default: all; for "
    "kinds that are slow, the candidate tickets' and the paper's)",
}
_LAST = tables.output_dir("DIR/analysis") | tables.JOBS | tables.PNG


def add_kinds(parser):
    """Adds a parser for each kind."""
    kinds = parser.add_subparsers(
        metavar="KIND", required=True, dest="kind", title="kinds of analyses",
    )
    for name, (help, options) in KINDS.items():
        one = kinds.add_parser(
            name, help=help,
            description=f"{help[0].upper()}{help[1:]}. {DESCRIPTION}",
        )
        for table in (_FIRST, *map(_OPTIONS.get, options), _LAST):
            tables.add(one, table)
