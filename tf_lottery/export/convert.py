"""Keras model -> dense TFLite file, with TensorFlow's converter, quietly.

The model's function is traced and frozen once; every data type is converted
from that. `TFLiteConverter.from_keras_model` would write a SavedModel for
each one, which takes longer than the conversion.
"""

import contextlib
import os
import re
import sys
import tempfile
import threading
import warnings

import numpy as np

from tf_lottery.export import flatbuffer
from tf_lottery.export import sources
from tf_lottery.utils.backends import tf

QUANTIZATIONS = ("float32", "float16", "dynamic", "int8")
SIGNATURE = "serving_default"
# The converter's words for operators that TFLite does not have.
_UNSUPPORTED = (
    re.compile(r"tf\.([A-Za-z0-9_]+)\(tensor"),
    re.compile(r"'tf\.([A-Za-z0-9_]+)' op is neither"),
    re.compile(r"error: '[a-z_]+\.([A-Za-z0-9_]+)' op"),
)
_MAX_SAMPLES = 500
_DESCRIPTORS = threading.Lock()


class ConversionError(ValueError):
    """The converter cannot make a TFLite file of a model."""


class Converter:
    """Makes TFLite files of one model.

    Args:
        source: `sources.Source`.
        representative_data: List of arrays, one for each input, which share
            their first axis. Defaults to `None`.
        select_tf_ops: Boolean, whether operators that TFLite lacks may be
            TensorFlow's; the runtime then needs its "Flex" delegate.
            Defaults to `False`.
    """

    def __init__(self, source, representative_data=None, select_tf_ops=False):
        self._source = source
        self._data = representative_data
        self._select_tf_ops = select_tf_ops

    def convert(self, quantize="float32"):
        """Returns the dense file as bytes.

        Args:
            quantize: String, one of `QUANTIZATIONS`. `"int8"` quantises
                weights and activations where the operator can; inputs and
                outputs stay float32.

        Raises:
            ConversionError: If an operator is not supported (it is named),
                or the converter fails otherwise.
        """
        with tempfile.TemporaryDirectory() as directory:
            with _silence():
                source = self._source_of(quantize)
                converter = self._converter(tf, source, directory)
            self._set(tf, converter, quantize)
            content = self._quietly(converter.convert)
        return _name_signature(content, source)

    def _source_of(self, quantize):
        is_int8 = quantize == "int8"
        return (is_int8 and self._source.aware) or self._source

    def _converter(self, tf, source, directory):
        if source.signatures is None:
            frozen = source.freeze()
            return tf.lite.TFLiteConverter.from_concrete_functions([frozen])
        source.save(directory)
        return tf.lite.TFLiteConverter.from_saved_model(
            directory, signature_keys=sorted(source.signatures)
        )

    def _set(self, tf, converter, quantize):
        if quantize != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantize == "int8" and self._source.aware is None:
            converter.representative_dataset = self._samples
        if self._select_tf_ops:
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.TFLITE_BUILTINS,
                tf.lite.OpsSet.SELECT_TF_OPS,
            ]

    def _quietly(self, convert):
        with tempfile.TemporaryFile() as log:
            try:
                with _silence(log):
                    return convert()
            # The converter raises its own errors, ValueErrors and others.
            except Exception as error:
                log.seek(0)
                said = f"{error}\n{log.read().decode(errors='replace')}"
                name, select = self._source.name, self._select_tf_ops
                raise ConversionError(_explain(name, said, select)) from error

    def _samples(self):
        number = min(len(self._data[0]), _MAX_SAMPLES)
        for i in range(number):
            yield [array[i:i + 1] for array in self._data]


def _explain(name, said, select_tf_ops):
    if "requires element_shape to be static" in said:
        return (
            f"Model '{name}' loops over time with an open batch size, which "
            "TFLite does not have. Received: batch_size=None. Expected: "
            "`batch_size=1`, or another number"
        )
    found = {op for rule in _UNSUPPORTED for op in rule.findall(said)}
    if found:
        way = "" if select_tf_ops else (
            ", or pass `select_tf_ops=True`; the runtime then needs "
            "TensorFlow's operators (the Flex delegate)"
        )
        return (
            f"Model '{name}' uses operators that TFLite does not have. "
            f"Received: {sorted(found)}. Replace them{way}."
        )
    lines = [line for line in said.splitlines() if line.strip()]
    return (
        f"Model '{name}' cannot be converted to TFLite. The converter says: "
        f"{' '.join(lines)[:500]}"
    )


@contextlib.contextmanager
def _silence(log=None):
    """Sends what Python and C++ write to stdout and stderr to `log`."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_DESCRIPTORS)
        file = log or stack.enter_context(tempfile.TemporaryFile())
        for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
            kept = os.dup(descriptor)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, descriptor)
            os.dup2(file.fileno(), descriptor)
        text = stack.enter_context(
            open(os.devnull, "w", encoding="utf-8")
        )
        stack.enter_context(contextlib.redirect_stdout(text))
        stack.enter_context(contextlib.redirect_stderr(text))
        stack.enter_context(_quiet_absl())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _quiet_absl():
    import logging

    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def _name_signature(content, source):
    """Puts in the names of inputs and outputs, which freezing loses."""
    if source.signatures is not None:
        return content
    model = flatbuffer.read(content)
    graph = model.subgraphs[0]
    names = flatbuffer.schema()
    signature = names.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
    pairs = (
        ("inputs", source.input_names, graph.inputs),
        ("outputs", source.output_names, graph.outputs),
    )
    for side, found, indices in pairs:
        maps = []
        for name, index in zip(found, indices):
            entry = names.TensorMapT()
            entry.name, entry.tensorIndex = name, int(index)
            maps.append(entry)
        setattr(signature, side, maps)
    model.signatureDefs = [signature]
    return flatbuffer.write(model)


def as_inputs(data, source, argument):
    """Returns data as a list with one array for each input of a model.

    Args:
        data: Array, list of arrays or dict by input name.
        source: `sources.Source`.
        argument: String, the argument's name for the error message.

    Raises:
        ValueError: If the number of arrays, or a shape, does not fit.
    """
    specs = source.specs
    if isinstance(data, dict):
        missing = sorted(set(source.input_names) - set(data))
        if missing:
            raise ValueError(
                f"Argument `{argument}` has no array for {missing}. "
                f"Received: keys {sorted(data)}"
            )
        data = [data[name] for name in source.input_names]
    elif not isinstance(data, (list, tuple)):
        data = [data]
    if len(data) != len(specs):
        raise ValueError(
            f"Argument `{argument}` must have one array for each input of "
            f"the model. Received: {len(data)} arrays. Expected: "
            f"{len(specs)}, of {[tuple(spec.shape) for spec in specs]}"
        )
    return [_fit(a, spec, argument) for a, spec in zip(data, specs)]


def _fit(array, spec, argument):
    array = np.asarray(array)
    expected = sources.shape_of(spec)
    fits = array.ndim == len(expected) and all(
        want is None or want == have
        for want, have in zip(expected[1:], array.shape[1:])
    )
    if not fits or not len(array):
        raise ValueError(
            f"Argument `{argument}` does not fit the model's inputs. "
            f"Received: shape {array.shape}. Expected: {expected}, with at "
            "least one sample"
        )
    return array.astype(spec.dtype.as_numpy_dtype)
