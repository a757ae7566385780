"""The console: tables, progress and warnings of commands."""

import rich.console
import rich.progress

from tf_lottery.utils import checks

# Of no more characters is any line; rich has no word for "endless".
_ENDLESS = 100_000
# So many tasks are named in one line.
_NAMED = 4


def stdout():
    """Returns a console as wide as the terminal; a file is cropped nowhere."""
    console = rich.console.Console(highlight=False)
    if not console.is_terminal:
        console.width = _ENDLESS
    return console


def say_written(*paths):
    """Prints which files were written, on lines that are not folded."""
    for path in paths:
        stdout().print(f"written: {path}", soft_wrap=True)


def list_written(console, paths):
    """Prints the files that a run has written, below its results."""
    console.print("Files written:")
    for path in paths:
        console.print(f"  {path}", soft_wrap=True)


def say_page_written(page, png):
    """Prints which page was written, and which PNG files next to it."""
    pictures = sorted(page.parent.glob(f"{page.stem}-*.png")) if png else []
    say_written(page, *pictures)


class Bar:
    """A progress bar with the time left, in a context; none on a file."""

    def __init__(self, console):
        self._console, self._task = console, None
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

    def epoch_end(self):
        if self._task is not None:
            self._bar.advance(self._task)

    def workers(self, pulses):
        self._describe(workers(pulses))

    def _describe(self, text):
        if self._task is not None:
            self._bar.update(self._task, description=text)


def workers(pulses):
    """Returns a line about what other processes do."""
    hosts = len({pulse["host"] for pulse in pulses})
    where = f" on {hosts} hosts" if hosts > 1 else ""
    most = max(pulse["memory"] for pulse in pulses) / 2**30
    keys = ", ".join(pulse["key"] for pulse in pulses[:_NAMED])
    more = ", ..." if len(pulses) > _NAMED else ""
    return f"{len(pulses)} workers{where}, {most:.1f} GiB each: {keys}{more}"


def make_repeatable(threads=None):
    """Makes a run repeatable on a GPU; on a CPU it is without this."""
    import tensorflow as tf

    if threads is not None:
        checks.whole("threads", threads)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()
