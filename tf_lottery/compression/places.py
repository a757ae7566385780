"""Places: the directory that a compression resumes in."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import signal
import tempfile
import threading
import weakref

import keras
import numpy as np
from keras import ops

from tf_lottery import files
from tf_lottery import weights as weights_lib
from tf_lottery.callbacks import identity
from tf_lottery.criteria import batches as batches_lib
from tf_lottery.files import locks

_TABLES = "tables.safetensors"
_CONFIG = "compress.json"


class Place:
    """A directory with the tables and files of one compression.

    Args:
        directory: Path, or `None` for one that lasts as long as this object.
        inputs: Structure of arrays, what it is calibrated on.
        validation: Structure of arrays, what it is judged on.
        arguments: Dict of plain values that the files depend on.

    Attributes:
        path: `pathlib.Path`.

    Raises:
        ValueError: If the directory is that of another compression.
    """

    def __init__(self, directory, model, inputs, validation, arguments):
        self._remove = None
        if directory is None:
            directory = tempfile.mkdtemp(prefix="tf_lottery-")
            self._remove = weakref.finalize(
                self, shutil.rmtree, directory, True
            )
        self.path = pathlib.Path(directory)
        self._config = arguments | {
            "format": "tf_lottery.compress",
            "model": digest(weights_lib.variables(model).values()),
            "layers": identity.digest(identity.of_model(model)),
            "samples": batches_lib.len_of(inputs),
            "train": digest(keras.tree.flatten(inputs)),
            "validation": digest(keras.tree.flatten(validation)),
        }

    @contextlib.contextmanager
    def locked(self):
        """A context in which no other process works in the directory."""
        lock = locks.Lock(self.path / "lock")
        with _before_end(self._remove):
            with files.writable(self.path):
                lock.acquire()
            try:
                self._check()
                yield
            finally:
                lock.release()

    def tables(self, measure):
        """Returns what `measure` returns, or returned here before."""
        path = self.path / _TABLES
        if not path.exists():
            tables, arrays = measure()
            self.write(path, arrays, tables)
        arrays, tables = self.read(path)
        return tables, arrays

    def write(self, path, arrays, fields):
        """Writes a file of this compression."""
        files.write_arrays(path, arrays, fields | {"of": self._name(path)})

    def read(self, path):
        """Returns the arrays and fields of one, and of no other."""
        arrays, fields = files.read_arrays(path)
        if fields.pop("of", None) != self._name(path):
            raise files.damaged(path, "it is of another compression, or name")
        return arrays, fields

    def _name(self, path):
        return f"{identity.digest(self._config)} {path.name}"

    def _check(self):
        path = self.path / _CONFIG
        if not path.exists():
            others = [p.name for p in self.path.iterdir() if p.name != "lock"]
            if others:
                raise ValueError(
                    f"Directory '{self.path}' holds other files: "
                    f"{sorted(others)[:5]}. Expected: an empty one, or that "
                    "of the same compression."
                )
            files.write_text(path, json.dumps(self._config, indent=1))
        found = files.read_json(path)
        changed = {
            name: f"{name}: {found.get(name)!r} there, {value!r} now"
            for name, value in self._config.items() if found.get(name) != value
        }
        if "samples" in changed:
            # Of another number, they are others.
            changed.pop("train", None)
        if changed:
            raise ValueError(
                f"Directory '{self.path}' is that of another compression. "
                f"Differences: {'; '.join(changed.values())}. Expected: the "
                "same model, data and arguments, or another directory."
            )


@contextlib.contextmanager
def _before_end(function):
    """Calls a function also where a signal ends the process here.

    Python ends without a word then, unless someone else sees to the signal.
    """
    numbers = [
        number for name in ("SIGTERM", "SIGHUP")
        if (number := getattr(signal, name, None)) is not None
        and signal.getsignal(number) is signal.SIG_DFL
    ]
    main = threading.current_thread() is threading.main_thread()
    if function is None or not main:
        numbers = []
    owner = os.getpid()

    def end(number, frame):
        # A process that was forked has the handler, but not the directory.
        if os.getpid() == owner:
            function()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            if signal.getsignal(number) is end:
                signal.signal(number, signal.SIG_DFL)


def digest(arrays):
    """Returns a short digest of dtypes, shapes and values of arrays."""
    found = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(ops.convert_to_numpy(array))
        found.update(f"{array.dtype} {array.shape}".encode())
        found.update(array.reshape(-1).view("uint8").data)
    return found.hexdigest()[:16]
