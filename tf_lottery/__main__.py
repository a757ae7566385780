"""The command line: `tf-lottery`, or `python -m tf_lottery`."""

import argparse
import sys

import rich.console

import tf_lottery
from tf_lottery import commands

# RuntimeError: data that is not there, a directory in use.
_EXPECTED_ERRORS = (ValueError, OSError, ImportError, RuntimeError)


def main(argv=None) -> int:
    """Runs a command.

    Args:
        argv: List of strings. Defaults to the arguments of the process.

    Returns:
        Integer, the exit status: 0, 2 for an error that a message explains,
        130 if it was interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments)
    except _EXPECTED_ERRORS as error:
        _errors().print(f"error: {error}", style="red", markup=False)
        return 2
    except KeyboardInterrupt:
        _errors().print("interrupted; what was finished has been written")
        return 130
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="tf-lottery",
        description="Pruning and lottery tickets for Keras 3.",
    )
    parser.add_argument(
        "--version", action="version", version=tf_lottery.__version__
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in commands.ALL_COMMANDS:
        command.add_parser(subparsers)
    return parser


def _errors():
    return rich.console.Console(stderr=True, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
