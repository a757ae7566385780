"""Messages of the library in the words of the command line."""

import re

# Arguments that a flag of another name fills.
_OTHERS = {"representative_data": "--data"}


def rename(message, flags):
    """Returns a message with flags where it names arguments."""
    known = _OTHERS | flags

    def flag(match):
        return known.get(match[1], match[0])

    message = re.sub(r"`(\w+)`", flag, message)
    return re.sub(r"\b(\w+)(?==)", flag, message)
