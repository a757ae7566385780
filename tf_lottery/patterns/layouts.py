"""Layouts: which axes of a weight are positions, inputs and outputs.

Keras stores a Dense kernel as (in, out), a convolution as (height, width,
in, out), a transposed convolution as (height, width, out, in), an attention
kernel as (in, heads, size). A pattern asks only what is summed over and what
is computed; a `Layout` turns any weight into (positions, in, out).
"""

import dataclasses
import math
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from tf_lottery.utils import checks
from tf_lottery.utils import layer_kinds


@dataclasses.dataclass(frozen=True)
class Layout:
    """The axes of a weight that are summed over, and those computed.

    Axes in neither are *positions*, such as height and width of a
    convolution's kernel; no block and no group reaches across them.

    Args:
        inputs: Tuple of integers, the axes of the reduction dimension; the
            last varies fastest.
        outputs: Tuple of integers, the axes of the output dimension.

    Raises:
        ValueError: If an axis is negative or named twice.

    Example:

    >>> Layout(inputs=(2,), outputs=(3,)).to_matrix(np.ones((3, 3, 8, 5))).shape
    (9, 8, 5)
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def __post_init__(self):
        for name in ("inputs", "outputs"):
            axes = getattr(self, name)
            checks.shape(name, axes)
            object.__setattr__(self, name, tuple(map(int, axes)))
        axes = self.inputs + self.outputs
        if len(set(axes)) < len(axes):
            raise ValueError(
                "Arguments `inputs` and `outputs` must name axes from 0 on, "
                f"each at most once. Received: inputs={self.inputs}, "
                f"outputs={self.outputs}"
            )

    def order(self, ndim: int) -> tuple[int, ...]:
        """Returns the axes of a weight: positions, inputs, outputs.

        Raises:
            ValueError: If the weight has no such axis.
        """
        used = self.inputs + self.outputs
        if max(used, default=-1) >= ndim:
            raise ValueError(
                f"{self} does not fit a weight with {ndim} axes."
            )
        return tuple(a for a in range(ndim) if a not in used) + used

    def sizes(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Returns the numbers of positions, inputs and outputs."""
        order = self.order(len(shape))
        first = len(shape) - len(self.inputs) - len(self.outputs)
        cuts = (0, first, first + len(self.inputs), len(shape))
        stack, inputs, outputs = (
            math.prod(shape[axis] for axis in order[start:stop])
            for start, stop in zip(cuts, cuts[1:])
        )
        return stack, inputs, outputs

    def to_matrix(self, array: np.ndarray) -> np.ndarray:
        """Returns the weight as (positions, inputs, outputs).

        A view where the axes are in this order already, else a copy.
        """
        array = np.asarray(array)
        ordered = array.transpose(self.order(array.ndim))
        return ordered.reshape(self.sizes(array.shape))

    def from_matrix(
        self, matrix: np.ndarray, shape: Sequence[int]
    ) -> np.ndarray:
        """Returns what `to_matrix()` made a matrix of, as a C array."""
        order = self.order(len(shape))
        ordered = np.reshape(matrix, [shape[axis] for axis in order])
        return np.ascontiguousarray(ordered.transpose(np.argsort(order)))

    def swapped(self) -> "Layout":
        """Returns the layout with inputs and outputs exchanged."""
        return Layout(self.outputs, self.inputs)


def default(ndim: int) -> Layout:
    """Returns the layout of an unknown weight: the last axis is the output.

    The last but one is the input, all others are positions. Right for Dense
    and recurrent kernels, embeddings and convolutions.
    """
    return Layout(
        tuple(range(max(ndim - 2, 0), ndim - 1)),
        tuple(range(max(ndim - 1, 0), ndim)),
    )


def complete(
    layouts: Mapping[str, Layout] | None, shapes: Mapping[str, Sequence[int]]
) -> dict[str, Layout]:
    """Returns a layout for every key, the default one where none is given.

    Raises:
        ValueError: If a layout does not fit its weight.
    """
    found = {}
    for key, shape in shapes.items():
        layout = (layouts or {}).get(key) or default(len(shape))
        try:
            layout.order(len(shape))
        except ValueError as error:
            raise ValueError(
                f"Argument `layouts` is wrong for {key!r}: {error}"
            ) from None
        found[key] = layout
    return found


def layouts_of(weights: Iterable) -> dict[str, Layout]:
    """Returns the layouts of a model's prunable weights.

    - Dense, recurrent and embedding: (in, out).
    - Convolution and separable pointwise kernel: (positions, in, out).
    - Transposed convolution: (positions, out, in).
    - Depthwise: an output channel is a pair of input channel and multiplier,
      and what it sums over are the kernel's positions; so these are its
      inputs.
    - EinsumDense, hence attention: by its equation. The kernel's labels that
      the output has are outputs, the others inputs.
    - Any other layer: `default()`.

    They are those of weights without a reason not to prune them, by key.

    Example:

    >>> attention = keras.layers.MultiHeadAttention(num_heads=2, key_dim=3)
    >>> attention.build((None, 5, 8), (None, 5, 8))
    >>> layouts_of(tfl.weights.inspect(attention))["query/kernel"]
    Layout(inputs=(0,), outputs=(1, 2))
    """
    found = {}
    for weight in weights:
        if weight.reason is None:
            axes = layer_kinds.axes(weight.layer, weight.variable)
            found[weight.key] = Layout(*axes) if axes is not None else (
                default(len(weight.variable.shape))
            )
    return found
