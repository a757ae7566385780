"""Places: the directory that a compression resumes in."""

import contextlib
import hashlib
import json
import pathlib
import shutil
import tempfile
import weakref

import keras
import numpy as np
from keras import ops

from tf_lottery import files
from tf_lottery import weights as weights_lib
from tf_lottery.callbacks import identity
from tf_lottery.files import locks

_TABLES = "tables.safetensors"
_CONFIG = "compress.json"


class Place:
    """A directory with the tables and files of one compression.

    Args:
        directory: Path, or `None` for one that lasts as long as this object.
        data: Structure of arrays, what it is calibrated and judged on.
        arguments: Dict of plain values that the files depend on.

    Attributes:
        path: `pathlib.Path`.

    Raises:
        ValueError: If the directory is that of another compression.
    """

    def __init__(self, directory, model, data, arguments):
        if directory is None:
            directory = tempfile.mkdtemp(prefix="tf_lottery-")
            weakref.finalize(self, shutil.rmtree, directory, True)
        self.path = pathlib.Path(directory)
        self.path.mkdir(parents=True, exist_ok=True)
        self._config = arguments | {
            "format": "tf_lottery.compress",
            "model": digest(weights_lib.variables(model).values()),
            "layers": identity.digest(identity.of_model(model)),
            "data": digest(keras.tree.flatten(data)),
        }

    @contextlib.contextmanager
    def locked(self):
        """A context in which no other process works in the directory."""
        lock = locks.Lock(self.path / "lock")
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
        changed = [
            f"{name}: {found.get(name)!r} there, {value!r} now"
            for name, value in self._config.items() if found.get(name) != value
        ]
        if changed:
            raise ValueError(
                f"Directory '{self.path}' is that of another compression. "
                f"Differences: {'; '.join(changed)}. Expected: the same "
                "model, data and arguments, or another directory."
            )


def digest(arrays):
    """Returns a short digest of dtypes, shapes and values of arrays."""
    found = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(ops.convert_to_numpy(array))
        found.update(f"{array.dtype} {array.shape}".encode())
        found.update(array.reshape(-1).view("uint8").data)
    return found.hexdigest()[:16]
