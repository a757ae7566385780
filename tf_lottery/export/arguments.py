"""What `tflite` is asked for, checked before anything takes time."""

import os
from collections.abc import Callable

from tf_lottery import checks
from tf_lottery.export import children
from tf_lottery.export import sources
from tf_lottery.export import targets

QUANTIZE = (None, "float16", "dynamic", "int8", "auto")


def check(path, target, quantize, data, signatures):
    """Raises unless the arguments of `tflite` fit together.

    Args:
        path: `pathlib.Path` of the file to write.
        target: See `tflite`.
        quantize: See `tflite`.
        data: The representative data, or `None`.
        signatures: See `tflite`.
    """
    checks.choice("target", target, targets.TARGETS)
    checks.optional(checks.choice, "quantize", quantize, QUANTIZE[1:])
    checks.optional(
        checks.mapping, "signatures", signatures, "name to function"
    )
    if quantize == "int8" and data is None:
        raise ValueError(
            'Argument `quantize="int8"` needs `representative_data`, some '
            "hundred typical inputs that say how large activations get. "
            "Received: representative_data=None"
        )
    if signatures is not None and (target == "micro" or quantize == "int8"):
        raise ValueError(
            "Files of several signatures are made for other targets than "
            '"micro", and not with `quantize="int8"`. Received: '
            f"target={target!r}, quantize={quantize!r}"
        )
    if target == "micro":
        _check_micro(quantize)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no directory '{path.parent}' to write to."
        )
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise PermissionError(f"'{path}' cannot be written.")


def check_values(
    representative_data, compare_on, batch_size, compact, select_tf_ops,
    explicit_padding, tolerance, seconds, threads, progress,
):
    """Raises unless each argument of `tflite` is of its kind; see there."""
    checks.data("representative_data", representative_data)
    checks.data("compare_on", compare_on)
    checks.optional(checks.whole, "batch_size", batch_size)
    checks.flag("compact", compact)
    checks.flag("select_tf_ops", select_tf_ops)
    checks.flag("explicit_padding", explicit_padding)
    checks.optional(checks.not_negative, "tolerance", tolerance)
    checks.not_negative("seconds", seconds)
    checks.whole("threads", threads)
    checks.optional(checks.kind, "progress", progress, Callable, "callable")


def _check_micro(quantize):
    if quantize in ("float16", "dynamic"):
        raise ValueError(
            "TensorFlow Lite Micro computes in float32 or int8. Received: "
            f'quantize={quantize!r}. Expected: None, "int8" or "auto"'
        )
    if not children.micro_installed():
        raise ImportError(
            'Target "micro" is checked in TensorFlow Lite Micro\'s own '
            "interpreter: `pip install tf_lottery[micro]`."
        )


def split(compare_on):
    """Returns the inputs and the labels of `compare_on`, or `None`s."""
    if isinstance(compare_on, tuple):
        if len(compare_on) != 2:
            raise ValueError(
                "Argument `compare_on` must be a tuple of inputs and labels, "
                f"or inputs. Received: a tuple of {len(compare_on)}"
            )
        return compare_on
    return compare_on, None


def check_shapes(source, target, *given):
    """Raises if an input's shape is open where the target needs it fixed.

    Args:
        source: `sources.Source`.
        target: See `tflite`.
        *given: Data that would tell the shape, or `None`s.
    """
    for spec in source.specs:
        shape = sources.shape_of(spec)
        opened = shape if target == "micro" else shape[1:]
        if None in opened and (target == "micro" or not any(
            data is not None for data in given
        )):
            raise ValueError(
                f"Input '{spec.name}' of model '{source.name}' has the open "
                f"shape {shape}. Fix it (`keras.Input`)"
                + (
                    ": TensorFlow Lite Micro has fixed shapes only."
                    if target == "micro"
                    else ", or pass inputs as `compare_on`."
                )
            )


def dtypes(quantize, data, target):
    """Returns the data types to convert to.

    float32 is always there: the others are seen beside it.
    """
    if quantize == "auto":
        names = ["float32", "float16", "dynamic", "int8"]
        if target == "micro":
            names = ["float32", "int8"]
        return [name for name in names if name != "int8" or data is not None]
    return list(dict.fromkeys(["float32", quantize or "float32"]))
