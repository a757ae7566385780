"""Reading a run: errors that say which file is missing or damaged."""

import contextlib

from tf_lottery import files

# Names of what is found where no run is.
_SHOWN = 5


@contextlib.contextmanager
def of(path):
    """Explains what goes wrong while a file of a run is read."""
    try:
        with files.intact(path):
            yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f"'{path.parent}' is not the directory of a run: '{path}' does "
            "not exist. Expected: a directory that `tf-lottery run` or "
            "`IterativeMagnitudePruning(directory=...)` wrote to. Received: "
            f"{_content(path.parent)}"
        ) from error


def check_numbers(row):
    """Raises a `ValueError` unless a row's values are numbers or `None`."""
    for name, value in row.items():
        needed = name in ("trial", "round", "density")
        if name == "control" or value is None and not needed:
            continue
        if not isinstance(value, (int, float)):
            raise ValueError(f"{name}={value!r} is no number")


def _content(path):
    if not path.is_dir():
        return "a file" if path.exists() else "a path where nothing is"
    names = sorted(each.name for each in path.iterdir())
    shown = ", ".join(map(repr, names[:_SHOWN])) or "nothing in it"
    return f"a directory with {shown}{', ...' * (len(names) > _SHOWN)}"
