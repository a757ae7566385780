"""Inspection of a TFLite file: its weights, its work, its signatures."""

import collections
import dataclasses
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import rich.table

from tf_lottery.export import encoding
from tf_lottery.export import flatbuffer
from tf_lottery.utils import tables
from tf_lottery.utils import types


@dataclasses.dataclass(frozen=True)
class Constant:
    """The weights of one operator in a file.

    Attributes:
        name: String, the constant's name in the file.
        kind: String, the operator's name.
        version: Integer, the operator's version.
        dtype: String, such as `"FLOAT32"`.
        shape: Tuple of integers.
        nbytes: Integer, bytes of the values stored.
        zeros: Integer, weights that are zero.
        sparse: Boolean, whether the file stores it sparse.
        via: Tuple of the operators between constant and operator.
        macs: Integer, multiplications of one call, zeros included.
    """

    name: str
    kind: str
    version: int
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    zeros: int
    sparse: bool
    via: tuple[str, ...]
    macs: int

    @property
    def size(self) -> int:
        """Integer, the number of weights."""
        return math.prod(self.shape)

    @property
    def effective_macs(self) -> int:
        """Integer, multiplications of one call by weights that are kept."""
        return round(self.macs * (1 - self.zeros / max(1, self.size)))


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What `inspect` found in a file.

    Attributes:
        nbytes: Integer, bytes of the file.
        operators: Dict from operator name to how often it occurs.
        constants: List of `Constant`.
        float_operators: List of strings, operators that compute float32, by
            kind and output.
        signatures: List of strings.
    """

    nbytes: int
    operators: dict[str, int]
    constants: list[Constant]
    float_operators: list[str]
    signatures: list[str]

    @property
    def macs(self) -> int:
        """Integer, multiplications of one call, zeros included."""
        return sum(constant.macs for constant in self.constants)

    @property
    def effective_macs(self) -> int:
        """Integer, multiplications of one call by weights that are kept."""
        return sum(constant.effective_macs for constant in self.constants)

    def table(self) -> rich.table.Table:
        """Returns a `rich.table.Table` of the constants."""
        table = tables.Table(
            "weights", "operator", "type", "stored",
            numbers=("shape", "zeros", "bytes"),
        )
        for found in self.constants:
            table.add_row(
                found.name,
                " < ".join((f"{found.kind} v{found.version}", *found.via)),
                found.dtype.lower(),
                "sparse" if found.sparse else "dense",
                "x".join(map(str, found.shape)),
                f"{100 * found.zeros / max(1, found.size):.1f} %",
                f"{found.nbytes:,}",
            )
        return table


def inspect(
    source: types.Path | bytes, shapes: Mapping[int, Any] | None = None
) -> Inspection:
    """Reads what a TFLite file holds, without a runtime.

    Args:
        source: Path of the file, or its content as bytes.
        shapes: Dict from the number of a tensor of the first subgraph to its
            shape in a call, where the file leaves it open. Defaults to
            `None`: what is open counts as 1.

    Returns:
        `Inspection`.

    Raises:
        ValueError: If it is no TFLite file, or is damaged.
        OSError: If it cannot be read.
    """
    model = flatbuffer.read(source)
    operators = collections.Counter(
        flatbuffer.operator_name(model, operator)
        for _, operator in flatbuffer.operators(model)
    )
    return Inspection(
        len(source) if isinstance(source, (bytes, bytearray))
        else pathlib.Path(source).stat().st_size,
        dict(operators),
        [
            _constant(model, weight, shapes or {})
            for weight in flatbuffer.weights(model)
        ],
        _float_operators(model),
        [flatbuffer.text(s.signatureKey) for s in model.signatureDefs or ()],
    )


def _float_operators(model):
    found = []
    for number, operator in flatbuffer.operators(model):
        kind = flatbuffer.operator_name(model, operator)
        tensors = model.subgraphs[number].tensors
        if kind != "DEQUANTIZE" and any(
            flatbuffer.type_name(tensors[i].type) == "FLOAT32"
            for i in operator.outputs
        ):
            name = flatbuffer.output_name(model, number, operator)
            found.append(f"{kind} '{name}'")
    return found


def _constant(model, weight, shapes):
    dense = encoding.dense_values(model, weight)
    return Constant(
        weight.name,
        weight.kind,
        int(model.operatorCodes[weight.operator.opcodeIndex].version),
        weight.dtype,
        weight.shape,
        len(flatbuffer.raw(model, weight.tensor)),
        int(dense.size - np.count_nonzero(dense)),
        weight.tensor.sparsity is not None,
        tuple(flatbuffer.operator_name(model, op) for op in weight.via),
        macs(model, weight, shapes if weight.graph == 0 else {}),
    )


def macs(model, weight, shapes):
    """Returns the multiplications of one call of an operator."""
    graph = model.subgraphs[weight.graph]
    index = int(weight.operator.outputs[0])
    output = shapes.get(index, graph.tensors[index].shape)
    positions = math.prod(int(n) for n in output[:-1])
    if weight.kind == "TRANSPOSE_CONV":
        image = graph.tensors[weight.operator.inputs[2]].shape
        positions = math.prod(int(n) for n in image[:-1])
    return positions * math.prod(weight.shape)
