"""`onnx`: Keras' own ONNX file, run and compared before it is written."""

import contextlib
import importlib.util
import pathlib
import tempfile
import warnings
from collections.abc import Mapping
from collections.abc import Sequence

import keras

from tf_lottery import files
from tf_lottery.export import arguments
from tf_lottery.export import check
from tf_lottery.export import children
from tf_lottery.export import convert
from tf_lottery.export import elsewhere
from tf_lottery.export import entropy
from tf_lottery.export import examining
from tf_lottery.export import initializers
from tf_lottery.export import lowering
from tf_lottery.export import samples
from tf_lottery.export import sources
from tf_lottery.export import targets
from tf_lottery.utils import backends
from tf_lottery.utils import checks
from tf_lottery.utils import types

_NEEDED = ("onnx", children.ONNX, "tf2onnx")


def onnx(
    model: keras.Model | types.Path,
    path: types.Path,
    compare_on: types.Arrays = None,
    *,
    input_shapes: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    batch_size: int | None = None,
    compact: bool = True,
    opset_version: int | None = None,
    tolerance: float | None = None,
) -> initializers.OnnxReport:
    """Writes a model as an ONNX file, checked.

    The file is that of Keras' `model.export(format="onnx")`, of the model
    without its masks and dead units, in float32. It is run by ONNX Runtime
    in a child process and compared with the Keras model, and the zeros of
    every kernel are counted in its initializers; if one of these fails
    nothing is written. Zeros take their place in the file: it is their
    `gzip` that is small, and what was shrunk that is fast.

    Under another backend of Keras a process under TensorFlow makes the file,
    which is compared with the outputs of the model given.

    Args:
        model: A built `keras.Model`, with masks or without, or the path of a
            `.keras` file.
        path: Path of the file to write.
        compare_on: Inputs on which outputs are compared: an array, or a list
            or dict of arrays for several inputs; of a tuple of inputs and
            labels the inputs. Defaults to random inputs.
        input_shapes: Tuple of integers without the batch, or dict from input
            name to tuple, where the model leaves a size open, such as time.
            Defaults to `None`, which leaves it open in the file too.
        batch_size: Integer, the batch size to fix. Defaults to `None`, that
            of the model's inputs.
        compact: Boolean, whether dead units are removed first, which loses
            nothing (`tf_lottery.structured.compact`). Defaults to `True`.
        opset_version: Integer, the version of ONNX's operators. Defaults to
            `None`, that of the converter.
        tolerance: Float, the largest error against the Keras model, relative
            to the largest output. Defaults to 1e-5.

    Returns:
        `OnnxReport`.

    Raises:
        ValueError: If an argument does not fit, the model is damaged;
            `convert.ConversionError`: it cannot be converted.
        ImportError: If the extra `onnx` is not installed.
        VerificationError: If outputs differ or zeros were lost.
        OSError: If the path cannot be written.

    Example:

    ```python
    report = tfl.export.onnx(model, "m.onnx", compare_on=x[:100])
    print(report)                   # per kernel: its zeros in the file
    ```
    """
    given = dict(locals())
    _check(path, input_shapes, batch_size, compact, opset_version, tolerance)
    checks.data("compare_on", compare_on)
    if not isinstance(model, elsewhere.Model):
        model = sources.checked(model)
    _check_installed()
    if not backends.is_tensorflow():
        plain, notes = sources.plain(model)
        return elsewhere.ask(onnx, model, plain, notes, given)
    example, _ = arguments.split(compare_on)
    source = sources.open_model(
        model, batch_size, None, example, input_shapes
    )
    arguments.check_shapes(source, targets.get("size"), example)
    if example is not None:
        example = convert.as_inputs(example, source, "compare_on")
    notes = list(source.notes)
    if compact:
        source.model, more = sources.narrowed(source.model)
        notes += more
    content = _converted(source, opset_version)
    outcome = _run(source, content, example, tolerance)
    kernels = initializers.compare(source.model, content)
    _check_passed(outcome, kernels)
    files.write_atomic(pathlib.Path(path), [content])
    return initializers.OnnxReport(
        str(path), len(content), len(entropy.gzipped(content)), kernels,
        outcome, notes,
    )


def _check(path, input_shapes, batch_size, compact, opset, tolerance):
    checks.path("path", path)
    arguments.check_given_shapes(input_shapes)
    checks.optional(checks.whole, "batch_size", batch_size)
    checks.flag("compact", compact)
    checks.optional(checks.whole, "opset_version", opset)
    checks.optional(checks.not_negative, "tolerance", tolerance)
    arguments.check_place(pathlib.Path(path))


def _check_installed():
    missing = [n for n in _NEEDED if importlib.util.find_spec(n) is None]
    if missing:
        raise ImportError(
            "Files of ONNX need packages that are not installed. Received: "
            f"no {', '.join(missing)}. Expected: the extra, "
            "`pip install tf_lottery[onnx]`"
        )


def _converted(source, opset_version):
    """Returns the bytes of Keras' own file."""
    from onnx import checker
    from onnx import load_model

    with tempfile.TemporaryDirectory(prefix="tf_lottery-") as directory:
        written = pathlib.Path(directory) / "m.onnx"
        try:
            # The converter prints, and says so of NumPy's older names.
            with convert.silence(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _Frozen(source).export(
                    str(written), format="onnx", verbose=False,
                    input_signature=[source.arranged(source.specs)],
                    opset_version=opset_version,
                )
            # Operators that it lacks are written as they are.
            made = load_model(written)
            lowering.lower(made)
            checker.check_model(made)
        # It raises whatever it runs into.
        except Exception as error:
            raise convert.ConversionError(
                f"Model '{source.name}' cannot be converted to ONNX. The "
                f"converter says: {type(error).__name__}: {str(error)[:500]}"
            ) from error
        return made.SerializeToString()


class _Frozen(keras.Model):
    """The graph of a model with all it reads as constants.

    Keras would call the model for training where a layer leaves that open,
    and take a constant such as the mean of `Normalization` for an input.
    """

    def __init__(self, source):
        super().__init__(name=source.name)
        source.inlined = True
        source.freeze()
        self.source = source
        self.built = True

    def call(self, inputs):
        return self.source.call_frozen(keras.tree.flatten(inputs))


def _run(source, content, example, tolerance):
    """Returns the `check.Outcome` of a file in ONNX Runtime."""
    job = examining.job(source, None, None, example, None, None)
    # An open batch is run as one, which a file of batch 1 would not take.
    fixed = tuple(source.specs[0].shape)[0]
    found = samples.Samples.of(source, job.inputs, fixed or len(job.inputs[0]))
    with contextlib.ExitStack() as stack:
        runtime = children.started(stack, children.ONNX)
        checker = check.Checker([runtime], found, tolerance)
        return checker.check(content, "float32", dense=True)[0]


def _check_passed(outcome, kernels):
    lost = [str(kernel) for kernel in kernels if not kernel.is_whole]
    if outcome.passed and not lost:
        return
    said = "\n".join(f"  {line}" for line in [outcome, *lost])
    raise check.VerificationError(
        f"The ONNX file did not pass its checks; none was written.\n{said}",
        [] if outcome.passed else [outcome],
    )
