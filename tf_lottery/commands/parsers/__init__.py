"""Parsers of the commands: no TensorFlow is imported to read arguments.

`COMMANDS` of a module has, by the name of a command, its line in the list of
commands, what it does, and the table of its arguments. The module of that
name in `tf_lottery.commands` runs what was read.
"""

import tf_lottery
from tf_lottery.commands.parsers import analyze
from tf_lottery.commands.parsers import of_models
from tf_lottery.commands.parsers import of_runs
from tf_lottery.commands.parsers import parser as parser_lib
from tf_lottery.commands.parsers import preset
from tf_lottery.commands.parsers import tables


def make():
    """Returns the parser, which notes the `command` and its `flags` by name."""
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
    found = of_runs.COMMANDS | of_models.COMMANDS
    for name, (help, description, table) in found.items():
        if name in of_runs.OF_PRESETS:
            command = preset.add_parser(
                commands, name, help, description, of_runs.OF_PRESETS[name]
            )
        else:
            command = commands.add_parser(
                name, help=help, description=description
            )
        if name == "analyze":
            analyze.add_kinds(command)
        tables.add(command, table)
    return parser
