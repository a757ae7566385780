"""Files that are either whole or not there, and arrays in them.

The array file follows the layout of safetensors (eight bytes with the length
of a JSON header, the header, the raw arrays), so that any of its readers
opens it; a checksum in the header covers every byte. There is no pickle.
"""

import contextlib
import hashlib
import json
import operator
import os
import pathlib
import secrets
import struct
import tempfile

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
# JSON takes many times its length in memory.
_LONGEST_HEADER = 16 << 20
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


def read_json(path):
    """Reads a JSON file that holds an object.

    Args:
        path: `pathlib.Path`.

    Returns:
        Dict.

    Raises:
        DamagedFileError: If it is something else.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except ValueError as error:
        raise damaged(path, error) from None
    return found


def damaged(path, error):
    """Returns the error about a file that something is wrong with."""
    return DamagedFileError(
        f"File '{path}' is damaged: {error}. It was left as it is."
    )


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

    For writers that take a path. It has the name of the file and lies in a
    directory next to it that only this user can open.

    Args:
        path: Path of the file.

    Raises:
        OSError: If the file cannot be written, as for `write_atomic`.
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


def save_model(model, path):
    """Saves a `keras.Model` so that a file is whole or not there.

    Args:
        model: `keras.Model`.
        path: Path that ends in `.keras`. Missing directories are made.

    Raises:
        OSError: If it cannot be written.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        model.save(temporary)


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
        _check_offsets(header, len(body))
        arrays = {name: _array(body, entry) for name, entry in header.items()}
        for name, shape in content.pop("fills").items():
            # A view: it takes the memory of one value, whatever its shape.
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
    if length > _LONGEST_HEADER:
        raise _damaged(
            path,
            f"its header has {length} bytes, more than {_LONGEST_HEADER}",
        )
    try:
        header = json.loads(data[8:8 + length])
    except _WRONG:
        raise _damaged(path, "its header is not JSON") from None
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a JSON object")
    return header, 8 + length


def _check_offsets(header, size):
    """Raises unless the arrays are the data, each byte of it once."""
    offset = 0
    for begin, end in sorted(e["data_offsets"] for e in header.values()):
        if begin != offset or end < begin:
            raise ValueError("Arrays overlap, or leave a gap.")
        offset = end
    if offset != size:
        raise ValueError("There is more data, or less, than the arrays are.")


def _array(body, entry):
    begin, end = entry["data_offsets"]
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
    if len(text) > _LONGEST_HEADER:
        raise ValueError(
            "Names and metadata of arrays take too much room. Received: "
            f"{len(text)} bytes. Expected: at most {_LONGEST_HEADER}."
        )
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
