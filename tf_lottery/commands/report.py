"""`tf-lottery report`: a run as one HTML page."""

import rich.console

from tf_lottery import analysis


def add_parser(commands):
    """Adds the command to the parsers of all commands."""
    parser = commands.add_parser(
        "report",
        help="write a run as one self-contained HTML page",
        description="Writes one HTML page with the protocol, the curves and "
        "all numbers of a run, the paper's numbers beside them where there "
        "are some, and what speaks against them. It may be unfinished.",
    )
    parser.add_argument(
        "directory",
        metavar="DIR",
        help="the directory that `tf-lottery run` or a pruning callback "
        "wrote to",
    )
    parser.add_argument(
        "--png",
        action="store_true",
        help="write the charts as PNG files, too (needs tf_lottery[plot])",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="the page to write (default: DIR/report.html)",
    )
    parser.set_defaults(command=_report)


def _report(arguments):
    written = analysis.report(arguments.directory, arguments.out, arguments.png)
    console = rich.console.Console(highlight=False)
    console.print(f"written: {written}", soft_wrap=True)
    if arguments.png:
        for path in sorted(written.parent.glob(f"{written.stem}-*.png")):
            console.print(f"written: {path}", soft_wrap=True)
