"""`tf-lottery compare`: several runs as one HTML page."""

from tf_lottery import experiments
from tf_lottery.commands import console as console_lib


def main(arguments):
    """Writes the page of some runs."""
    written = experiments.compare(
        *arguments.directories, out=arguments.output or "compare.html",
        png=arguments.png,
    )
    console_lib.say_page_written(written, arguments.png)
