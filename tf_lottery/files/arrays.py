"""Arrays in one file, with a checksum.

The file follows the layout of safetensors (eight bytes with the length of a
JSON header, the header, the raw arrays), so that any of its readers opens it;
a checksum in the header covers every byte. There is no pickle.
"""

import hashlib
import json
import operator
import pathlib
import struct

import ml_dtypes
import numpy as np

from tf_lottery.files.writing import DamagedFileError
from tf_lottery.files.writing import write_atomic

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


def write_arrays(path, arrays, metadata):
    """Writes arrays and plain metadata to one file, atomically.

    An array may be a callable that returns it each time it is called: so there
    is one in memory at a time. One that repeats a single value (zero strides)
    is stored as that value.
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
    """Reads the arrays and metadata of `write_arrays`; checks every byte."""
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
