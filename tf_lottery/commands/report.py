"""`tf-lottery report`: a run as one HTML page."""

from tf_lottery import analysis
from tf_lottery.commands import console as console_lib


def main(arguments):
    """Writes the page of a run."""
    written = analysis.report(
        arguments.directory, arguments.output, arguments.png
    )
    console_lib.say_page_written(written, arguments.png)
