"""Arguments of `tf-lottery analyze`."""

from tf_lottery.commands.parsers import readers
from tf_lottery.commands.parsers import shared

_DESCRIPTION = (
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
    "samples": (
        int, "N", "examples of each part of the data to look at (default: "
        "all; 10000 for connectivity, 1000 for robustness, 2000 for capacity)",
    ),
    "epsilon": (
        readers.radii, "RADII", "radii of the attacks in units of the range "
        "of the pixels (default: 0.05,0.1,0.2 for gray images, 2/255, 4/255 "
        "and 8/255 for colour)",
    ),
    "points": (
        int, "N", "points on the line, ends included (default: 30)"
    ),
    "epochs": (int, "N", "epochs on the random labels (default: 20)"),
    "orders": (
        int, "N", "orders of the data that a ticket is trained in, each "
        "compared with each (default: 2)",
    ),
    "masks": (int, "N", "random masks next to a ticket (default: 1)"),
    "seed": (
        int, "SEED", "seed of what is random in the analysis (default: 0)"
    ),
    "budget": (
        readers.duration, "TIME", "time, such as 10m; rounds that do not fit "
        "are left out",
    ),
}


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    parser = commands.add_parser(
        "analyze", help="measure stability, connectivity and more on a run",
        description=_DESCRIPTION,
    )
    kinds = parser.add_subparsers(
        metavar="KIND", required=True, dest="kind", title="kinds of analyses",
    )
    for name, (help, options) in KINDS.items():
        one = kinds.add_parser(
            name, help=help,
            description=f"{help[0].upper()}{help[1:]}. {_DESCRIPTION}",
        )
        _add_arguments(one, options)


def _add_arguments(parser, options):
    parser.add_argument(
        "directory", metavar="DIR",
        help="the directory that `tf-lottery run` wrote to, finished or not",
    )
    parser.add_argument(
        "--rounds", type=readers.integers, metavar="ROUNDS",
        help="rounds to look at, such as 3,7,9 (default: all; for kinds that "
        "are slow, the candidate tickets' and the paper's)",
    )
    for name in options:
        read, metavar, help = _OPTIONS[name]
        parser.add_argument(
            f"--{name}", type=read, metavar=metavar, help=help,
            dest="epsilons" if name == "epsilon" else None,
        )
    shared.add_output_dir(parser, "DIR/analysis")
    shared.add_jobs(parser)
    shared.add_png(parser)
