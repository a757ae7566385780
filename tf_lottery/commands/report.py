"""`tf-lottery report`: a run as one HTML page."""

from tf_lottery import analysis
from tf_lottery.commands import console as console_lib


def main(arguments):
    """Writes the page of a run."""
    written = analysis.report(
        arguments.directory, arguments.output, arguments.png
    )
    console = console_lib.stdout()
    console.print(f"written: {written}", soft_wrap=True)
    if arguments.png:
        for path in sorted(written.parent.glob(f"{written.stem}-*.png")):
            console.print(f"written: {path}", soft_wrap=True)
