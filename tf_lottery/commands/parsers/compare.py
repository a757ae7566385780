"""Arguments of `tf-lottery compare`."""

from tf_lottery.commands.parsers import shared


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    parser = commands.add_parser(
        "compare",
        help="write several runs as one interactive HTML page",
        description="Writes one HTML page with runs next to one another: "
        "accuracy against density, learning curves, verdicts, and in what "
        "the runs differ. They may be unfinished; a run that is named twice, "
        "or was copied, counts once.",
    )
    parser.add_argument(
        "directories", metavar="DIR", nargs="+",
        help="a directory that `tf-lottery run` or a pruning callback "
        "wrote to",
    )
    shared.add_png(parser)
    shared.add_output(parser, "the page", "compare.html")
