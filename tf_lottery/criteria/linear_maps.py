"""Layers as linear maps, from rows of inputs to rows of outputs.

What a Dense layer, a convolution or an EinsumDense layer computes is, but for
the bias, `rows @ matrix`: one row for each example and position, one column
for each output. A convolution in groups, a depthwise one, or an equation with
an axis that is in the input, the kernel and the output, is a stack of such
products. A recurrent layer multiplies its inputs, and its states.
"""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_lottery import internals
from tf_lottery.patterns import layouts
from tf_lottery.utils import layer_kinds


@dataclasses.dataclass(frozen=True)
class LinearMap:
    """The kernel of a layer as a stack of matrices, its inputs as rows.

    In `split` the groups of a convolution are an axis of their own; of its
    layout the positions are the stack. `rows` makes `(stack, rows, inputs)` of
    what is multiplied, which `reads` finds among the arguments of `call`.
    """

    layer: keras.layers.Layer
    shape: tuple[int, ...]
    split: tuple[int, ...]
    layout: layouts.Layout
    rows: Callable[[Any], Any]
    reads: Callable[..., Any] = lambda x, *args, **kwargs: x

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Tuple of integers: the stack, inputs and outputs."""
        return self.layout.sizes(self.split)

    def to_matrices(self, array: np.ndarray) -> np.ndarray:
        """Returns the kernel as `(stack, inputs, outputs)`."""
        return self.layout.to_matrix(np.reshape(array, self.split))

    def from_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """Returns what `to_matrices` made matrices of."""
        found = self.layout.from_matrix(matrices, self.split)
        return found.reshape(self.shape)


def linear_map(layer, variable):
    """Returns the `LinearMap` of a layer, or `None`: it is no such layer."""
    shape = tuple(variable.shape)
    if isinstance(layer, keras.layers.Dense):
        return LinearMap(
            layer, shape, shape, layouts.default(2),
            lambda x: ops.reshape(x, (1, -1, shape[0])),
        )
    if isinstance(layer, layer_kinds.CONVOLUTIONS):
        return _of_convolution(layer, shape)
    if isinstance(layer, layer_kinds.DEPTHWISE):
        return _of_depthwise(layer, shape)
    if isinstance(layer, layer_kinds.TRANSPOSED):
        return _of_transposed(layer, shape)
    if isinstance(layer, keras.layers.EinsumDense):
        return _of_equation(layer, shape)
    return None


def _of_convolution(layer, shape):
    groups, inputs = layer.groups, len(shape) - 1
    split = (*shape[:-1], groups, shape[-1] // groups)
    layout = layouts.Layout(tuple(range(inputs)), (inputs + 1,))

    def rows(x):
        taps = _taps(x, layer)
        width = shape[-2]
        found = ops.reshape(taps, (-1, taps.shape[-2], groups, width))
        found = ops.transpose(found, (2, 0, 1, 3))
        return ops.reshape(found, (groups, -1, math.prod(shape[:-1])))

    return LinearMap(layer, shape, split, layout, rows)


def _of_depthwise(layer, shape):
    count = len(shape) - 2
    layout = layouts.Layout(tuple(range(count)), (count + 1,))

    def rows(x):
        found = _taps(x, layer)
        found = ops.reshape(found, (-1, *found.shape[-2:]))
        return ops.transpose(found, (2, 0, 1))

    return LinearMap(layer, shape, shape, layout, rows)


def _of_transposed(layer, shape):
    if layer.output_padding is not None:
        return None
    count = len(shape) - 2
    layout = layouts.Layout((*range(count), count + 1), (count,))
    width = math.prod(shape) // shape[-2]

    def rows(x):
        return ops.reshape(_transposed_taps(x, layer), (1, -1, width))

    return LinearMap(layer, shape, shape, layout, rows)


def of_recurrent(layer, variable):
    """Returns the `LinearMap` of a kernel of an LSTM, GRU or SimpleRNN layer.

    `None` where a GRU resets states before it multiplies them.
    """
    shape = tuple(variable.shape)

    def states(x, *args, **kwargs):
        with contextlib.ExitStack() as stack:
            for name, value in (
                ("return_sequences", True), ("return_state", False),
                ("stateful", False), ("zero_output_for_mask", False),
            ):
                stack.enter_context(
                    internals.layers.replaced(layer, name, value)
                )
            found = type(layer).call(layer, x, *args, **kwargs)
        return ops.pad(found[:, :-1], [(0, 0), (1, 0), (0, 0)])

    def reads(x, *args, mask=None, **kwargs):
        own = variable is layer.cell.kernel
        found = x if own else states(x, *args, mask=mask, **kwargs)
        if mask is None:
            return found
        if layer.go_backwards and not own:
            mask = ops.flip(mask, 1)
        return ops.where(mask[..., None], found, ops.zeros((), found.dtype))

    if variable is not layer.cell.kernel and not getattr(
        layer, "reset_after", True
    ):
        return None
    return LinearMap(
        layer, shape, shape, layouts.default(2),
        lambda x: ops.reshape(x, (1, -1, shape[0])), reads,
    )


def _taps(x, layer):
    """What each weight of a kernel reads, `(examples, ..., taps, channels)`."""
    x, axes = _axes(x, layer)
    pads, counts = zip(*(_extent(layer.padding, *axis) for axis in axes))
    return _slices(x, pads, [
        [
            slice(start, start + (count - 1) * stride + 1, stride)
            for start in range(0, kernel * dilation, dilation)
        ]
        for count, (_, kernel, stride, dilation) in zip(counts, axes)
    ])


def _transposed_taps(x, layer):
    """The same where each position is spread over what a kernel covers."""
    x, axes = _axes(x, layer)
    pads, slices = [], []
    for axis, (size, kernel, stride, dilation) in enumerate(axes, 1):
        # Zeros in between.
        shape = (-1, *x.shape[1:axis], size * stride, *x.shape[axis + 1:])
        gaps = [(0, 0)] * (len(x.shape) + 1)
        gaps[axis + 1] = (0, stride - 1)
        x = ops.reshape(ops.pad(ops.expand_dims(x, axis + 1), gaps), shape)
        reach, before, count = (kernel - 1) * dilation, 0, size * stride
        if layer.padding == "same":
            before = max(reach + 1 - stride, 0) // 2
        else:
            count += max(reach + 1 - stride, 0)
        pads.append((reach - before, before + count - size * stride))
        slices.append([
            slice(start, start + count) for start in range(reach, -1, -dilation)
        ])
    return _slices(x, pads, slices)


def _axes(x, layer):
    """Channels last, and size, kernel, stride and dilation of each axis."""
    if layer.data_format == "channels_first":
        x = ops.moveaxis(x, 1, -1)
    return x, list(zip(
        x.shape[1:-1], layer.kernel_size, layer.strides, layer.dilation_rate
    ))


def _slices(x, pads, slices):
    x, every = ops.pad(x, [(0, 0), *pads, (0, 0)]), slice(None)
    return ops.stack(
        [x[(every, *tap, every)] for tap in itertools.product(*slices)], -2
    )


def _extent(padding, size, kernel, stride, dilation):
    """Returns the padding before and behind, and the number of outputs."""
    reach = (kernel - 1) * dilation
    if padding == "causal":
        return (reach, 0), (size - 1) // stride + 1
    if padding == "valid":
        return (0, 0), (size - reach - 1) // stride + 1
    count = -(-size // stride)
    total = max((count - 1) * stride + reach + 1 - size, 0)
    return (total // 2, total - total // 2), count


def _of_equation(layer, shape):
    terms, output = layer.equation.replace(" ", "").split("->")
    source, kernel = terms.split(",")
    stack = [c for c in kernel if c in source and c in output]
    inputs = [c for c in kernel if c in source and c not in output]
    outputs = [c for c in kernel if c not in source]
    if not inputs or not set(outputs) <= set(output):
        return None
    # An axis of the input that the equation sums over is not in the rows.
    rest = source.replace("...", "")
    rest = [c for c in rest if c not in kernel and c in output]
    dots = "..." if "..." in source else ""
    to_rows = f"{source}->{''.join(stack)}{dots}{''.join([*rest, *inputs])}"
    layout = layouts.Layout(
        tuple(map(kernel.index, inputs)), tuple(map(kernel.index, outputs))
    )
    count, width, _ = layout.sizes(shape)

    def rows(x):
        return ops.reshape(ops.einsum(to_rows, x), (count, -1, width))

    return LinearMap(layer, shape, shape, layout, rows)
