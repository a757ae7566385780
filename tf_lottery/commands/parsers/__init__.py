"""Parsers of the commands: no TensorFlow is imported to read arguments.

Each module has a function `add_parser(commands)`. The module of the same name
in `tf_lottery.commands` runs what was read.
"""

import tf_lottery
from tf_lottery.commands.parsers import analyze
from tf_lottery.commands.parsers import compare
from tf_lottery.commands.parsers import compress
from tf_lottery.commands.parsers import export
from tf_lottery.commands.parsers import list as list_lib
from tf_lottery.commands.parsers import parser as parser_lib
from tf_lottery.commands.parsers import prune
from tf_lottery.commands.parsers import report
from tf_lottery.commands.parsers import run
from tf_lottery.commands.parsers import shrink
from tf_lottery.commands.parsers import sweep

_ALL = (
    run, sweep, list_lib, report, compare, analyze, prune, shrink, compress,
    export,
)


def make():
    """Returns the parser of `tf-lottery`.

    What it reads has the name of the `command`, and the `flags` by name.
    """
    parser = parser_lib.Parser(
        prog="tf-lottery",
        description="Pruning and lottery tickets for Keras 3.",
    )
    parser.add_argument(
        "--version", action="version", version=tf_lottery.__version__,
        help="show the version",
    )
    commands = parser.add_subparsers(
        metavar="COMMAND", required=True, dest="command"
    )
    for module in _ALL:
        module.add_parser(commands)
    return parser
