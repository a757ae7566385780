"""The data that a command is given: a file, a directory, code or a name."""

import dataclasses
import importlib
import os
import pathlib
import sys

from tf_lottery.commands.parsers import names

_EXPECTED = (
    f"Expected: one of {', '.join(names.DATASETS)}, a .npz file, a directory, "
    "or module:function."
)
# The parts of a data set, and what stands in for one that is not given.
_PARTS = ("train", "val", "test")
_INSTEAD = {"train": ("test", "val"), "val": ("test", "train"),
            "test": ("val", "train")}

_HELD_OUT = 5


@dataclasses.dataclass(frozen=True)
class Data:
    """Three pairs of inputs and labels; one not given is another one.

    Each is an array, or a nested structure of arrays.
    """

    train: tuple
    val: tuple
    test: tuple

    def split(self):
        """Returns what to learn from, what to choose on, and a note.

        Where they would be the same examples, every fifth is held out.
        """
        if self.val is not self.train:
            return self.train, self.val, None
        import keras
        import numpy as np

        number = len(keras.tree.flatten(self.train[0])[0])
        out = np.arange(number) % _HELD_OUT == _HELD_OUT - 1
        rest, held = (
            keras.tree.map_structure(lambda a: np.asarray(a)[part], self.train)
            for part in (~out, out)
        )
        return rest, held, (
            f"The data have one part: {out.sum():,} of its {number:,} "
            "examples, every fifth, are held out to choose on."
        )


def kind(text):
    """Returns what a text names: a "file", "directory", "function", "name"."""
    path = pathlib.Path(text)
    if text in names.DATASETS:
        return "name"
    if path.is_dir():
        return "directory"
    if path.suffix == ".npz":
        if path.is_file():
            return "file"
        raise ValueError(f"there is no data file '{text}'. {_EXPECTED}")
    module, colon, function = text.partition(":")
    if colon and module and function.isidentifier():
        return "function"
    raise ValueError(f"there are no data {text!r}. {_EXPECTED}")


def load(text, model):
    """Returns a `Data` for a model, from what a command line says.

    It is the name of a data set; a `.npz` file with `x` and `y`, or with
    `x_train`, `y_train`, `x_test` and `y_test` (and `x_val`, `y_val`); a
    directory that `tf.data.Dataset.save` wrote, or of images by class, itself
    or in `train`, `val` and `test`; or `module:function`, which returns `(x,
    y)`, two or three such pairs, or a dataset of batches.
    """
    parts = _READERS[kind(text)](text, model)
    for name, part in parts.items():
        _check(text, name, part, model)
    found = {
        name: next(parts[n] for n in (name, *_INSTEAD[name]) if n in parts)
        for name in _PARTS
    }
    return Data(**found)


def first(part, count):
    """Returns the first samples of a part: its inputs and its labels."""
    import keras

    return keras.tree.map_structure(lambda array: array[:count], part)


def _of_name(text, model):
    from tf_lottery.experiments import datasets

    found = datasets.load(text)
    return {
        name: (getattr(found, f"x_{name}"), getattr(found, f"y_{name}"))
        for name in _PARTS
    }


def _of_file(text, model):
    import numpy as np

    try:
        with np.load(text, allow_pickle=False) as content:
            arrays = dict(content)
    # NumPy raises whatever the unpacking runs into.
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise ValueError(
            f"'{text}' cannot be read as a .npz file. Received: {error}"
        ) from error
    parts = {
        name: (arrays[f"x_{name}"], arrays[f"y_{name}"]) for name in _PARTS
        if f"x_{name}" in arrays and f"y_{name}" in arrays
    }
    if "x" in arrays and "y" in arrays:
        parts["train"] = arrays["x"], arrays["y"]
    if not parts:
        raise ValueError(
            f"'{text}' holds no data. Received: arrays {sorted(arrays)}. "
            "Expected: x and y, or x_train, y_train, x_test and y_test."
        )
    return parts


def _of_directory(text, model):
    path = pathlib.Path(text)
    below = {
        name: path / name for name in _PARTS if (path / name).is_dir()
    }
    if (path / "validation").is_dir():
        below["val"] = path / "validation"
    return {
        name: _arrays(_dataset(place, model))
        for name, place in (below or {"train": path}).items()
    }


def _dataset(path, model):
    import keras
    import tensorflow as tf

    if (path / "dataset_spec.pb").exists():
        return tf.data.Dataset.load(str(path))
    height, width, channels = _image_shape(path, model)
    modes = {1: "grayscale", 3: "rgb", 4: "rgba"}
    return keras.utils.image_dataset_from_directory(
        path, image_size=(height, width), color_mode=modes[channels],
        # Classes in turn would make the first samples those of one class.
        shuffle=True, seed=0, verbose=False,
    )


def _image_shape(path, model):
    shape = tuple(getattr(model, "input_shape", ()))[1:]
    if len(shape) == 3 and all(shape) and shape[-1] in (1, 3, 4):
        return shape
    raise ValueError(
        f"Directory '{path}' can be read as images for a model that takes "
        "images of one size. Received: a model of input shape "
        f"{(None, *shape)}. Expected: (None, height, width, 1, 3 or 4), or a "
        "directory that `tf.data.Dataset.save` wrote."
    )


def _of_function(text, model):
    module, _, function = text.partition(":")
    # As `python -m` does, and a console script does not.
    sys.path.insert(0, os.getcwd())
    try:
        called = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"'{text}' cannot be imported: {error}. Expected: module:function, "
            "a function of a module that is installed, or lies here."
        ) from error
    finally:
        sys.path.remove(os.getcwd())
    return _parts(called(), text)


def _parts(found, text):
    of = type(found).__name__
    if isinstance(found, (tuple, list)):
        of += f" of {len(found)}"
        pairs = [isinstance(one, (tuple, list)) and len(one) == 2
                 for one in found]
        if pairs and all(pairs) and len(found) < 4:
            names = _PARTS if len(found) == 3 else ("train", "test")
            return dict(zip(names, found))
        if len(found) == 2:
            return {"train": found}
    elif not isinstance(found, str) and (
        hasattr(found, "__iter__") or hasattr(found, "__getitem__")
    ):
        return {"train": _arrays(found)}
    raise ValueError(
        f"'{text}' returned no data. Received: {of}. Expected: (x, y), "
        "((x, y), (x_test, y_test)) or a dataset of batches."
    )


def _arrays(batches):
    """Returns the inputs and labels of a dataset of batches as arrays."""
    import keras
    import numpy as np

    found = [tuple(batch)[:2] for batch in _iterated(batches)]
    return keras.tree.map_structure(
        lambda *parts: np.concatenate(
            [keras.ops.convert_to_numpy(part) for part in parts]
        ),
        *found,
    )


def _iterated(batches):
    if hasattr(batches, "__len__") and hasattr(batches, "__getitem__"):
        # `keras.utils.PyDataset` and sequences need not end by themselves.
        return [batches[index] for index in range(len(batches))]
    return list(batches)


def _check(text, name, part, model):
    """Raises a `ValueError` unless a part fits together, and the model."""
    import keras
    import numpy as np

    inputs, labels = part
    shapes = list(map(np.shape, keras.tree.flatten(inputs)))
    all_shapes = [*shapes, *map(np.shape, keras.tree.flatten(labels))]
    counts = {shape[:1] for shape in all_shapes}
    if len(counts) != 1 or not all(map(all, counts)) or () in counts:
        raise ValueError(
            f"The {name} part of '{text}' must have as many inputs as labels. "
            f"Received: arrays of shape {all_shapes}"
        )
    tensors = getattr(model, "inputs", None) or ()
    wanted = [tuple(tensor.shape) for tensor in tensors]
    fits = len(shapes) == len(wanted) and all(map(_fits, shapes, wanted))
    if wanted and not fits:
        raise ValueError(
            f"The {name} part of '{text}' does not fit the model. Received: "
            f"inputs of shape {shapes}. Expected: {wanted}"
        )


def _fits(shape, wanted):
    return len(shape) == len(wanted) and all(
        size in (None, found) for size, found in zip(wanted[1:], shape[1:])
    )


_READERS = {
    "name": _of_name,
    "file": _of_file,
    "directory": _of_directory,
    "function": _of_function,
}
