"""The command line: `tf-lottery`, or `python -m tf_lottery`."""

import importlib
import sys

from tf_lottery.commands import flags
from tf_lottery.commands import parsers
from tf_lottery.commands import silence
from tf_lottery.utils import faces

# RuntimeError: data that is not there, a directory in use.
_EXPECTED_ERRORS = (ValueError, OSError, ImportError, RuntimeError)


def main(argv: list[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: List of strings. Defaults to the arguments of the process.

    Returns:
        Integer, the exit status: 0, 2 for an error that a message explains,
        130 if it was interrupted.

    Raises:
        SystemExit: After `--help`, with status 0; after a mistake in the
            arguments, with status 2.
    """
    arguments = parsers.make().parse_args(argv)
    silence.quiet_logs()
    try:
        with silence.plain_warnings():
            _run(arguments)
    except _EXPECTED_ERRORS as error:
        message = flags.rename(str(error), arguments.flags)
        print(f"error: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what was finished is written", file=sys.stderr)
        return 130
    return 0


def _run(arguments):
    if arguments.command != "list":
        with silence.native_stderr():
            faces.complete()
    command = importlib.import_module(
        f"tf_lottery.commands.{arguments.command}"
    )
    command.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
