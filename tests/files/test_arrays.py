"""Files are either whole or not there, and a damaged one is named."""

import hashlib
import json
import os
import struct

import ml_dtypes
import numpy as np
import pytest

from tf_lottery import files
from tf_lottery.files.arrays import _DTYPES

DTYPES = {name: getattr(ml_dtypes, name, name) for name in _DTYPES}
ZEROS = "0" * 64


def example(dtype, shape=(3, 5)):
    rng = np.random.default_rng(0)
    values = rng.normal(size=shape) * 3
    if dtype == "bool":
        return values > 0
    if "int" in dtype:
        values = np.abs(values) * 10
    return values.astype(DTYPES[dtype])


def bits(array):
    return np.ascontiguousarray(array).tobytes()


def parts(data):
    """The header and the raw arrays of a file's bytes."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8:8 + length]), data[8 + length:]


def signed(header, body=b""):
    """Bytes of a file with a right checksum, whatever its header says."""
    header.setdefault("__metadata__", {})["sha256"] = ZEROS
    text = json.dumps(header).encode()
    start = struct.pack("<Q", len(text)) + text
    digest = hashlib.sha256(start + body).hexdigest()
    return start.replace(ZEROS.encode(), digest.encode(), 1) + body


@pytest.fixture
def path(tmp_path):
    return tmp_path / "arrays.safetensors"


@pytest.mark.parametrize("shape", [(3, 5), (), (1,), (0, 4), (2, 1, 3)])
@pytest.mark.parametrize("dtype", _DTYPES)
def test_round_trip(dtype, shape, path):
    array = example(dtype, shape)
    files.write_arrays(path, {"a/kernel": array}, {})
    arrays, metadata = files.read_arrays(path)
    assert metadata == {} and list(arrays) == ["a/kernel"]
    read = arrays["a/kernel"]
    assert read.dtype == array.dtype and read.shape == array.shape
    assert bits(read) == bits(array)


def test_every_dtype_in_one_file(path):
    # Odd lengths, so that most arrays do not start at a multiple of eight.
    arrays = {name: example(name, (7,)) for name in _DTYPES}
    metadata = {"round": 3, "metrics": {"loss": 0.25}, "name": "ä\"\\\n"}
    files.write_arrays(path, arrays, metadata)
    read, found = files.read_arrays(path)
    assert found == metadata and list(read) == list(arrays)
    for name in arrays:
        np.testing.assert_array_equal(read[name], arrays[name])


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(12.0)[::-2],
        np.asfortranarray(np.arange(6, dtype="int16").reshape(2, 3)),
        np.arange(3.0).astype(">f4"),
        np.broadcast_to(np.arange(3.0), (4, 3)),
        np.float32(2.5),
    ],
    ids=["transposed", "reversed", "fortran", "big-endian", "rows", "scalar"],
)
def test_arrays_of_any_layout(array, path):
    files.write_arrays(path, {"a": array}, {})
    read = files.read_arrays(path)[0]["a"]
    np.testing.assert_array_equal(read, array)
    assert read.dtype == np.asarray(array).dtype.newbyteorder("<")


def test_special_values_survive(path):
    array = np.array([np.nan, -np.nan, np.inf, -0.0, 5e-324])
    files.write_arrays(path, {"a": array}, {})
    assert bits(files.read_arrays(path)[0]["a"]) == bits(array)


def test_an_array_of_one_value_takes_no_space(path):
    one = np.float32(-0.0)
    arrays = {
        "fill": np.broadcast_to(one, (1000, 1000)),
        "real": np.zeros(4, "float32"),
    }
    files.write_arrays(path, arrays, {"k": 1})
    assert path.stat().st_size < 1000
    read, metadata = files.read_arrays(path)
    assert metadata == {"k": 1}
    assert read["fill"].shape == (1000, 1000)
    assert np.signbit(read["fill"]).all()
    np.testing.assert_array_equal(read["real"], arrays["real"])


def test_numbers_of_numpy_in_metadata(path):
    files.write_arrays(path, {}, {"a": np.float32(0.5), "b": np.int64(3)})
    assert files.read_arrays(path) == ({}, {"a": 0.5, "b": 3})


@pytest.mark.parametrize("array", [np.ones(2, complex), np.array(["a"])])
def test_dtypes_that_cannot_be_stored(array, path):
    with pytest.raises(ValueError, match="'odd' cannot be stored.*float32"):
        files.write_arrays(path, {"odd": array}, {})
    assert not path.exists()


def test_metadata_that_cannot_be_stored(path):
    with pytest.raises(TypeError, match="JSON-serialisable"):
        files.write_arrays(path, {}, {"f": print})
    assert os.listdir(path.parent) == []


def test_any_reader_of_safetensors_can_read_it(path):
    arrays = {"x": example("float32"), "y": example("bool", (4,))}
    files.write_arrays(path, arrays, {})
    data = path.read_bytes()
    header, body = parts(data)
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0 and data[8:9] == b"{"
    assert all(isinstance(v, str) for v in header["__metadata__"].values())
    end = 0
    for name, dtype in (("x", "<f4"), ("y", "?")):
        begin, stop = header[name]["data_offsets"]
        assert begin == end
        end = stop
        read = np.frombuffer(body[begin:stop], dtype)
        read = read.reshape(header[name]["shape"])
        np.testing.assert_array_equal(read, arrays[name])
    assert end == len(body)
    assert [header[n]["dtype"] for n in "xy"] == ["F32", "BOOL"]


@pytest.fixture
def small(path):
    arrays = {"w": example("float16", (2,)), "m": np.broadcast_to(True, (9,))}
    files.write_arrays(path, arrays, {"step": 1})
    return path.read_bytes()


def test_every_altered_byte_is_noticed(small, path):
    for place in range(len(small)):
        for flip in (1, 2, 128):
            data = bytearray(small)
            data[place] ^= flip
            path.write_bytes(data)
            with pytest.raises(files.DamagedFileError, match=path.name):
                files.read_arrays(path)
            assert path.read_bytes() == data


def test_every_truncation_is_noticed(small, path):
    for length in range(len(small)):
        path.write_bytes(small[:length])
        with pytest.raises(files.DamagedFileError, match=path.name):
            files.read_arrays(path)
    path.write_bytes(small + b"\0")
    with pytest.raises(files.DamagedFileError, match="checksum"):
        files.read_arrays(path)


@pytest.mark.parametrize(
    "data, what",
    [
        (b"", "truncated to 0 bytes"),
        (b"abc", "truncated to 3 bytes"),
        (b"PK\x03\x04" + b"x" * 500, "truncated or of another kind"),
        (b"\xff" * 8 + b"{}", "header of 18446744073709551615 bytes"),
        (struct.pack("<Q", 2**40) + b"{}", "header of 1099511627776 bytes"),
        (struct.pack("<Q", 0), "not JSON"),
        (struct.pack("<Q", 4) + b"\xff\xfe{}", "not JSON"),
        (struct.pack("<Q", 4) + b"{]{}", "not JSON"),
        (struct.pack("<Q", 2) + b"[]", "not a JSON object"),
        (struct.pack("<Q", 4) + b"null", "not a JSON object"),
        (struct.pack("<Q", 90000) + b"[" * 90000, "not JSON"),
        (struct.pack("<Q", 2) + b"{}", "not one of tf_lottery"),
    ],
    ids=range(12),
)
def test_files_of_another_kind(data, what, path):
    path.write_bytes(data)
    with pytest.raises(files.DamagedFileError, match=what) as error:
        files.read_arrays(path)
    assert str(path) in str(error.value)
    assert path.read_bytes() == data


def test_files_of_safetensors_without_our_metadata(path):
    for metadata in (None, 3, [], {}, {"sha256": ZEROS}, {"tf_lottery": "{}"},
                     {"sha256": 5, "tf_lottery": "{}"},
                     {"sha256": ZEROS, "tf_lottery": 7},
                     {"sha256": ZEROS, "tf_lottery": "{"}):
        text = json.dumps({"__metadata__": metadata}).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text)
        with pytest.raises(files.DamagedFileError, match="not one of"):
            files.read_arrays(path)


GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
NONSENSE = {
    "beyond": {**GOOD, "shape": [4], "data_offsets": [0, 16]},
    "shifted": {**GOOD, "data_offsets": [4, 12]},
    "negative": {**GOOD, "data_offsets": [-8, 8]},
    "negative end": {**GOOD, "shape": [1], "data_offsets": [0, -4]},
    "backwards": {**GOOD, "shape": [0], "data_offsets": [8, 0]},
    "the same bytes": GOOD,
    "one offset": {**GOOD, "data_offsets": [0]},
    "three offsets": {**GOOD, "data_offsets": [0, 8, 8]},
    "floats": {**GOOD, "data_offsets": [0.0, 8.0]},
    "infinite": {**GOOD, "data_offsets": [0, float("inf")]},
    "text": {**GOOD, "data_offsets": "08"},
    "no offsets": {"dtype": "F32", "shape": [2]},
    "dtype": {**GOOD, "dtype": "F128"},
    "list dtype": {**GOOD, "dtype": ["F32"]},
    "no dtype": {"shape": [2], "data_offsets": [0, 8]},
    "shape": {**GOOD, "shape": [3]},
    "wild shape": {**GOOD, "shape": [-1]},
    "huge shape": {**GOOD, "shape": [2**70]},
    "float shape": {**GOOD, "shape": [2.0]},
    "scalar shape": {**GOOD, "shape": 2},
    "no shape": {"dtype": "F32", "data_offsets": [0, 8]},
    "list": [0, 8],
    "null": None,
}
FILLS = {
    "unknown": {"fills": {"z": [2]}},
    "many": {"fills": {"a": [2, 3]}},
    "list": {"fills": ["a"]},
    "absent": {},
    "negative": {"fills": {"one": [-3]}},
    "huge": {"fills": {"one": [2**80]}},
    "text": {"fills": {"one": "abc"}},
}


@pytest.mark.parametrize("entry", NONSENSE)
def test_a_signed_header_of_nonsense(entry, path):
    header = {"a": GOOD, "b": NONSENSE[entry]}
    header["__metadata__"] = {"tf_lottery": '{"fills": {}}'}
    path.write_bytes(signed(header, bytes(8)))
    with pytest.raises(files.DamagedFileError, match="does not fit its data"):
        files.read_arrays(path)
    # The entry alone is what is wrong.
    header["b"] = {**GOOD, "data_offsets": [8, 16]}
    path.write_bytes(signed(header, bytes(16)))
    assert files.read_arrays(path)[0].keys() == {"a", "b"}


@pytest.mark.parametrize("content", FILLS)
def test_signed_metadata_of_nonsense(content, path):
    one = {**GOOD, "shape": [], "data_offsets": [8, 12]}
    header = {"a": GOOD, "one": one}
    header["__metadata__"] = {"tf_lottery": json.dumps(FILLS[content])}
    path.write_bytes(signed(header, bytes(12)))
    with pytest.raises(files.DamagedFileError, match="does not fit its data"):
        files.read_arrays(path)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"'])
def test_signed_metadata_that_is_no_object(content, path):
    header = {"__metadata__": {"tf_lottery": content}}
    path.write_bytes(signed(header))
    with pytest.raises(files.DamagedFileError):
        files.read_arrays(path)


def test_no_file_and_no_directory(path, tmp_path):
    with pytest.raises(FileNotFoundError, match="arrays.safetensors"):
        files.read_arrays(path)
    with pytest.raises(OSError, match=tmp_path.name):
        files.read_arrays(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.write_text(tmp_path / "none" / "file", "text")
    with pytest.raises(OSError):
        files.write_text(tmp_path, "text")
    assert os.listdir(tmp_path) == []


def test_writing_replaces_the_file(path):
    for text in ("a longer text", "short"):
        files.write_text(path, text)
        assert path.read_text() == text
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("function", ["replace", "fsync"])
@pytest.mark.parametrize("before", [None, "old"])
def test_failure_leaves_what_was_there(function, before, path, monkeypatch):
    if before is not None:
        path.write_text(before)

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match="No space left"):
        files.write_arrays(path, {"a": example("float32")}, {})
    if before is None:
        assert os.listdir(path.parent) == []
    else:
        assert os.listdir(path.parent) == [path.name]
        assert path.read_text() == before


def test_failure_in_the_middle_leaves_what_was_there(path):
    def chunks():
        yield b"half of it"
        raise KeyboardInterrupt

    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        files.write_atomic(path, chunks())
    assert os.listdir(path.parent) == [path.name]
    assert path.read_text() == "old"


def test_the_file_is_synced_before_it_is_renamed(path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        monkeypatch.setattr(
            os, name,
            lambda *args, name=name, real=getattr(os, name): (
                done.append(name), real(*args)
            ),
        )
    files.write_text(path, "text")
    assert done[:2] == ["fsync", "replace"]
    assert path.read_text() == "text"


@pytest.mark.skipif(os.name != "posix", reason="rights differ")
@pytest.mark.skipif(
    getattr(os, "geteuid", int)() == 0, reason="root may write anywhere"
)
def test_a_directory_that_must_not_be_written(path):
    path.parent.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            files.write_text(path, "text")
    finally:
        path.parent.chmod(0o700)
