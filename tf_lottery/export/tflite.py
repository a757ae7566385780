"""`tflite`: convert, encode, check, measure, choose, write."""

import contextlib
import pathlib
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Literal

import keras

from tf_lottery import files
from tf_lottery.export import arguments
from tf_lottery.export import candidates
from tf_lottery.export import compatibility
from tf_lottery.export import convert
from tf_lottery.export import elsewhere
from tf_lottery.export import entropy
from tf_lottery.export import examining
from tf_lottery.export import feeding
from tf_lottery.export import inspection
from tf_lottery.export import metrics
from tf_lottery.export import notes as notes_lib
from tf_lottery.export import padding
from tf_lottery.export import report
from tf_lottery.export import sources
from tf_lottery.export import targets as targets_lib
from tf_lottery.utils import backends
from tf_lottery.utils import checks
from tf_lottery.utils import types


def tflite(
    model: keras.Model | types.Path,
    path: types.Path,
    target: str | targets_lib.Target = "auto",
    quantize: Literal["float16", "dynamic", "int8", "auto"] | None = None,
    representative_data: types.Arrays = None,
    compare_on: types.Arrays = None,
    *,
    accelerator: str | None = None,
    metric: str | keras.metrics.Metric | Callable[..., float] | None = None,
    runtimes: Sequence[str] | None = None,
    encoding: Literal["auto", "dense"] = "auto",
    input_dtype: Literal["float32", "int8"] | None = None,
    output_dtype: Literal["float32", "int8"] | None = None,
    float_layers: types.Names = (),
    input_shapes: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
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
    the dense one of its data type. The converter runs in a child process
    too.

    The targets: `"size"`, the smallest download (`gzip -9`); `"flash"`, the
    smallest file as it is; `"cpu"`, fast on x86 and others, with sparse
    fully connected layers where they pay; `"arm"`, for XNNPACK's sparse
    convolutions; `"micro"`, TensorFlow Lite Micro with weights as bitmap and
    values; `"auto"`, the fastest measured here; `"ethos-u55"`, `"ethos-u65"`
    and `"ethos-u85"`, Arm's NPUs: an int8 file and, beside it, what Arm's
    compiler Vela makes of it, with Vela's estimates. Structured sparsity
    speeds up every one of them, so dead units are removed first.

    Under another backend of Keras a process under TensorFlow does all this,
    on a model of the same configuration and weights, and compares with the
    outputs of the model given.

    Args:
        model: A built `keras.Model`, with masks or without, or the path of a
            `.keras` file.
        path: Path of the file to write; one that ends in `.gz` is written
            compressed. With target `"micro"` a `.h` and a `.c` file of the
            same name are written too, with an Ethos-U a `_vela.tflite`.
        target: String, see above, or a `targets.Target`. Defaults to
            `"auto"`.
        quantize: String or `None`: `None` keeps float32, or int8 with an
            Ethos-U; `"float16"` and `"dynamic"` (int8 weights alone) need no
            data; `"int8"` needs `representative_data`, or a model of
            `tf_lottery.quantize.aware`; `"auto"` tries all that can be made
            and takes what suits the target, if it loses at most one point of
            accuracy on `compare_on`, or one per cent of another `metric`.
            Defaults to `None`.
        representative_data: Some hundred typical samples: an array, a list
            or dict of arrays for several inputs, or batches of these, as a
            `tf.data.Dataset`, `keras.utils.PyDataset`, generator or callable
            (a tuple is inputs and labels). Defaults to `None`.
        compare_on: Tuple of inputs and labels on which `metric` is reported
            for every candidate, or inputs alone. Defaults to random inputs,
            and no metric.
        accelerator: String, the configuration of an Ethos-U, such as
            `"ethos-u55-128"`, see `vela.ACCELERATORS`. Defaults to 128 MACs
            a cycle for U55, 256 for the others. For system and memory modes
            pass a `targets.EthosU` as `target`.
        metric: `keras.metrics.Metric` or the name of one, or a callable of
            labels and outputs, structured as the model's, that returns a
            number, higher = better. Defaults to `None`, the share of right
            answers of a classifier.
        runtimes: List of strings, the runtimes in which every candidate must
            be right: `"ai_edge_litert"`, `"tensorflow"`, `"tflite_micro"`;
            and `"ethos-u"` for one that Vela compiles without leaving
            anything to the CPU. Defaults to those of the target.
        encoding: String, `"dense"` for a file with plain zeros, which tools
            read that do not know sparse tensors. Defaults to `"auto"`.
        input_dtype: String, `"float32"` or `"int8"`, of the inputs of int8
            files. Defaults to `None`, which is int8 with an Ethos-U, else
            float32.
        output_dtype: String, the same of the outputs. Defaults to `None`.
        float_layers: Names of layers that int8 files compute in float32,
            such as a last one that loses accuracy. Defaults to none. Products
            of two activations, as in attention, are computed so in any case
            where XNNPACK runs the file, which is inexact there in int8; not
            in models of `quantize.aware` and files of `signatures`.
        input_shapes: Tuple of integers without the batch, or dict from input
            name to tuple, where the model leaves a size open, such as time.
            Defaults to `None`, the model's own.
        batch_size: Integer, the batch size to fix; for `"micro"` and Ethos-U
            1. Defaults to `None`, that of the model's inputs.
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
        ValueError: If an argument does not fit, the model is damaged;
            `convert.ConversionError`: uses operators that TFLite lacks;
            `vela.CompilationError`: Vela refuses the file.
        ImportError: If a runtime or Vela is asked for and not installed.
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
    given = dict(locals())
    checks.path("path", path)
    if not backends.is_tensorflow():
        model = sources.checked(model)
        plain, notes = sources.plain(model)
        return elsewhere.ask(tflite, model, plain, notes, given)
    path, target = pathlib.Path(path), targets_lib.get(target, accelerator)
    metric = metrics.Metric(metric)
    arguments.check_values(given)
    arguments.check(path, target, quantize, signatures)
    example, labels = arguments.split(compare_on)
    data = feeding.arrays(representative_data)
    if target.has_fixed_shapes:
        batch_size = batch_size or 1
    given = data if data is not None else example
    source = sources.open_model(
        model, batch_size, signatures, given, input_shapes
    )
    arguments.check_ranges(quantize, target, source, data)
    arguments.check_aware(source, float_layers, explicit_padding)
    arguments.check_shapes(source, target, data, example)
    data, example = (
        None if found is None else convert.as_inputs(found, source, name)
        for found, name in (
            (data, "representative_data"), (example, "compare_on"),
        )
    )
    with contextlib.ExitStack() as stack:
        checking, child = examining.start(
            stack, target, select_tf_ops, runtimes
        )
        notes = source.notes + _narrow(source, compact)
        notes += _pad(source, explicit_padding)
        job = examining.job(
            source, target, data, example, labels, metric, threads=threads,
            seconds=seconds if target.is_timed_here else 0,
            tolerance=tolerance, say=progress or (lambda message: None),
        )
        converter = convert.Converter(
            source, data, select_tf_ops, child,
            (input_dtype or target.io_dtype, output_dtype or target.io_dtype),
            [float_layers] if isinstance(float_layers, str) else float_layers,
            float_products=not (
                target.has_int8_products or source.aware or signatures
            ),
        )
        has_ranges = data is not None or source.aware is not None
        dtypes = arguments.dtypes(quantize, has_ranges, target)
        found, first = _convert(
            job, converter, dtypes, encoding == "auto", quantize == "auto",
            notes,
        )
        examining.examine(
            job, found, checking, arguments.VELA in (runtimes or ())
        )
        asked = quantize or target.dtypes[0]
        wanted = [c for c in found if asked in ("auto", c.row.quantize)]
        chosen = candidates.choose(wanted, target, metric, job.reference)
        work = inspection.inspect(first, converter.shapes(first, job.inputs))
    chosen.row.shipped = True
    made = report.Report(
        str(path), target.name, [c.row for c in found], job.reference,
        work.macs, work.effective_macs, [r.name for r in checking], threads,
        notes + notes_lib.of(source, chosen), metric_name=metric.name,
    )
    return _finish(job, made, path, chosen)


def _finish(job, made, path, chosen):
    """Compiles and tries the file chosen, writes it, returns its report."""
    job.say("compiling")
    compiled, made.npu = job.target.compile(chosen.content)
    if job.source.signatures is None:
        chosen.row.others = compatibility.try_others(
            job, chosen, made.macs, made.npu
        )
    packed = chosen.content
    if path.suffix == ".gz":
        packed = entropy.gzipped(packed)
    files.write_atomic(path, [packed])
    made.sources = job.target.write_sources(path, chosen.content, compiled)
    return made


def _narrow(source, wanted):
    if source.aware is not None:
        return ["Nothing was removed: the ranges of int8 hold for all units."]
    if not wanted or source.signatures:
        return []
    source.model, notes = sources.narrowed(source.model)
    return notes


def _pad(source, wanted):
    if not wanted:
        return []
    source.model, shifted = padding.explicit_padding(source.model)
    # It may be another model, which this process alone has.
    source.reference = None
    if not shifted:
        return ["Padding was made explicit; every layer computes the same."]
    return [
        "Padding was made explicit: kernels lie one pixel further to the "
        f"upper left in {', '.join(shifted)}. The file equals that model; "
        "train it for some epochs if the accuracy fell."
    ]


def _convert(job, converter, dtypes, encode, any_will_do, notes):
    """Returns the candidates of some data types, and the first dense file.

    Where any will do one that cannot be made is only noted.
    """
    found, first = [], None
    for quantize in dtypes:
        job.say(f"converting to {quantize}")
        try:
            dense = converter.convert(quantize)
        except convert.ConversionError as error:
            if first is None or not any_will_do:
                raise
            notes.append(f"Not made: {quantize}. {error}")
            continue
        first = first or dense
        found += candidates.make(dense, quantize, job.target, encode)
    return found, first
