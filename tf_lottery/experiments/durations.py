"""Time as people write it: 90s, 10m, 1h30m."""

import re

from tf_lottery.utils import checks

_UNITS = {"h": 3600, "m": 60, "s": 1}


def parse(text, name="duration"):
    """Returns the seconds of a duration, the argument `name` in errors.

    >>> parse("1h30m")
    5400
    """
    checks.kind(name, text, str, "a string such as '90s'")
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    parts = found.groups() if found else ()
    seconds = sum(
        int(part or 0) * unit for part, unit in zip(parts, _UNITS.values())
    )
    if not seconds:
        checks.refuse(name, text, "a time such as '90s', '10m' or '1h30m'")
    return seconds


def render(seconds):
    """Returns seconds as people read them.

    >>> [render(s) for s in (4.2, 600, 5400)]
    ['4 s', '10 min', '1.5 h']
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
