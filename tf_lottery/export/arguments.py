"""The arguments of `tflite`, checked before anything takes time."""

import os
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping

from tf_lottery.export import children
from tf_lottery.export import vela
from tf_lottery.utils import checks

QUANTIZE = ("float16", "dynamic", "int8", "auto")
DTYPES = ("float32", "int8")
ENCODINGS = ("auto", "dense")
VELA = "ethos-u"
# What each argument must be, and each that may be `None`.
_GIVEN = {
    "float_layers": (checks.names,),
    "encoding": (checks.choice, ENCODINGS),
    "compact": (checks.flag,),
    "select_tf_ops": (checks.flag,),
    "explicit_padding": (checks.flag,),
    "seconds": (checks.not_negative,),
    "threads": (checks.whole,),
}
_OPTIONAL = {
    "quantize": (checks.choice, QUANTIZE),
    "signatures": (checks.mapping, "name to function"),
    "input_dtype": (checks.choice, DTYPES),
    "output_dtype": (checks.choice, DTYPES),
    "batch_size": (checks.whole,),
    "tolerance": (checks.not_negative,),
    "progress": (checks.kind, Callable, "callable"),
}


def check(path, target, quantize, signatures):
    """Raises unless the arguments of `tflite` fit together."""
    quantize = quantize or target.dtypes[0]
    several = signatures is not None
    if several and (not target.has_signatures or quantize == "int8"):
        raise ValueError(
            "Files of several signatures are not made for microcontrollers, "
            'nor with `quantize="int8"`. Received: '
            f"target={target.name!r}, quantize={quantize!r}"
        )
    if quantize not in ("auto", *target.dtypes):
        raise ValueError(
            f'Target "{target.name}" computes in '
            f"{' or '.join(target.dtypes)}. Received: quantize={quantize!r}. "
            f'Expected: None, {", ".join(map(repr, target.dtypes))} or '
            "'auto'"
        )
    target.check()
    check_place(path)


def check_place(path):
    """Raises if a file cannot be written there."""
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no directory '{path.parent}' to write to."
        )
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise PermissionError(f"'{path}' cannot be written.")


def check_values(given):
    """Raises unless each argument of `tflite`, by name, is of its kind."""
    for name, (check, *options) in _GIVEN.items():
        check(name, given[name], *options)
    for name, (check, *options) in _OPTIONAL.items():
        checks.optional(check, name, given[name], *options)
    data = given["representative_data"]
    if not isinstance(data, (Callable, Iterator)) or isinstance(data, type):
        checks.data("representative_data", data)
    checks.data("compare_on", given["compare_on"])
    check_given_shapes(given["input_shapes"])
    _check_runtimes(given["runtimes"])
    dtypes = given["input_dtype"], given["output_dtype"]
    if "int8" in dtypes and given["quantize"] not in (None, "int8", "auto"):
        raise ValueError(
            "Inputs and outputs can be int8 in int8 files. Received: "
            f"quantize={given['quantize']!r}, input_dtype={dtypes[0]!r}, "
            f"output_dtype={dtypes[1]!r}"
        )


def check_given_shapes(input_shapes):
    """Raises unless an argument is shapes of inputs, or `None`."""
    if not isinstance(input_shapes, Mapping):
        checks.optional(checks.shape, "input_shapes", input_shapes)
        return
    checks.mapping("input_shapes", input_shapes, "input name to shape")
    for shape in input_shapes.values():
        checks.shape("input_shapes", shape)


def _check_runtimes(runtimes):
    """Raises unless runtimes are known, and installed."""
    if runtimes is None:
        return
    several = isinstance(runtimes, (list, tuple)) and len(runtimes) > 0
    if not several or not all(
        isinstance(name, str) and name in children.LABELS for name in runtimes
    ):
        checks.refuse(
            "runtimes", runtimes, f"a list of {', '.join(children.LABELS)}"
        )
    ready = {*children.installed(), *[children.MICRO] * (
        children.micro_installed()
    ), *[VELA] * bool(vela.command())}
    missing = [name for name in runtimes if name not in ready]
    if missing:
        raise ImportError(
            f"Runtimes {missing} are not installed: "
            "`pip install tf_lottery[litert,micro,ethosu]`. Received: "
            f"runtimes={runtimes!r}"
        )
    if set(runtimes) == {VELA}:
        raise ValueError(
            "A compiler runs nothing: `runtimes` must have another one than "
            f"{VELA!r}. Received: runtimes={runtimes!r}"
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

    `given` is data that would tell the shape, or `None`s.
    """
    told = any(data is not None for data in given)
    for spec in source.specs:
        shape = tuple(spec.shape)
        if target.has_fixed_shapes and None in shape:
            way_out = f': target "{target.name}" has fixed shapes only.'
        elif None in shape[1:] and not told:
            way_out = ", or pass inputs as `compare_on`."
        else:
            continue
        raise ValueError(
            f"Input '{spec.name}' of model '{source.name}' has the open "
            f"shape {shape}. Fix it (`input_shapes=`){way_out}"
        )


def check_ranges(quantize, target, source, data):
    """Raises if nothing tells the ranges of an int8 file."""
    is_int8 = (quantize or target.dtypes[0]) == "int8"
    if is_int8 and data is None and source.aware is None:
        raise ValueError(
            'Argument `quantize="int8"` needs `representative_data`, some '
            "hundred typical inputs that say how large activations get, or a "
            "model of `tf_lottery.quantize.aware`, which has learnt it. "
            "Received: representative_data=None"
        )


def check_aware(source, float_layers, explicit_padding):
    """Raises if a model that was trained for int8 is to be another."""
    if source.aware is None or not (float_layers or explicit_padding):
        return
    raise ValueError(
        f"Model '{source.name}' was trained as its int8 file computes, which "
        "`float_layers` and `explicit_padding` would change. Received: "
        f"float_layers={float_layers!r}, explicit_padding="
        f"{explicit_padding!r}. Expected: none of them; `exclude` of "
        "`tf_lottery.quantize.aware` keeps layers in float"
    )


def dtypes(quantize, has_ranges, target):
    """Returns the data types to convert to.

    float32 is always there: the others are seen next to it.
    """
    wanted = [quantize or target.dtypes[0]]
    if quantize == "auto":
        wanted = [
            name for name in target.dtypes
            if name != "int8" or has_ranges
        ]
    return list(dict.fromkeys(["float32", *wanted]))
