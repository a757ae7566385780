"""Arguments of `tf-lottery prune`."""

from tf_lottery.commands.parsers import names
from tf_lottery.commands.parsers import readers
from tf_lottery.commands.parsers import shared


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    parser = commands.add_parser(
        "prune",
        help="prune a saved model",
        description="Prunes a saved model once. The file written holds the "
        "masks: trained further, its pruned weights stay zero.",
    )
    shared.add_model(parser)
    parser.add_argument(
        "--sparsity", type=readers.rate, required=True, metavar="FRACTION",
        help="fraction of the weights to remove, such as 0.9, or by layer: "
        "'*=0.9,logits=0.5'",
    )
    shared.add_name(
        parser, "--criterion", "criterion", names.CRITERIA, "magnitude"
    )
    shared.add_name(
        parser, "--scope", "scope", names.SCOPES, "global",
        "how the sparsity is shared over layers",
    )
    parser.add_argument(
        "--pattern", default="unstructured", metavar="PATTERN",
        help="unstructured, block:1x4, 2:4 or channel",
    )
    parser.add_argument(
        "--iterations", type=int, metavar="N",
        help="steps in which the sparsity is reached (default: 100 for "
        "synflow, 1 otherwise)",
    )
    shared.add_name(
        parser, "--collapse", "choice", names.COLLAPSE, "error",
        "what to do where a layer would lose everything",
    )
    shared.add_exclude(
        parser, "layers to leave alone, by name or pattern, @first and @last"
    )
    shared.add_data(parser, "for criteria that look at data")
    parser.add_argument(
        "--samples", type=int, default=1000, metavar="N",
        help="how many samples of the data to look at",
    )
    parser.add_argument(
        "--strip", action="store_true",
        help="write a plain Keras model, zeros baked in, masks gone",
    )
    shared.add_output(parser, "the .keras file", "MODEL.pruned.keras")
