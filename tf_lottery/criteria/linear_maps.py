"""Linear maps: products of inputs and weights, from rows to rows.

What a matrix product, a convolution or an einsum computes is `rows @ matrix`:
one row for each example and position, one column for each output. One in
groups, a depthwise one, or an equation with an axis that is in the input, the
weight and the output, is a stack of such products; so is a weight whose
columns are multiplied by different inputs, as the gates of a recurrent cell.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_lottery.patterns import layouts


@dataclasses.dataclass(frozen=True)
class LinearMap:
    """A weight as a stack of matrices.

    In `split` the groups of a convolution are an axis of their own; of its
    layout the positions are the stack. `looped` says whether a recurrent layer
    computes the product.
    """

    shape: tuple[int, ...]
    split: tuple[int, ...]
    layout: layouts.Layout
    looped: bool = False

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Tuple of integers: the stack, inputs and outputs."""
        return self.layout.sizes(self.split)

    def to_matrices(self, array: np.ndarray) -> np.ndarray:
        """Returns the weight as `(stack, inputs, outputs)`."""
        return self.layout.to_matrix(np.reshape(array, self.split))

    def from_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """Returns what `to_matrices` made matrices of."""
        found = self.layout.from_matrix(matrices, self.split)
        return found.reshape(self.shape)


@dataclasses.dataclass(frozen=True)
class Product:
    """A product of columns of a weight.

    `rows` makes `(stack, rows, inputs)` of what they are multiplied by.
    """

    split: tuple[int, ...]
    layout: layouts.Layout
    rows: Callable[[Any], Any] = dataclasses.field(compare=False)


def joined(shape, products, looped=False):
    """Returns the `LinearMap` of a weight from the products of its columns.

    It is `None` where they overlap, leave something out, or are of several
    kinds.

    Args:
        products: Iterable of pairs of columns, `(start, stop)`, and `Product`.
    """
    products = sorted(set(products), key=lambda pair: pair[0])
    (start, stop), first = products[0]
    if len(products) == 1 and (start, stop) == (0, shape[-1]):
        return LinearMap(shape, first.split, first.layout, looped)
    ends = [0, *(stop for (_, stop), _ in products)]
    plain = _plain(len(shape))
    if ends != [*(start for (start, _), _ in products), shape[-1]] or any(
        product.layout != plain for _, product in products
    ):
        return None
    width = math.gcd(*ends)
    split = (*shape[:-1], shape[-1] // width, width)
    layout = layouts.Layout(plain.inputs, (len(shape),))
    return LinearMap(shape, split, layout, looped)


def _plain(ndim):
    """The layout of a weight of one matrix whose last axis is the output."""
    return layouts.Layout(tuple(range(ndim - 1)), (ndim - 1,))


def _matrix(shape, x, output):
    if len(shape) != 2:
        return None
    return Product(
        shape, _plain(2), lambda x: ops.reshape(x, (1, -1, shape[0]))
    )


def _convolution(shape, x, output, *args, **kwargs):
    taps = _Taps(shape, x, output, *args, **kwargs)
    width, ndim = shape[-2], len(shape)
    groups = taps.channels // width
    split, layout = shape, _plain(ndim)
    if groups > 1:
        split = (*shape[:-1], groups, shape[-1] // groups)
        layout = layouts.Layout(layout.inputs, (ndim,))

    def rows(x):
        found = ops.reshape(taps(x), (-1, taps.number, groups, width))
        found = ops.transpose(found, (2, 0, 1, 3))
        return ops.reshape(found, (groups, -1, taps.number * width))

    return Product(split, layout, rows)


def _depthwise(shape, x, output, *args, **kwargs):
    taps, count = _Taps(shape, x, output, *args, **kwargs), len(shape) - 2

    def rows(x):
        found = ops.reshape(taps(x), (-1, taps.number, taps.channels))
        return ops.transpose(found, (2, 0, 1))

    layout = layouts.Layout(tuple(range(count)), (count + 1,))
    return Product(shape, layout, rows)


def _transposed(
    shape, x, output, strides=1, padding="valid", output_padding=None, *args,
    **kwargs,
):
    taps = _Spread(shape, x, output, strides, padding, *args, **kwargs)
    count, width = len(shape) - 2, taps.number * taps.channels
    layout = layouts.Layout((*range(count), count + 1), (count,))
    return Product(
        shape, layout, lambda x: ops.reshape(taps(x), (1, -1, width))
    )


class _Taps:
    """What each position of a kernel reads, `(examples, ..., taps, channels)`.

    The arguments are those of `keras.ops.conv`, and what it makes of `x`.
    """

    def __init__(
        self, shape, x, output, strides=1, padding="valid", data_format=None,
        dilation_rate=1,
    ):
        kernel = shape[:-2]
        data_format = data_format or keras.config.image_data_format()
        self._first = data_format == "channels_first"
        self._same = padding.lower() == "same"
        self.number = math.prod(kernel)
        self.channels = x.shape[1 if self._first else -1]
        self._axes = list(zip(
            self._sizes(x), self._sizes(output), kernel,
            _each(strides, kernel), _each(dilation_rate, kernel),
        ))

    def __call__(self, x):
        if self._first:
            x = ops.moveaxis(x, 1, -1)
        x, every = self._with_gaps(x), slice(None)
        pads, slices = zip(*itertools.starmap(self._axis, self._axes))
        x = ops.pad(x, [(0, 0), *pads, (0, 0)])
        return ops.stack(
            [x[(every, *tap, every)] for tap in itertools.product(*slices)], -2
        )

    def _sizes(self, tensor):
        return tuple(tensor.shape)[2:] if self._first else (
            tuple(tensor.shape)[1:-1]
        )

    def _with_gaps(self, x):
        return x

    def _axis(self, read, made, kernel, stride, dilation):
        """Returns the padding before and behind, and a slice for each tap."""
        reach, span = (kernel - 1) * dilation, (made - 1) * stride + 1
        before = self._before(reach + span - read)
        return (before, max(reach + span - read - before, 0)), [
            slice(start, start + span, stride)
            for start in range(0, kernel * dilation, dilation)
        ]

    def _before(self, missing):
        """What of the positions that are missing lies before the others."""
        return max(missing, 0) // 2 if self._same else 0


class _Spread(_Taps):
    """The same where each position is spread over what a kernel covers."""

    def _with_gaps(self, x):
        for axis, (size, _, _, stride, _) in enumerate(self._axes, 1):
            shape = (-1, *x.shape[1:axis], size * stride, *x.shape[axis + 1:])
            gaps = [(0, 0)] * (len(x.shape) + 1)
            gaps[axis + 1] = (0, stride - 1)
            x = ops.reshape(ops.pad(ops.expand_dims(x, axis + 1), gaps), shape)
        return x

    def _axis(self, read, made, kernel, stride, dilation):
        # A convolution of what is made gives what is read.
        reach = (kernel - 1) * dilation
        before = self._before(reach + (read - 1) * stride + 1 - made)
        return (reach - before, max(made + before - read * stride, 0)), [
            slice(start, start + made) for start in range(reach, -1, -dilation)
        ]


def _each(value, kernel):
    return (value,) * len(kernel) if isinstance(value, int) else value


def _equation(shape, x, output, equation):
    terms, made = equation.replace(" ", "").split("->")
    source, kernel = terms.split(",")
    stack = [c for c in kernel if c in source and c in made]
    inputs = [c for c in kernel if c in source and c not in made]
    # In this order, which is that of a bias.
    outputs = [c for c in made if c in kernel and c not in source]
    twice = len(set(kernel)) < len(kernel) or any(
        source.count(c) > 1 for c in source if c != "."
    )
    count = len(stack) + len(inputs) + len(outputs)
    if not inputs or twice or count < len(kernel):
        return None
    # An axis of the input that the equation sums over is not in the rows.
    rest = source.replace("...", "")
    rest = [c for c in rest if c not in kernel and c in made]
    dots = "..." if "..." in source else ""
    to_rows = f"{source}->{''.join(stack)}{dots}{''.join([*rest, *inputs])}"
    layout = layouts.Layout(
        tuple(map(kernel.index, inputs)), tuple(map(kernel.index, outputs))
    )
    number, width, _ = layout.sizes(shape)

    def rows(x):
        return ops.reshape(ops.einsum(to_rows, x), (number, -1, width))

    return Product(shape, layout, rows)


# By the function of `keras.ops`. Each takes the shape of the weight, what it
# is multiplied by, what that makes, and the other arguments.
PRODUCTS = {
    "matmul": _matrix,
    "dot": _matrix,
    "einsum": _equation,
    "conv": _convolution,
    "depthwise_conv": _depthwise,
    "conv_transpose": _transposed,
}
