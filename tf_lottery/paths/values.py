"""Values: what is known of a tensor while paths are followed."""

import dataclasses

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(eq=False)
class Value:
    """One tensor of a model's graph.

    Attributes:
        live: Float tensor of zeros and ones, of the tensor's shape. Where
            the tensor depends on the inputs: which elements a path from an
            input reaches. Else: which elements may differ from zero.
        depends: Boolean, whether the tensor depends on the inputs.
        constant: The tensor itself where it is a constant, else `None`.
        items: List of `Value` where it is a list of tensors, else `None`.
        mask: `Mask` of the variable that it is, else `None`.
    """

    live: tf.Tensor | None = None
    depends: bool = False
    constant: tf.Tensor | None = None
    items: list | None = None
    mask: "Mask | None" = None

    @property
    def shape(self):
        """Tuple of integers; shapes are always known."""
        return tuple(self.live.shape)


class Mask(Value):
    """A mask as it is read: made into floats where they are used alone.

    All of them at once would take the memory of the weights. Nothing lies
    before it whose counts could overflow. Through the scalar `source`, which
    `read` makes `live` of, gradients find the mask.
    """

    def __init__(self, read, source, key):
        super().__init__()
        self.read, self.source, self.key = read, source, key

    @property
    def live(self):
        return self.read(self.source)

    @live.setter
    def live(self, value):
        """The base class sets what is not known yet."""


def constant(tensor):
    """Returns the `Value` of a constant tensor."""
    if tensor.dtype in (tf.string, tf.resource, tf.variant):
        return Value(tf.ones(tensor.shape), constant=tensor)
    live = np.asarray(tensor.numpy() != 0, "float32")
    return Value(tf.constant(live), constant=tensor)


def known(op, value):
    """Returns the array of an operand that must be constant."""
    if value.constant is None:
        raise ValueError(
            f"the operation {op.type} takes its sizes or indices from data"
        )
    return value.constant.numpy()


def unknown(shape):
    """Returns the `Value` of a tensor that no path from an input reaches."""
    return Value(tf.ones(shape))


def reached(values):
    """Returns the elements that carry paths, of each of several operands.

    Beside one that depends on the inputs, another that does not adds none.
    """
    if not any(value.depends for value in values):
        return [value.live for value in values]
    return [
        value.live if value.depends else tf.zeros(value.shape)
        for value in values
    ]


def either(values):
    """Returns the `Value` of what depends on each of `values`, elementwise."""
    shape = np.broadcast_shapes(*(value.shape for value in values))
    depends = any(value.depends for value in values)
    live = [value.live for value in values if value.depends or not depends]
    if len(live) == 1 and tuple(live[0].shape) == shape:
        return Value(live[0], depends)
    live = [tf.broadcast_to(part, shape) for part in live]
    return Value(binary(tf.add_n(live)), depends)


@tf.custom_gradient
def binary(counts):
    """Makes counts of paths zeros and ones; their gradients as well.

    Counts are whole numbers. They are told from zero at one half, because
    fast convolutions round; and they cannot overflow, because no more than
    one operation lies between two calls of this.
    """
    return _positive(counts), _positive


def _positive(counts):
    # The gradient of a table of rows comes as a list of rows.
    return tf.cast(tf.convert_to_tensor(counts) > 0.5, tf.float32)
