"""Keras model -> dense TFLite file, with TensorFlow's converter.

The model's function is traced and frozen once; every data type is converted
from that, in a child process: the converter prints, leaves log handlers
behind, and crashes on some models. `TFLiteConverter.from_keras_model` would
write a SavedModel for each data type, which takes longer than the conversion.
"""

import contextlib
import os
import re
import sys
import tempfile
import threading

import numpy as np

from tf_lottery.export import children
from tf_lottery.export import converting
from tf_lottery.export import flatbuffer

QUANTIZATIONS = ("float32", "float16", "dynamic", "int8")
SIGNATURE = "serving_default"
# The converter's words for operators that TFLite does not have.
_UNSUPPORTED = (
    re.compile(r"tf\.([A-Za-z0-9_]+)\(tensor"),
    re.compile(r"'tf\.([A-Za-z0-9_]+)' op is neither"),
    re.compile(r"error: '[a-z_]+\.([A-Za-z0-9_]+)' op"),
)
_DESCRIPTORS = threading.Lock()
# What the converter takes for the range of what is always zero.
_NO_RANGE = 2e-6


class ConversionError(ValueError):
    """The converter cannot make a TFLite file of a model."""


class Converter:
    """Makes TFLite files of one model, in a child process of TensorFlow.

    The arguments are those of `tflite`; with `float_products` int8 files
    compute products of two activations in float32.
    """

    def __init__(
        self, source, representative_data=None, select_tf_ops=False,
        child=None, dtypes=("float32", "float32"), float_layers=(),
        float_products=False,
    ):
        self._source = source
        self._data = representative_data
        self._select_tf_ops = select_tf_ops
        self._child = child
        self._dtypes = dtypes
        self._float_layers = float_layers
        self._float_products = float_products

    def convert(self, quantize="float32"):
        """Returns the dense file as bytes.

        Raises:
            ConversionError: If an operator is not supported (it is named),
                or the converter fails otherwise.
        """
        with contextlib.ExitStack() as stack:
            child = self._runtime(stack)
            with silence():
                source = self._source
                if quantize == "int8":
                    source = source.aware or source
                request = self._request(source, child.place)
            multiplies = self._float_products and self._source.multiplies
            steps = [False, True]
            if quantize != "int8" or self._source.aware is not None:
                steps = [False]
            if quantize == "int8" and (self._float_layers or multiplies):
                steps = [True]
            try:
                for in_steps in steps:
                    content = self._converted(
                        child, quantize, request, in_steps, multiplies
                    )
                    if not _has_idle(content):
                        break
            except children.RuntimeFailure as failure:
                raise ConversionError(self._explain(failure)) from None
        return _name_signature(content, source)

    def _converted(self, child, quantize, request, in_steps, multiplies):
        """Converts at once, or calibrates first and then quantises."""
        output, calibrated = child.place / "converted", child.place / "ranges"
        child.call(
            converting, "convert", quantize=quantize, output=str(output),
            calibrate_only=in_steps, **request,
        )
        if in_steps:
            calibrated.write_bytes(_widened(output.read_bytes()))
            child.call(
                converting, "quantize", calibrated=str(calibrated),
                output=str(output), dtypes=self._dtypes,
                nodes=_nodes(calibrated, self._float_layers)
                + (_products(calibrated) if multiplies else []),
            )
        return output.read_bytes()

    def shapes(self, content, inputs):
        """Returns the shapes of a file's tensors in a call of one sample.

        A dict by number where inputs are open; else `None`, as the file knows.
        """
        specs = self._source.specs
        if all(None not in tuple(spec.shape) for spec in specs) or (
            self._source.signatures is not None
        ):
            return None
        with contextlib.ExitStack() as stack:
            child = self._runtime(stack)
            model, samples = child.place / "open", child.place / "one.npz"
            model.write_bytes(content)
            np.savez(samples, *(array[:1] for array in inputs))
            found = child.call(
                converting, "shapes", model=str(model), samples=str(samples)
            )
        return {int(number): shape for number, shape in found.items()}

    def _runtime(self, stack):
        return self._child or children.started(stack, children.TENSORFLOW)

    def _request(self, source, place):
        """Writes what the converter reads; returns its arguments."""
        graph = place / "graph"
        request = {
            "graph": str(graph), "inputs": [], "outputs": [],
            "signatures": None, "dtypes": self._dtypes, "samples": None,
            "select_tf_ops": self._select_tf_ops,
        }
        if source.signatures is None:
            frozen = source.freeze()
            content = frozen.graph.as_graph_def().SerializeToString()
            graph.write_bytes(content)
            request["inputs"] = [tensor.name for tensor in frozen.inputs]
            request["outputs"] = [tensor.name for tensor in frozen.outputs]
        else:
            source.save(str(graph))
            request["signatures"] = sorted(source.signatures)
        # A model that was trained for int8 has learnt its ranges.
        if self._data is not None and self._source.aware is None:
            request["samples"] = str(place / "samples.npz")
            np.savez(request["samples"], *self._data)
        return request

    def _explain(self, failure):
        source = self._source
        if failure.crashed and source.loops:
            return (
                f"Model '{source.name}' loops over time, on which "
                f"TensorFlow's calibrator of int8 crashes: {failure}. "
                "Expected: recurrent layers with `unroll=True` and a fixed "
                'number of steps, or `quantize` as "dynamic" or "float16"'
            )
        return _explain(source.name, str(failure), self._select_tf_ops)


def _has_idle(content):
    """Whether an int8 activation of a file is always zero."""
    model = flatbuffer.read(content)
    return any(
        flatbuffer.type_name(tensor.type) == "INT8"
        and flatbuffer.raw(model, tensor) is None
        and max(tensor.quantization.scale) < _NO_RANGE / 200
        for graph in model.subgraphs for tensor in graph.tensors
    )


def _widened(content):
    """Returns a calibrated file in which what is always zero has a range.

    XNNPACK fails where an operator scales by more than 256, as one does that
    reads what is alive and writes into next to no range.
    """
    model = flatbuffer.read(content)
    ranges = [
        t.quantization for graph in model.subgraphs for t in graph.tensors
        if t.quantization is not None and t.quantization.max is not None
    ]
    largest = max((np.abs([q.min, q.max]).max() for q in ranges), default=0)
    for found in ranges:
        if largest and found.max[0] - found.min[0] < _NO_RANGE:
            found.min, found.max = [0.0], [float(largest)]
    return flatbuffer.write(model)


def _nodes(path, layers):
    """Returns the outputs of the operators of some layers."""
    model, found = flatbuffer.read(path), []
    for layer in layers:
        # In a trace Keras numbers the scopes of layers.
        scope = re.compile(rf"(^|[/;]){re.escape(layer)}(_\d+)?/")
        nodes = [
            flatbuffer.text(graph.tensors[operator.outputs[0]].name)
            for graph in model.subgraphs for operator in graph.operators
            if any(
                scope.search(flatbuffer.text(graph.tensors[index].name))
                for index in (operator.outputs[0], *operator.inputs[1:])
                if index != -1
            )
        ]
        if not nodes:
            raise ValueError(
                f"Argument `float_layers` names no layer with an operator of "
                f"its own in the file. Received: {layer!r}"
            )
        found += nodes
    return found


def _products(path):
    """Returns the outputs of products of two activations."""
    model = flatbuffer.read(path)
    return [
        flatbuffer.output_name(model, number, operator)
        for number, operator in flatbuffer.operators(model)
        if flatbuffer.operator_name(model, operator) == "BATCH_MATMUL"
        and all(
            flatbuffer.raw(model, model.subgraphs[number].tensors[i]) is None
            for i in operator.inputs
        )
    ]


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
def silence():
    """Drops what C++ writes to stdout and stderr while a graph is frozen."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_DESCRIPTORS)
        file = stack.enter_context(tempfile.TemporaryFile())
        for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
            kept = os.dup(descriptor)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, descriptor)
            os.dup2(file.fileno(), descriptor)
        yield


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
    expected = tuple(spec.shape)
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
