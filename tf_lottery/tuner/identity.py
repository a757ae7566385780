"""The identity of the search in a directory."""

import pathlib
import shutil

from tf_lottery import files
from tf_lottery.utils import configurations

_NAME = "search.json"


def check(path, description, is_worker=False):
    """Makes the directory of a search, or resumes the one it holds.

    The description is all that makes a search this one, as plain values. A
    worker finds it there. If it is another one, an error names both.
    """
    path = pathlib.Path(path)
    wanted = configurations.plain(description)
    found = read(path)
    if found is None:
        if is_worker:
            raise ValueError(
                f"Directory '{path}' is not that of the chief, which holds a "
                f"'{_NAME}'. Chief and workers must share one directory."
            )
        _check_empty(path)
        path.mkdir(parents=True, exist_ok=True)
        files.write_json(path / _NAME, wanted)
    elif found != wanted:
        differences = "\n  ".join(
            configurations.differences(found, wanted)
        )
        raise ValueError(
            f"Directory '{path}' holds another search: {_brief(found)} "
            f"there, {_brief(wanted)} now. Choose another directory, or "
            f"replace it with overwrite=True. Differences:\n  {differences}"
        )


def clear(path, lock):
    """Removes the search in a directory, which is locked first."""
    path = pathlib.Path(path)
    if (path / _NAME).exists():
        lock.acquire()
    else:
        _check_empty(path)
    shutil.rmtree(path, ignore_errors=True)


def read(path):
    """Returns the description of the search in a directory, or `None`."""
    path = pathlib.Path(path) / _NAME
    return files.read_json(path) if path.exists() else None


def _check_empty(path):
    if path.exists() and not path.is_dir():
        raise ValueError(f"'{path}' is no directory.")
    found = path.iterdir() if path.exists() else ()
    if any(not each.name.startswith(".") for each in found):
        raise ValueError(
            f"Directory '{path}' holds other files, not a search of "
            "tf_lottery. Choose another directory, or empty it."
        )


def _brief(description):
    hypermodel = description["hypermodel"]
    if isinstance(hypermodel, dict):
        hypermodel = hypermodel.get("name", hypermodel)
    return (
        f"'{description['objective']}' of '{hypermodel}' by "
        f"{description['tuner']}"
    )
