"""Shares: what part of a file's time each of its weights takes."""

import contextlib
import dataclasses
import statistics
import warnings

import numpy as np

from tf_lottery.export import children
from tf_lottery.export import converting
from tf_lottery.export import flatbuffer
from tf_lottery.export import latency
from tf_lottery.utils import backends
from tf_lottery.utils import companion

_SECONDS = 3.0


@dataclasses.dataclass(frozen=True)
class Share:
    """What an operator with weights takes of one call of a file.

    Attributes:
        weights: Integer, how many it has.
        computes: Float, the fraction of the time of the whole file that it
            takes to multiply.
        reads: Float, the fraction that it takes to read its weights, where
            it waits for them; else 0.
    """

    weights: int
    computes: float
    reads: float = 0.0


def of(content, target):
    """Returns the `Share`s of a file: of Vela's cycles, or measured here.

    Args:
        content: Bytes of the file.
        target: `targets.Target`.
    """
    if not backends.is_tensorflow():
        return companion.ask(of, content, target)
    _, compiled = target.compile(content)
    return _timed(content) if compiled is None else _estimated(
        content, compiled.file
    )


def _estimated(content, estimate):
    model = flatbuffer.read(content)
    sizes = {
        flatbuffer.text(_output(model, weight).name): int(np.prod(weight.shape))
        for weight in flatbuffer.weights(model)
    }
    found = []
    for operator in estimate.operators:
        if operator.name in sizes:
            waits = operator.reason.startswith("memory-bound: zeros")
            found.append(Share(
                sizes[operator.name],
                (operator.mac_cycles if waits else operator.cycles)
                / estimate.cycles,
                operator.memory_cycles / estimate.cycles if waits else 0.0,
            ))
    return found


def _output(model, weight):
    return model.subgraphs[weight.graph].tensors[weight.operator.outputs[0]]


def _timed(content):
    """Times operators as files of their own, in turns with the whole one.

    Each is timed with half of its channels, too: what does not fall with
    the multiplications is no share of its weights.

    Warns:
        UserWarning: If they do not run; there are no shares then.
    """
    model = flatbuffer.read(content)
    with contextlib.ExitStack() as stack:
        child = children.started(stack, children.TENSORFLOW)
        path, samples = child.place / "open", child.place / "one.npz"
        path.write_bytes(content)
        np.savez(samples, *latency.random_inputs(model))
        shapes = child.call(
            converting, "shapes", model=str(path), samples=str(samples)
        )
        pieces = [
            _piece(content, shapes, index, halved)
            for index in range(len(_alone(model))) for halved in (False, True)
        ]
        child = children.started(stack, children.installed()[0])
        try:
            whole, *times = map(statistics.median, child.measure(
                [content, *(piece for piece, _ in pieces)], [], _SECONDS
            ))
        except children.RuntimeFailure as error:
            warnings.warn(
                f"The operators of the file do not run alone: {error}. "
                "Multiplications are counted in place of their time.",
                stacklevel=2,
            )
            return []
    found = []
    for index in range(0, len(pieces), 2):
        size, half = (weights for _, weights in pieces[index:index + 2])
        takes = times[index]
        if half < size:
            falls = (takes - times[index + 1]) / (1 - half / size)
            takes = min(max(0.0, falls), takes)
        found.append(Share(size, takes / whole))
    return found


def _alone(model):
    """Returns the `flatbuffer.Weight`s whose operators run on their own.

    Those of loops have no shape until they run, and transposed convolutions
    take the shape that they make as an input.
    """
    return [
        weight for weight in flatbuffer.weights(model)
        if not weight.graph and weight.kind != "TRANSPOSE_CONV"
    ]


def _piece(content, shapes, number, halved):
    """Returns the file of one operator, and how many weights that has.

    Args:
        shapes: Dict from tensor number, as a string, to shape in a call.
        halved: Boolean, whether half of its channels are left out, where
            that can be done.
    """
    model = flatbuffer.read(content)
    graph = model.subgraphs[0]
    weight = _alone(model)[number]
    graph.operators = [*weight.via[::-1], weight.operator]
    used = dict.fromkeys(
        int(i) for op in graph.operators for i in (*op.inputs, *op.outputs)
        if i != -1
    )
    made = {int(i) for op in graph.operators for i in op.outputs}
    for index, tensor in enumerate(graph.tensors):
        if index not in used:
            tensor.buffer = 0
        elif flatbuffer.raw(model, tensor) is None:
            tensor.shape, tensor.shapeSignature = shapes[str(index)], None
    graph.outputs = weight.operator.outputs
    graph.inputs = [
        i for i in used if i not in made
        and flatbuffer.raw(model, graph.tensors[i]) is None
    ]
    if halved and not weight.via:
        _halve(model, weight, *(
            graph.tensors[i] for i in (*graph.inputs, *graph.outputs)
        ))
    kept = {tensor.buffer for tensor in graph.tensors}
    for index, buffer in enumerate(model.buffers):
        if index not in kept:
            buffer.data = None
    model.subgraphs, model.signatureDefs = [graph], None
    model.metadata = model.metadataBuffer = None
    return flatbuffer.write(model), int(np.prod(weight.shape))


def _halve(model, weight, given, made):
    """Leaves out half of the channels that an operator reads and makes."""
    depthwise = weight.kind == "DEPTHWISE_CONV_2D"
    read, outputs = weight.shape[-1], int(made.shape[-1])
    if (
        weight.tensor.sparsity is not None or int(given.shape[-1]) != read
        or (depthwise and read != outputs)
    ):
        return
    bias = [
        model.subgraphs[0].tensors[i] for i in weight.operator.inputs[2:]
        if i != -1
    ]
    for tensor, axes in (
        (given, [-1]), (made, [-1]), *((each, [0]) for each in bias),
        (weight.tensor, [-1] if depthwise else [0, -1]),
    ):
        shape = [int(n) for n in tensor.shape]
        cut = [slice(None)] * len(shape)
        for axis in axes:
            cut[axis] = slice(-(-shape[axis] // 2))
        if flatbuffer.raw(model, tensor) is not None:
            values = flatbuffer.stored(model, tensor).reshape(shape)
            model.buffers[tensor.buffer].data = np.frombuffer(
                values[tuple(cut)].tobytes(), np.uint8
            )
        tensor.shape = list(np.empty(shape, bool)[tuple(cut)].shape)
        scales = tensor.quantization
        if scales is not None and scales.scale is not None and (
            len(scales.scale) > 1
        ):
            number = -(-len(scales.scale) // 2)
            scales.scale = scales.scale[:number]
            scales.zeroPoint = scales.zeroPoint[:number]
