"""Arguments of `tf-lottery shrink`."""

from tf_lottery.commands.parsers import names
from tf_lottery.commands.parsers import readers
from tf_lottery.commands.parsers import shared

BUDGETS = {
    "ratio": "fraction of the units to remove",
    "params": "parameters at most; up to 1, a fraction of the model's",
    "macs": "multiply-accumulates of one sample at most, or a fraction",
    "bytes": "bytes of the weights at most, or a fraction",
    "latency_ms": "milliseconds for one sample at most, measured here",
}


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    parser = commands.add_parser(
        "shrink",
        help="remove channels or dead units from a saved model",
        description="Removes whole channels, units and heads from a saved "
        "model and writes the small one, proved to compute what the big one "
        "does without them.",
    )
    shared.add_model(parser)
    _add_budgets(parser.add_mutually_exclusive_group(required=True))
    shared.add_name(
        parser, "--criterion", "criterion", names.CRITERIA, "magnitude"
    )
    shared.add_name(
        parser, "--norm", "norm", names.NORMS,
        help="what the scores of a unit's weights come to (default: l2 for "
        "magnitude, l1 otherwise)",
    )
    shared.add_name(
        parser, "--scope", "scope", names.UNIT_SCOPES, "layer",
        "all units ranked together, from every layer alike, those of like "
        "blocks together, or as a search on the data finds best",
    )
    parser.add_argument(
        "--round-to", type=int, default=1, metavar="N",
        help="keep multiples of N units",
    )
    shared.add_exclude(parser, "layers whose units stay, by name or pattern")
    shared.add_data(parser, "for criteria and scopes that look at data")
    shared.add_data(
        parser, "to estimate the statistics of batch normalisation anew, in "
        "the small model", "--recalibrate",
    )
    parser.add_argument(
        "--save-plan", metavar="FILE", type=readers.new_file(".json"),
        help="write the plan as JSON, for another checkpoint of the model",
    )
    parser.add_argument(
        "--report", action="store_true",
        help="print every group, and what is frozen and why",
    )
    parser.add_argument(
        "--dry-run", action="store_true",
        help="plan and report, but write no model",
    )
    shared.add_output(parser, "the .keras file", "MODEL.small.keras")


def _add_budgets(group):
    for name, text in BUDGETS.items():
        group.add_argument(
            f"--{name.replace('_', '-')}", type=float, metavar="NUMBER",
            help=text,
        )
    group.add_argument(
        "--plan", metavar="FILE", type=readers.existing_file,
        help="carry out a plan written before",
    )
    group.add_argument(
        "--compact", action="store_true",
        help="remove what the masks (or zeros) have made dead: loses nothing",
    )
