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


@dataclasses.dataclass(frozen=True)
class Saved:
    """What is in the file of a model.

    Attributes:
        config: Dict, the model as tf_keras describes it: `class_name`,
            `config`, in a `.keras` file `build_config` as well.
        arrays: `h5py.Group` of the weights.
        is_h5: Boolean, whether `arrays` are as in an `.h5` file, by layer
            name, else as in a `.keras` file, by attribute and class.
    """

    config: dict
    arrays: h5py.Group
    is_h5: bool


@contextlib.contextmanager
def opened(path):
    """Opens a `.keras` or `.h5` file of tf_keras, to read only.

    Args:
        path: Path of the file.

    Yields:
        `Saved`.

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
            raise damaged(path, "it is neither a .keras nor an .h5 file")
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise damaged(path, f"it cannot be read ({error})") from error


def damaged(path, what):
    """Returns the error of a file that is not what was written."""
    return files.DamagedFileError(
        f"File '{path}' is damaged, or not one of tf_keras: {what}. "
        "It was left as it is."
    )


@contextlib.contextmanager
def _keras(path):
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if not {"config.json", "model.weights.h5"} <= set(names):
            raise damaged(
                path,
                "it has no config.json and model.weights.h5. "
                f"Received: {sorted(names)[:8]}",
            )
        config = _json(path, archive.read("config.json"))
        metadata = {}
        if "metadata.json" in names:
            metadata = _json(path, archive.read("metadata.json"))
        _check_version(path, metadata.get("keras_version"))
        if any(name.startswith("assets/") for name in names):
            raise ValueError(
                f"File '{path}' has assets, such as the vocabulary of a "
                "lookup layer, which cannot be migrated. Build the part of "
                "the model behind such layers in tf_keras and save that."
            )
        with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
            yield Saved(config, file, is_h5=False)


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
        if "model_weights" not in file:
            raise damaged(path, "it has no group 'model_weights'")
        config = _json(path, file.attrs["model_config"])
        yield Saved(config, file["model_weights"], is_h5=True)


def _json(path, text):
    try:
        found = json.loads(text)
    except ValueError:
        raise damaged(path, "its configuration is not JSON") from None
    if not isinstance(found, dict):
        raise damaged(path, "its configuration is not a JSON object")
    return found


def _check_version(path, version):
    version = version.decode() if isinstance(version, bytes) else str(version)
    if version.startswith("3"):
        raise ValueError(
            f"File '{path}' was saved by Keras {version}, not by tf_keras. "
            "Load it by `keras.saving.load_model(path)`."
        )
