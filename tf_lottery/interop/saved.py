"""Files that tf_keras, the Keras 2 of today, has saved."""

import contextlib
import dataclasses
import io
import json
import pathlib
import zipfile
import zlib

import h5py

from tf_lottery import files

# How much smaller compression makes an archive, at most, and a size that is
# no danger: what describes a model in words shrinks more than its weights.
_RATIO = 2
_SMALL = 4 << 20


class Damaged(Exception):
    """A file is not what was written; says what is wrong."""


@dataclasses.dataclass(frozen=True)
class Saved:
    """What is in the file of a model, as tf_keras describes it.

    Arrays are by layer name if `is_h5`, else by attribute and class; they have
    so many `numbers`.
    """

    config: dict
    arrays: h5py.Group
    is_h5: bool
    numbers: int


@contextlib.contextmanager
def opened(path):
    """Opens a `.keras` or `.h5` file of tf_keras, to read only.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedFileError: If it cannot be read to its end.
        ValueError: If it is whole, but no model of tf_keras.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise ValueError(
            f"'{path}' is a directory; a SavedModel cannot be migrated, since "
            "it does not say which layers it was made of. Load it where "
            "tf_keras is installed and save it as a file: "
            "`tf_keras.models.load_model(path).save('model.keras')`. "
            "Expected: a .keras or .h5 file."
        )
    if not path.exists():
        raise FileNotFoundError(f"File '{path}' does not exist.")
    try:
        if zipfile.is_zipfile(path):
            with _keras(path) as saved:
                yield saved
        elif h5py.is_hdf5(path):
            with _h5(path) as saved:
                yield saved
        else:
            raise Damaged("it is neither a .keras nor an .h5 file")
    except (
        Damaged, OSError, zipfile.BadZipFile, zlib.error, EOFError
    ) as error:
        what = f"it cannot be read ({error})"
        if isinstance(error, Damaged):
            what = str(error)
        raise files.DamagedFileError(
            f"File '{path}' is damaged, or not one of tf_keras: {what}. "
            "It was left as it is."
        ) from error


@contextlib.contextmanager
def _keras(path):
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if not {"config.json", "model.weights.h5"} <= set(names):
            raise Damaged(
                "it has no config.json and model.weights.h5. "
                f"Received: {sorted(names)[:8]}"
            )
        config = _json(_unpacked(path, archive, "config.json"))
        metadata = {}
        if "metadata.json" in names:
            metadata = _json(_unpacked(path, archive, "metadata.json"))
        _check_version(path, metadata.get("keras_version"))
        if any(name.startswith("assets/") for name in names):
            raise ValueError(
                f"File '{path}' has assets, such as the vocabulary of a "
                "lookup layer, which cannot be migrated. Build the part of "
                "the model behind such layers in tf_keras and save that."
            )
        content = io.BytesIO(_unpacked(path, archive, "model.weights.h5"))
        with h5py.File(content) as file:
            numbers = _checked(file)
            yield Saved(config, file, False, numbers)


@contextlib.contextmanager
def _h5(path):
    with h5py.File(path) as file:
        if "model_config" not in file.attrs:
            raise ValueError(
                f"File '{path}' does not say which layers its weights belong "
                "to: `save_weights` made it, or it was not written by Keras. "
                "Expected: a whole model, as `model.save` of tf_keras writes "
                f"it. Received: attributes {sorted(file.attrs)}"
            )
        _check_version(path, file.attrs.get("keras_version"))
        numbers = _checked(file)
        if not isinstance(file.get("model_weights"), h5py.Group):
            raise Damaged("it has no group 'model_weights'")
        config = _json(file.attrs["model_config"])
        yield Saved(config, file["model_weights"], True, numbers)


def _unpacked(path, archive, name):
    """The content of one file in an archive, if it says its size honestly."""
    size = archive.getinfo(name).file_size
    limit = _RATIO * path.stat().st_size + _SMALL
    if size > limit:
        raise Damaged(
            f"'{name}' in it would take {size} bytes. Expected: at most "
            f"{limit} bytes in an archive of this size"
        )
    return archive.read(name)


def _json(text):
    try:
        found = json.loads(text)
    except ValueError:
        raise Damaged("its configuration is not JSON") from None
    if not isinstance(found, dict):
        raise Damaged("its configuration is not a JSON object")
    return found


def _check_version(path, version):
    version = version.decode() if isinstance(version, bytes) else str(version)
    if version.startswith("3"):
        raise ValueError(
            f"File '{path}' was saved by Keras {version}, not by tf_keras. "
            "Load it by `keras.saving.load_model(path)`."
        )


def _checked(file):
    """Checks all groups and arrays of a file; returns how many numbers it has.

    HDF5 can take the content of an array from any file of the machine, and
    announce arrays of any size that a few bytes stand for. Keras does neither.
    """
    numbers = 0
    waiting = [file]
    while waiting:
        group = waiting.pop()
        for name in group:
            _check_link(group, name)
            part = group[name]
            if isinstance(part, h5py.Group):
                waiting.append(part)
            elif isinstance(part, h5py.Dataset):
                _check_array(part)
                numbers += part.size or 0
    return numbers


def _check_link(group, name):
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise Damaged(
            f"'{group.name}/{name}' is a link to '{link.path}', which is not "
            "followed"
        )
    # A hard link to a group that is around it would never end.
    if h5py.h5o.get_info(group[name].id).rc > 1:
        raise Damaged(f"'{group.name}/{name}' has several names")


def _check_array(array):
    if array.external or array.is_virtual:
        raise Damaged(
            f"the content of '{array.name}' is in another file, which is not "
            "read"
        )
    stored = array.id.get_storage_size()
    if array.shape is not None and array.nbytes > stored:
        raise Damaged(
            f"'{array.name}' would take {array.nbytes} bytes, and its content "
            f"has {stored}"
        )
