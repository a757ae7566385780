"""Files that are either whole or not there."""

import contextlib
import json
import os
import pathlib
import secrets
import tempfile


class DamagedFileError(ValueError):
    """A file is not what was written: truncated, altered or of another kind."""


def read_json(path):
    """Reads an object from a JSON file, or raises a `DamagedFileError`."""
    with intact(path):
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    return found


@contextlib.contextmanager
def intact(path):
    """Makes what is wrong with the content of a file a `DamagedFileError`."""
    try:
        yield
    except DamagedFileError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, repr(error)) from error


def damaged(path, error):
    """Returns the error about a file that something is wrong with."""
    return DamagedFileError(
        f"File '{path}' is damaged: {error}. It was left as it is."
    )


def write_atomic(path, chunks):
    """Writes a file, in chunks, under another name, syncs it and renames it.

    Where that fails no half-written file is left and one that was there before
    is untouched.
    """
    path = pathlib.Path(path)
    # Nobody can know the name beforehand, and what is there is not opened.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with _named(path), open(temporary, "xb", opener=_open) as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)


@contextlib.contextmanager
def replacing(path):
    """Yields a path to write to; what is there then replaces a file.

    It has the file's name, in a directory that only this user can open.
    """
    path = pathlib.Path(path)
    with _named(path), tempfile.TemporaryDirectory(
        prefix=f".{path.name}.", dir=path.parent
    ) as directory:
        temporary = pathlib.Path(directory, path.name)
        yield temporary
        os.replace(temporary, path)


@contextlib.contextmanager
def _named(path):
    """Makes errors of the system name the file that was asked for."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(
            error.errno,
            f"File '{path}' cannot be written: {os.strerror(error.errno)}. "
            "What was there before is untouched",
        ) from error


def _open(path, flags):
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def write_text(path, text):
    """Writes a text file as `write_atomic` does."""
    write_atomic(path, [text.encode()])


def write_json(path, values):
    """Writes plain values to a JSON file as `write_atomic` does."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def save_model(model, path):
    """Saves a `keras.Model` so that a `.keras` file is whole or not there."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        model.save(temporary)


def _sync_directory(path):
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
