"""Initializers of an ONNX file, next to the kernels they were made of."""

import collections
import dataclasses
from typing import Any

import keras
import numpy as np

from tf_lottery import weights as weights_lib
from tf_lottery.export import check
from tf_lottery.utils import tables


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A weight of two axes or more, and its zeros in a file.

    Attributes:
        key: String, the weight key.
        size: Integer, the number of its weights.
        zeros: Integer, those that are zero in the Keras model.
        found: Integer, those that are zero in the file, whose converter may
            have merged a normalisation into it, or transposed it; `None` if
            it cannot be told, as of a kernel that it splits.
    """

    key: str
    size: int
    zeros: int
    found: int | None

    @property
    def is_whole(self) -> bool:
        """Boolean, whether no zero was lost."""
        return self.found is None or self.found >= self.zeros

    def __str__(self):
        return (
            f"'{self.key}': {self.found:,} zeros in the file, {self.zeros:,} "
            "in the model"
        )


@dataclasses.dataclass(eq=False)
class OnnxReport:
    """What `onnx` wrote.

    Attributes:
        path: String, the file written.
        nbytes: Integer, its bytes.
        compressed: Integer, its bytes after `gzip -9`.
        kernels: List of `initializers.Kernel`.
        check: `check.Outcome` of ONNX Runtime.
        notes: List of strings, what was changed before.
    """

    path: str
    nbytes: int
    compressed: int
    kernels: list[Kernel]
    check: check.Outcome
    notes: list[str]

    def __str__(self):
        table = tables.Table(
            "weight", numbers=("weights", "zeros", "in the file")
        )
        for kernel in self.kernels:
            found = "-" if kernel.found is None else f"{kernel.found:,}"
            table.add_row(
                kernel.key, f"{kernel.size:,}", f"{kernel.zeros:,}", found
            )
        size = f"{self.nbytes:,} bytes, {self.compressed:,} after gzip"
        listed = tables.text(table, *self.notes, width=150)
        return f"{self.path}: {size}; {self.check}\n{listed}"

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as JSON-serialisable dicts."""
        return dataclasses.asdict(self)


def compare(model, content):
    """Returns the `Kernel`s of a model.

    Names are lost in the file, and shapes change with the order of axes, so
    that tensors are found by their size; of several of one size those with
    most zeros belong together.
    """
    import onnx

    read = onnx.load_model_from_string(content)
    known = collections.defaultdict(list)
    for tensor in _constants(read.graph):
        known[tensor.size].append(_zeros(tensor))
    arrays = {
        key: keras.ops.convert_to_numpy(variable)
        for key, variable in weights_lib.variables(model).items()
        if len(variable.shape) > 1
    }
    by_size = collections.defaultdict(list)
    for key, array in arrays.items():
        by_size[array.size].append(key)
    found = {}
    for size, keys in by_size.items():
        same = sorted(known.get(size, ()), reverse=True)
        # Of fewer tensors than kernels it cannot be told which are there.
        if len(same) < len(keys):
            same = [None] * len(keys)
        keys.sort(key=lambda key: -_zeros(arrays[key]))
        found.update(zip(keys, same))
    return [
        Kernel(key, array.size, _zeros(array), found[key])
        for key, array in arrays.items()
    ]


def _zeros(array):
    return int(array.size - np.count_nonzero(array))


def _constants(graph):
    """Yields the arrays of a graph and of the graphs of its operators."""
    from onnx import numpy_helper

    for tensor in graph.initializer:
        yield numpy_helper.to_array(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield numpy_helper.to_array(attribute.t)
            for inner in (attribute.g, *attribute.graphs):
                yield from _constants(inner)
