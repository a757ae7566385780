"""Reading and writing the model files that commands are given."""

import pathlib
import warnings
import zipfile

import keras

import tf_lottery


def load(path):
    """Loads a `.keras` or `.h5` model."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no model file '{path}'.")
    try:
        with warnings.catch_warnings():
            # An optimizer saved before its first step has nothing to load.
            warnings.filterwarnings("ignore", "Skipping variable loading")
            return keras.saving.load_model(path)
    # Keras raises whatever the unpacking or rebuilding runs into.
    except (
        ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile,
    ) as error:
        raise ValueError(
            f"'{path}' cannot be loaded as a Keras model. Received: "
            f"{type(error).__name__}: {str(error)[:300]}. Expected: a file "
            "that `model.save` wrote, with its custom layers imported."
        ) from error


def can_hold(model):
    """Returns a model that can hold masks: itself if compiled, or wrapped."""
    if model.compiled and getattr(model, "optimizer", None) is not None:
        return model
    return tf_lottery.layers.wrap(model)


def output_path(source, given, suffix):
    """Returns where to write: `given`, or `source` with a suffix."""
    source = pathlib.Path(source)
    path = pathlib.Path(given or source.with_name(f"{source.stem}{suffix}"))
    if path.suffix != ".keras":
        raise ValueError(
            f"The output file must end in '.keras'. Received: '{path}'"
        )
    if path.is_dir():
        raise IsADirectoryError(f"The output file '{path}' is a directory.")
    return path
