"""`tf-lottery compare`: several runs as one HTML page."""

import sys
import warnings

from tf_lottery import experiments
from tf_lottery.commands import console as console_lib


def main(arguments):
    """Writes the page of some runs."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        written = experiments.compare(
            *arguments.directories, out=arguments.output or "compare.html",
            png=arguments.png,
        )
    for warning in said:
        print(f"warning: {warning.message}", file=sys.stderr)
    console_lib.say_written(written, arguments.png)
