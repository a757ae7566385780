"""Files that are either whole or not there, and arrays in them.

The array file follows the layout of safetensors (eight bytes with the length
of a JSON header, the header, the raw arrays), so that any of its readers
opens it; a checksum in the header covers every byte. There is no pickle.
"""

import hashlib
import json
import operator
import os
import pathlib
import struct

import ml_dtypes
import numpy as np

_DTYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
}
_NAMES = {code: name for name, code in _DTYPES.items()}
_NO_CHECKSUM = "0" * 64
# What reading a header of any content may raise.
_WRONG = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    RecursionError,
)


class DamagedFileError(ValueError):
    """A file is not what was written: truncated, altered or of another kind."""


def write_atomic(path, chunks):
    """Writes a file under a temporary name, syncs it and renames it.

    Args:
        path: Path of the file.
        chunks: Iterable of bytes-like objects.

    Raises:
        OSError: If the file cannot be written. No half-written file is left
            and a file that was there before is untouched.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)


class InUseError(RuntimeError):
    """Another process works in the same directory."""


class Lock:
    """A lock on a directory that a killed process does not leave behind.

    Args:
        path: Path of the lock file; the file stays, the lock does not.
    """

    # An aborted `fit` of this process may still hold its lock: its traceback
    # keeps it alive. What runs now takes over.
    _held = {}

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self._file = None

    def acquire(self):
        """Takes the lock.

        Raises:
            InUseError: If another process has it.
        """
        key = self.path.resolve()
        if key in self._held:
            self._held[key].release()
        file = open(self.path, "a")
        try:
            _lock(file)
        except OSError:
            file.close()
            raise InUseError(
                f"Directory '{self.path.parent}' is in use by another "
                "process. Wait for it to end, or choose another directory."
            ) from None
        self._file = file
        self._held[key] = self

    def release(self):
        """Gives the lock back; without one, does nothing."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._held.pop(self.path.resolve(), None)


def write_text(path, text):
    """Writes a text file as `write_atomic` does."""
    write_atomic(path, [text.encode()])


def save_model(model, path):
    """Saves a `keras.Model` so that a file is whole or not there.

    Args:
        model: `keras.Model`.
        path: Path that ends in `.keras`. Missing directories are made.

    Raises:
        OSError: If it cannot be written.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.keras")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        model.save(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_arrays(path, arrays, metadata):
    """Writes arrays and metadata to one file, atomically.

    Args:
        path: Path of the file.
        arrays: Dict from name to NumPy array, or to a callable that returns
            it each time it is called: so there is one in memory at a time.
            An array that repeats a single value (zero strides) is stored as
            that value.
        metadata: JSON-serialisable dict; numbers may be NumPy's.

    Raises:
        ValueError: If an array is of a dtype that cannot be stored.
    """
    header, fills, offset = {}, {}, 0
    for name, array, repeated in _stored(arrays):
        if repeated is not None:
            fills[name] = repeated
        header[name] = {
            "dtype": _DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    metadata = {**metadata, "fills": fills}
    header["__metadata__"] = {
        "sha256": _NO_CHECKSUM,
        "tf_lottery": json.dumps(
            metadata, separators=(",", ":"), default=_number
        ),
    }
    header["__metadata__"]["sha256"] = _digest(_chunks(header, arrays))
    write_atomic(path, _chunks(header, arrays))


def _stored(arrays):
    """Yields (name, array to store, shape it is repeated to or `None`)."""
    for name, array in arrays.items():
        array = np.asarray(array() if callable(array) else array)
        if array.dtype.name not in _DTYPES:
            raise ValueError(
                f"Array '{name}' cannot be stored. Received: dtype "
                f"{array.dtype}. Expected one of: {list(_DTYPES)}."
            )
        repeated = None
        if array.size > 1 and not any(array.strides):
            repeated, array = list(array.shape), array.reshape(-1)[:1]
        yield name, array, repeated


def _chunks(header, arrays):
    yield _encode(header)
    for _, array, _ in _stored(arrays):
        # A view: the arrays may be as large as the memory that is left.
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        yield np.ascontiguousarray(little).reshape(-1).view("uint8").data


def read_arrays(path):
    """Reads a file of `write_arrays` and checks every byte of it.

    Args:
        path: Path of the file.

    Returns:
        Tuple of the dict of arrays and the metadata.

    Raises:
        DamagedFileError: If the file is truncated, altered or of another
            kind; the message names it and says what was found.
    """
    data = pathlib.Path(path).read_bytes()
    header, start = _header(path, data)
    try:
        metadata = header.pop("__metadata__")
        checksum = metadata["sha256"]
        signature = checksum.encode()
        content = json.loads(metadata["tf_lottery"])
    except _WRONG:
        raise _damaged(path, "its header is not one of tf_lottery") from None
    unsigned = data[:start].replace(signature, _NO_CHECKSUM.encode(), 1)
    found = _digest([unsigned, memoryview(data)[start:]])
    if found != checksum:
        raise _damaged(
            path,
            f"its checksum does not match: {found[:12]}... instead of "
            f"{checksum[:12]}... ({len(data)} bytes)",
        )
    body = memoryview(data)[start:]
    try:
        arrays = {name: _array(body, entry) for name, entry in header.items()}
        for name, shape in content.pop("fills").items():
            arrays[name] = np.broadcast_to(arrays[name].reshape(()), shape)
    except _WRONG:
        raise _damaged(path, "its header does not fit its data") from None
    return arrays, content


def _lock(file):
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _header(path, data):
    if len(data) < 8:
        raise _damaged(path, f"it is truncated to {len(data)} bytes")
    (length,) = struct.unpack("<Q", data[:8])
    if length > len(data) - 8:
        raise _damaged(
            path,
            f"it is truncated or of another kind: {len(data)} bytes, and a "
            f"header of {length} bytes is announced",
        )
    try:
        header = json.loads(data[8:8 + length])
    except _WRONG:
        raise _damaged(path, "its header is not JSON") from None
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a JSON object")
    return header, 8 + length


def _array(body, entry):
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= len(body):
        raise ValueError("The offsets are outside of the data.")
    name = _NAMES[entry["dtype"]]
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    shape = [operator.index(length) for length in entry["shape"]]
    if min(shape, default=0) < 0:
        raise ValueError("A shape is negative.")
    return np.frombuffer(body[begin:end], dtype).reshape(shape)


def _number(value):
    """What JSON shall write for a number of NumPy's."""
    if not isinstance(value, np.generic):
        raise TypeError(
            f"Metadata must be JSON-serialisable. Received: {value!r} "
            f"(of type {type(value)})"
        )
    return value.item()


def _encode(header):
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _digest(chunks):
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _damaged(path, what):
    return DamagedFileError(
        f"File '{path}' is damaged or not a tf_lottery file: {what}. "
        "It was left as it is."
    )


def _sync_directory(path):
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
