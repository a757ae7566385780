"""Messages of the library in the words of the command line."""

import re


def rename(message, flags):
    """Returns a message with flags where it names arguments.

    Args:
        message: String.
        flags: Dict from the name of an argument to its flag.

    Example:

    >>> from tf_lottery.commands import flags
    >>> flags.rename("Argument `rewind_to` is bad. Received: rewind_to='x'",
    ...              {"rewind_to": "--rewind-to"})
    "Argument --rewind-to is bad. Received: --rewind-to='x'"
    """
    def flag(match):
        return flags.get(match[1], match[0])

    message = re.sub(r"`(\w+)`", flag, message)
    return re.sub(r"\b(\w+)(?==)", flag, message)
