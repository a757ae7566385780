"""The base class of targets."""

import pathlib
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_lottery.export import children
from tf_lottery.export import encoding
from tf_lottery.export import storage


class Target:
    """What a file is made for: all that `tflite` asks of it.

    A target is a subclass in a module of its own, listed in
    `tf_lottery.export.targets`. What is written here suits a file that is
    stored sparse wherever that takes fewer bytes.

    Attributes:
        name: String, the word for `tflite`.
        stored: String, what a file that is encoded for it is called.
        dtypes: Tuple of strings, the data types that can be made for it, of
            `convert.QUANTIZATIONS`; the first is made if none is asked for.
        io_dtype: String, of the inputs and outputs of int8 files, if none is
            asked for.
        is_exact: Boolean, whether encoded files compute the same bits as the
            dense one.
        is_timed_here: Boolean, whether latency on this machine says anything.
        has_fixed_shapes: Boolean, whether batch and input shapes must be
            fixed; the batch size is 1 then, unless another is given.
        has_signatures: Boolean, whether files may have several.
        has_sparse_kernels: Boolean, whether fully connected layers may skip
            zeros.
        has_int8_products: Boolean, whether products of two activations, as in
            attention, are as exact in int8 as other operators. XNNPACK's are
            not (TensorFlow 2.21).
        unit: String, what `nbytes` counts.
    """

    name: str | None = None
    stored = "sparse"
    dtypes: tuple[str, ...] = ("float32", "float16", "dynamic", "int8")
    io_dtype = "float32"
    is_exact = False
    is_timed_here = True
    has_fixed_shapes = False
    has_signatures = True
    has_sparse_kernels = False
    has_int8_products = False
    unit = "bytes"

    def check(self) -> None:
        """Raises an `ImportError` if files for it cannot be checked here."""

    def runtimes(self) -> list[str]:
        """Returns the names of the runtimes that check its files."""
        return children.installed()

    def encode(
        self, content: bytes, quantize: str
    ) -> list[tuple[str, bytes, list[storage.Layer]]]:
        """Returns the ways to store a dense file.

        Args:
            content: Bytes of the dense file.
            quantize: String, its data type.

        Returns:
            List of tuples of what it is called, the new content, and a list
            of `storage.Layer`.
        """
        return [(self.stored, *storage.encode(content, quantize, self))]

    def nbytes(self, arrays: Iterable[np.ndarray], operators: int = 0) -> int:
        """Returns what stored arrays weigh, with operators that read them."""
        return (
            sum(array.nbytes for array in arrays)
            + operators * encoding.OVERHEAD
        )

    def explain(self, model: Any) -> dict[tuple[int, int], Any]:
        """Returns what is known of constants, by graph and index."""
        return {}

    def runs_sparse(
        self,
        uses: list[Any],
        dense: np.ndarray,
        known: Any,
    ) -> tuple[bool, str]:
        """Returns whether a constant's zeros are skipped, and why.

        Args:
            uses: List of `flatbuffer.Weight`, the operators that use it.
            dense: Array, its values.
            known: What `explain` says of it, or `None`.
        """
        return False, "runs dense"

    def size(self, row: Any) -> float:
        """Returns the size of a `report.Row` that must fall."""
        return row.nbytes

    def choose(self, found: Sequence[Any]) -> Any:
        """Returns the one of `candidates.Candidate` that is written."""
        return smallest(found)

    def arena(self, runtime: Any, content: bytes, inputs: Any) -> int | None:
        """Returns the bytes of RAM that a file needs, or `None`."""
        return None

    def compile(self, content: bytes) -> tuple[bytes | None, Any]:
        """Compiles the file chosen, where the target has a compiler.

        Returns:
            Tuple of the compiled file and an `npu.Comparison`, or of `None`s.
        """
        return None, None

    def write_sources(
        self, path: pathlib.Path, content: bytes, compiled: bytes | None
    ) -> list[str]:
        """Writes further files next to a file; returns their paths.

        Args:
            path: Path of the file.
            content: Bytes, what is in it.
            compiled: Bytes, what `compile` made of it, or `None`.
        """
        return []


def smallest(found):
    """Returns the candidate with the fewest bytes."""
    return min(found, key=lambda c: c.row.nbytes)


def smallest_compressed(found):
    """Returns the candidate with the fewest bytes after `gzip -9`."""
    return min(found, key=lambda c: c.row.compressed)


def sparsest(found):
    """Returns the smallest candidate of those with layers that run sparse."""
    sparse = [
        c for c in found if any(layer.runs_sparse for layer in c.row.layers)
    ]
    return smallest(sparse or found)
