"""Messages of the library in the words of the command line."""

import re

# Arguments that a flag of another name fills.
_OTHERS = {"representative_data": "--data"}


def rename(message, flags):
    """Returns a message with flags where it names arguments.

    Example:

    >>> from tf_lottery.commands import flags
    >>> flags.rename("Argument `rewind_to` is bad. Received: rewind_to='x'",
    ...              {"rewind_to": "--rewind-to"})
    "Argument --rewind-to is bad. Received: --rewind-to='x'"
    """
    known = _OTHERS | flags

    def flag(match):
        return known.get(match[1], match[0])

    message = re.sub(r"`(\w+)`", flag, message)
    return re.sub(r"\b(\w+)(?==)", flag, message)
