"""Rules of products: sums over weights and what reaches them, and windows."""

import functools

import numpy as np
import tensorflow as tf
from tensorflow.experimental.numpy import moveaxis

from tf_lottery.paths import values as values_lib
from tf_lottery.paths.running import run
from tf_lottery.paths.values import Mask
from tf_lottery.paths.values import Value
from tf_lottery.paths.values import binary

# The gradients in three dimensions need the default in words.
_LAST = {4: "NHWC", 5: "NDHWC"}


def contraction(op, operands):
    """A product of matrices, or of any two tensors."""
    return _bilinear(functools.partial(run, op), operands)


def convolution(op, operands):
    """A convolution in any layout and number of groups."""
    return _bilinear(functools.partial(_grouped, op), operands)


def transposed_convolution(op, operands):
    """A convolution backwards."""
    shape, *factors = operands
    shape = values_lib.known(op, shape)
    return _bilinear(lambda kernel, x: run(op, shape, kernel, x), factors)


def pool(op, operands):
    """Every element of the window counts, not the largest alone."""
    if op.type == "MaxPoolV2":
        window = [values_lib.known(op, value) for value in operands[1:]]
    else:
        window = [op.get_attr("ksize"), op.get_attr("strides")]
    layout = op.get_attr("data_format").decode()
    x = _channels_last(binary(operands[0].live), layout)
    window = [_order_last(list(sizes), layout) for sizes in window]
    average = tf.nn.avg_pool(
        x,
        *(sizes[1:-1] for sizes in window),
        op.get_attr("padding").decode(),
        _LAST[x.shape.rank],
    )
    counts = _channels_first(average, layout) * float(np.prod(window[0]))
    return [Value(binary(counts), operands[0].depends)]


def _bilinear(function, operands):
    """What reaches either factor goes on; fixed factors let pass or cut."""
    depends = [value.depends for value in operands]
    if sum(depends) < 2:
        counts = _contracted(function, operands)
        return [Value(binary(counts), any(depends))]
    first, second = operands
    counts = function(binary(first.live), tf.ones(second.shape))
    counts += function(tf.ones(first.shape), binary(second.live))
    return [Value(binary(counts), True)]


def _contracted(function, operands):
    """A product for whose gradient no mask is kept, but read once more."""
    are_masks = [isinstance(value, Mask) for value in operands]

    @tf.recompute_grad
    def contract(*parts):
        return function(*(
            value.read(part) if is_mask else part
            for value, part, is_mask in zip(operands, parts, are_masks)
        ))

    return contract(*(
        value.source if is_mask else binary(value.live)
        for value, is_mask in zip(operands, are_masks)
    ))


def _grouped(op, x, kernel):
    layout = op.get_attr("data_format").decode()
    if op.get_attr("padding") == b"EXPLICIT":
        sizes = op.get_attr("explicit_paddings")
        x = tf.pad(x, np.reshape(sizes, (-1, 2)))
    x = _channels_last(x, layout)
    padding = op.get_attr("padding").decode().replace("EXPLICIT", "VALID")
    strides, dilations = (
        _order_last(op.get_attr(name), layout)[1:-1]
        for name in ("strides", "dilations")
    )
    groups = x.shape[-1] // kernel.shape[-2]
    parts = [
        tf.nn.convolution(
            part, weights, strides, padding, _LAST[x.shape.rank], dilations
        )
        for part, weights in zip(
            tf.split(x, groups, -1), tf.split(kernel, groups, -1)
        )
    ]
    return _channels_first(tf.concat(parts, -1), layout)


def _order_last(sizes, layout):
    return [*sizes[:1], *sizes[2:], sizes[1]] if layout[1] == "C" else sizes


def _channels_last(x, layout):
    return moveaxis(x, 1, -1) if layout[1] == "C" else x


def _channels_first(x, layout):
    return moveaxis(x, -1, 1) if layout[1] == "C" else x
