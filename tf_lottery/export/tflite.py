"""`tflite`: convert, encode, check, measure, choose, write."""

import contextlib
import pathlib
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Literal

import keras
import numpy as np

from tf_lottery import files
from tf_lottery import weights as weights_lib
from tf_lottery.export import arguments
from tf_lottery.export import candidates
from tf_lottery.export import convert
from tf_lottery.export import entropy
from tf_lottery.export import examining
from tf_lottery.export import inspection
from tf_lottery.export import narrowing
from tf_lottery.export import padding
from tf_lottery.export import report
from tf_lottery.export import sources
from tf_lottery.export import targets as targets_lib
from tf_lottery.utils import checks
from tf_lottery.utils import types


def tflite(
    model: keras.Model | types.Path,
    path: types.Path,
    target: str | targets_lib.Target = "auto",
    quantize: Literal["float16", "dynamic", "int8", "auto"] | None = None,
    representative_data: np.ndarray | Sequence[np.ndarray] | None = None,
    compare_on: types.Arrays = None,
    *,
    batch_size: int | None = None,
    signatures: Mapping[str, Any] | None = None,
    compact: bool = True,
    select_tf_ops: bool = False,
    explicit_padding: bool = False,
    tolerance: float | None = None,
    seconds: float = 0.5,
    threads: int = 1,
    progress: Callable[[str], Any] | None = None,
) -> report.Report:
    """Writes a model as the TFLite file that suits a target, checked.

    Every candidate file is loaded and run in a child process by every
    runtime installed (`ai_edge_litert`, TensorFlow's interpreter), with its
    default delegate, and compared: float32 with the Keras model, quantised
    ones with their dense file and, more loosely, with the Keras model
    (`check.KERAS_TOLERANCE`, `check.DENSE_TOLERANCE`). One that fails is not
    taken; if none is left nothing is written. A file is never larger than
    the dense one of its data type.

    The targets: `"size"`, the smallest download (`gzip -9`); `"flash"`, the
    smallest file as it is; `"cpu"`, fast on x86 and others, with sparse
    fully connected layers where they pay; `"arm"`, for XNNPACK's sparse
    convolutions; `"micro"`, TensorFlow Lite Micro with weights as bitmap and
    values; `"auto"`, the fastest measured here. Structured sparsity speeds up
    every one of them, so dead units are removed first.

    Args:
        model: A built `keras.Model`, with masks or without, or the path of a
            `.keras` file.
        path: Path of the file to write; one that ends in `.gz` is written
            compressed. With target `"micro"` a `.h` and a `.c` file of the
            same name are written too.
        target: String, see above, or a `targets.Target`. Defaults to
            `"auto"`.
        quantize: String or `None`: `None` keeps float32; `"float16"` and
            `"dynamic"` (int8 weights alone) need no data; `"int8"` needs
            `representative_data`, or a model of
            `tf_lottery.quantize.aware`; `"auto"` tries all that can be made and
            takes what suits the target, if it loses at most one point of
            accuracy on `compare_on`. Defaults to `None`.
        representative_data: Array, or list of arrays for several inputs,
            some hundred typical samples. Defaults to `None`.
        compare_on: Tuple of inputs and labels on which the accuracy of every
            candidate is reported, or inputs alone. Defaults to random
            inputs, and no accuracy.
        batch_size: Integer, the batch size to fix; for `"micro"` 1. Defaults
            to `None`, that of the model's inputs.
        signatures: Dict from name to `tf.function` with an input signature,
            for a file of several. Defaults to the model's call alone.
        compact: Boolean, whether dead units are removed first, which loses
            nothing (`tf_lottery.structured.compact`). Defaults to `True`.
        select_tf_ops: Boolean, whether operators that TFLite lacks may be
            TensorFlow's. The file is checked in TensorFlow's interpreter
            alone, and written only if that has the Flex delegate (the wheel
            of 2.21 has not). Defaults to `False`.
        explicit_padding: Boolean, see `tf_lottery.export.explicit_padding`;
            the file then equals the model with that padding. Defaults to
            `False`.
        tolerance: Float, the largest error against the Keras model, relative
            to the largest output. Defaults to that of the data type.
        seconds: Number, how long latency is measured for each few files; 0
            does not measure, and prefers files with sparse kernels where
            the fastest is wanted. Defaults to 0.5.
        threads: Integer, of the latency. Defaults to 1.
        progress: Function of a string, called before each step.

    Returns:
        `Report`.

    Raises:
        ValueError: If an argument does not fit, the model is damaged or
            `convert.ConversionError`: uses operators that TFLite lacks.
        ImportError: If target `"micro"` is asked for without its runtime.
        VerificationError: If no file passed its checks. None is left.
        OSError: If the path cannot be written.

    Example:

    >>> import tempfile
    >>> model = keras.Sequential(
    ...     [keras.Input((64,)), keras.layers.Dense(64, name="fc")])
    >>> kernel = keras.ops.eye(64)
    >>> model.layers[0].kernel.assign(kernel) is not None
    True
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     report = tfl.export.tflite(
    ...         model, f"{directory}/m.tflite", "flash", seconds=0)
    >>> report.shipped.name, report.layers[0].form, report.nbytes < 3000
    ('float32 sparse', 'densify', True)
    """
    checks.path("path", path)
    path, target = pathlib.Path(path), targets_lib.get(target)
    arguments.check_values(
        representative_data, compare_on, batch_size, compact, select_tf_ops,
        explicit_padding, tolerance, seconds, threads, progress,
    )
    arguments.check(path, target, quantize, signatures)
    example, labels = arguments.split(compare_on)
    if target.has_fixed_shapes:
        batch_size = batch_size or 1
    given = representative_data if representative_data is not None else example
    source = sources.open_model(model, batch_size, signatures, given)
    arguments.check_ranges(quantize, source, representative_data)
    notes = source.notes + _narrow(source, compact)
    notes += _pad(source, explicit_padding)
    arguments.check_shapes(source, target, representative_data, example)
    data, example = (
        None if found is None else convert.as_inputs(found, source, name)
        for found, name in (
            (representative_data, "representative_data"),
            (example, "compare_on"),
        )
    )
    job = examining.job(
        source, target, data, example, labels, seconds=seconds,
        threads=threads, tolerance=tolerance, say=progress or _nothing,
    )
    converter = convert.Converter(source, data, select_tf_ops)
    with contextlib.ExitStack() as stack:
        runtimes = examining.runtimes(stack, target, select_tf_ops)
        has_ranges = data is not None or source.aware is not None
        dtypes = arguments.dtypes(quantize, has_ranges, target)
        found, dense = _convert(job, converter, dtypes)
        accuracy = examining.examine(job, found, runtimes)
        wanted = [c for c in found if _wanted(c, quantize)]
        chosen = candidates.choose(wanted, target, accuracy)
    chosen.row.shipped = True
    work = inspection.inspect(dense)
    made = report.Report(
        str(path), target.name, [c.row for c in found], accuracy, work.macs,
        work.effective_macs, [r.name for r in runtimes], threads,
        notes + _notes(source, chosen),
    )
    made.sources = _write(path, chosen.content, target)
    return made


def _narrow(source, wanted):
    if source.aware is not None:
        return ["Nothing was removed: the ranges of int8 hold for all units."]
    if not wanted or source.signatures:
        return []
    source.model, notes = narrowing.narrow(source.model)
    return notes


def _pad(source, wanted):
    if not wanted:
        return []
    source.model, shifted = padding.explicit_padding(source.model)
    if not shifted:
        return ["Padding was made explicit; every layer computes the same."]
    return [
        "Padding was made explicit: kernels lie one pixel further to the "
        f"upper left in {', '.join(shifted)}. The file equals that model; "
        "train it for some epochs if the accuracy fell."
    ]


def _wanted(candidate, quantize):
    return quantize == "auto" or (
        candidate.row.quantize == (quantize or "float32")
    )


def _convert(job, converter, dtypes):
    found, first = [], None
    for quantize in dtypes:
        job.say(f"converting to {quantize}")
        dense = converter.convert(quantize)
        first = first or dense
        found += candidates.make(dense, quantize, job.target)
    return found, first


def _notes(source, chosen):
    layers = chosen.row.layers
    zeros = sum(layer.zeros for layer in layers)
    if not zeros:
        return [
            "The model has no zeros: sparse encoding brings nothing, the file "
            "is dense."
        ]
    notes, dead = [], [layer for layer in layers if layer.dead]
    if dead:
        notes.append(
            f"{sum(layer.dead for layer in dead):,} outputs in {len(dead)} "
            "operators have no weights left; `structured.compact` removes "
            "units that are dead, which is faster everywhere."
        )
    had = sum(map(_zeros, weights_lib.inspect(source.model)))
    if zeros < had:
        notes.append(
            f"{zeros:,} of the {had:,} zeros of the model are zero in weights "
            "of the file; the others are in weights it stores in another way."
        )
    return notes


def _zeros(weight):
    if weight.reason is not None:
        return 0
    value = keras.ops.convert_to_numpy(weight.variable)
    return value.size - np.count_nonzero(value)


def _write(path, content, target):
    """Writes the file, and those next to it; returns the paths of these."""
    packed = entropy.gzipped(content) if path.suffix == ".gz" else content
    files.write_atomic(path, [packed])
    return target.write_sources(path, content)


def _nothing(message):
    """Where progress goes when nobody wants to see it."""
