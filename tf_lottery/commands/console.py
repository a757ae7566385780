"""The console: tables, progress and warnings of commands."""

import rich.console
import rich.progress

# Of no more characters is any line; rich has no word for "endless".
_ENDLESS = 100_000


def stdout():
    """Returns a console as wide as the terminal; a file is cropped nowhere."""
    console = rich.console.Console(highlight=False)
    if not console.is_terminal:
        console.width = _ENDLESS
    return console


def say_written(page, png):
    """Prints which page was written, and which PNG files beside it.

    Args:
        page: `pathlib.Path`.
        png: Boolean, whether there are any.
    """
    console = stdout()
    beside = sorted(page.parent.glob(f"{page.stem}-*.png")) if png else []
    for path in (page, *beside):
        console.print(f"written: {path}", soft_wrap=True)


class Bar:
    """A progress bar with the time left, in a context; none on a file.

    Args:
        console: `rich.console.Console`.
    """

    def __init__(self, console):
        self._console = console
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.TaskProgressColumn(),
            rich.progress.TextColumn("time left"),
            rich.progress.TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, *exception):
        self._bar.stop()


def make_repeatable():
    """Makes a run repeatable on a GPU; on a CPU it is without this."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()
