"""Reading and writing TFLite files as objects of the generated schema.

The schema is TensorFlow's (`tensorflow/lite/schema/schema.fbs`); its object
interface leaves two things to do: names of enumerated values, and the
alignment of weights, which microcontrollers read in place.
"""

import dataclasses
import functools
import pathlib

import numpy as np

from tf_lottery.utils import checks

# Operators whose weights are operand 1, and the axis of their outputs in it.
WEIGHTED = {
    "CONV_2D": 0,
    "DEPTHWISE_CONV_2D": 3,
    "TRANSPOSE_CONV": 0,
    "FULLY_CONNECTED": 0,
}
# What may stand between a constant and the operator that uses it.
_PASSING = ("DENSIFY", "DEQUANTIZE")
_NUMPY = {
    "FLOAT32": "<f4",
    "FLOAT16": "<f2",
    "FLOAT64": "<f8",
    "INT8": "i1",
    "UINT8": "u1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "BOOL": "?",
}
_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16


@functools.cache
def schema():
    """Returns the module of the generated schema."""
    from tensorflow.lite.python import schema_py_generated

    return schema_py_generated


@dataclasses.dataclass
class Weight:
    """The constant weights of one operator.

    Attributes:
        graph: Integer, the index of the subgraph.
        operator: The `OperatorT` that computes with the weights.
        kind: String, the operator's name, such as `"CONV_2D"`.
        tensor: The `TensorT` of the constant, at `index` in its subgraph.
        via: List of the `OperatorT` between the constant and `operator`,
            the nearest to `operator` first.
    """

    graph: int
    operator: object
    kind: str
    tensor: object
    index: int
    via: list

    @property
    def name(self):
        """String, the tensor's name in the file."""
        return text(self.tensor.name)

    @property
    def shape(self):
        """Tuple of integers, the shape of the (dense) weights."""
        return tuple(int(length) for length in self.tensor.shape)

    @property
    def dtype(self):
        """String such as `"FLOAT32"`."""
        return type_name(self.tensor.type)


def read(source):
    """Returns a TFLite file, its path or content, as a `ModelT` of the schema.

    Raises:
        ValueError: If it is not a TFLite file, or is damaged.
        OSError: If the file cannot be read.
    """
    given = isinstance(source, (bytes, bytearray, memoryview))
    if not given:
        checks.path("source", source)
    data = bytes(source) if given else pathlib.Path(source).read_bytes()
    name = "The content given" if given else f"'{source}'"
    if data[4:8] != _IDENTIFIER:
        raise ValueError(
            f"{name} is not a TFLite file. Received: {len(data)} bytes that "
            f"begin with {data[:8]!r}. Expected: {_IDENTIFIER!r} at byte 4."
        )
    try:
        model = schema().ModelT.InitFromPackedBuf(bytearray(data), 0)
        _check(model)
    # The reader follows whatever offsets it finds.
    except Exception as error:
        raise ValueError(
            f"{name} is a damaged TFLite file. Received: {len(data)} bytes; "
            f"reading them failed with {type(error).__name__}: "
            f"{str(error)[:200]}"
        ) from error
    return model


def _check(model):
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            model.buffers[tensor.buffer].data
        for operator in graph.operators:
            operator_name(model, operator)
            for index in (*operator.inputs, *operator.outputs):
                if index != -1:
                    graph.tensors[index].type


def write(model):
    """Returns the content of the file for a `ModelT`.

    Weights start at multiples of 16 bytes, as the schema asks for.
    """
    import flatbuffers

    kept = model.buffers
    model.buffers = [_Aligned(buffer) for buffer in kept]
    try:
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    finally:
        model.buffers = kept
    return bytes(builder.Output())


class _Aligned:
    """A `BufferT` that packs itself aligned; the generated one does not."""

    def __init__(self, buffer):
        self._buffer = buffer

    def Pack(self, builder):
        data = self._buffer.data
        if data is not None:
            builder.Prep(_ALIGNMENT, len(data))
        return self._buffer.Pack(builder)


def text(name):
    """Returns a name in a file as a string."""
    return name.decode(errors="replace") if isinstance(name, bytes) else name


def operator_name(model, operator):
    """Returns an operator's name; that of a custom one as the file has it."""
    code = model.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema().BuiltinOperator.CUSTOM:
        return text(code.customCode)
    return _names("BuiltinOperator")[number]


def output_name(model, number, operator):
    """Returns the name of an operator's output in a subgraph of a number."""
    return text(model.subgraphs[number].tensors[operator.outputs[0]].name)


def operators(model):
    """Yields the number of its subgraph, and every operator of a file."""
    for number, graph in enumerate(model.subgraphs):
        for operator in graph.operators:
            yield number, operator


def type_name(number):
    """Returns the name of a tensor type, such as `"FLOAT32"`."""
    return _names("TensorType")[number]


@functools.cache
def _names(enumeration):
    values = vars(getattr(schema(), enumeration)).items()
    return {v: name for name, v in values if isinstance(v, int)}


def weights(model):
    """Returns the `Weight` of every operator with constant weights."""
    found = []
    for number, graph in enumerate(model.subgraphs):
        makers = {o: op for op in graph.operators for o in op.outputs}
        for operator in graph.operators:
            kind = operator_name(model, operator)
            if kind not in WEIGHTED:
                continue
            index, via = operator.inputs[1], []
            while index in makers and (
                operator_name(model, makers[index]) in _PASSING
            ):
                via.append(makers[index])
                index = makers[index].inputs[0]
            tensor = graph.tensors[index]
            if raw(model, tensor) is not None:
                found.append(
                    Weight(number, operator, kind, tensor, int(index), via)
                )
    return found


def raw(model, tensor):
    """Returns the bytes stored for a tensor as an array, or `None`."""
    data = model.buffers[tensor.buffer].data
    return None if data is None or not len(data) else np.asarray(data)


def stored(model, tensor):
    """Returns the values stored for a tensor, flat: all, or the nonzeros."""
    return raw(model, tensor).view(_NUMPY[type_name(tensor.type)])


def consumers(graph, index):
    """Returns the operators of a subgraph that read a tensor."""
    return [op for op in graph.operators if index in op.inputs]


def by_constant(model):
    """Returns the `Weight`s as lists, one for each constant."""
    found = {}
    for weight in weights(model):
        found.setdefault((weight.graph, weight.index), []).append(weight)
    return list(found.values())
