"""Arguments of `tf-lottery report`."""

from tf_lottery.commands.parsers import shared


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    parser = commands.add_parser(
        "report",
        help="write a run as one self-contained HTML page",
        description="Writes one HTML page with the protocol, the curves and "
        "all numbers of a run, the paper's numbers next to them where there "
        "are some, and what speaks against them. It may be unfinished.",
    )
    parser.add_argument(
        "directory", metavar="DIR",
        help="the directory that `tf-lottery run` or a pruning callback "
        "wrote to",
    )
    shared.add_png(parser)
    shared.add_output(parser, "the page", "DIR/report.html")
