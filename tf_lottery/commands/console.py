"""The console of standard output."""

import rich.console

# Of no more characters is any line; rich has no word for "endless".
_ENDLESS = 100_000


def stdout():
    """Returns a console as wide as the terminal; a file is cropped nowhere."""
    console = rich.console.Console(highlight=False)
    if not console.is_terminal:
        console.width = _ENDLESS
    return console
