"""The progress bar of commands that train."""

import rich.progress


def time_left(console):
    """Returns a bar with the time left; none where nobody watches.

    Args:
        console: `rich.console.Console`; a file or a pipe gets no bar.
    """
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.TaskProgressColumn(),
        rich.progress.TextColumn("time left"),
        rich.progress.TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
