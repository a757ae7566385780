"""Products of weights and inputs, noted while a model computes them.

Keras' layers, and those of others, call the same few functions of its backend.
What these are given tells which weight is multiplied by what, whatever layer
it is in, how often it is called, and what it does besides.
"""

import contextlib
import dataclasses
import functools
import math
from typing import Any

import keras
from keras import ops

from tf_lottery import internals
from tf_lottery.criteria import gradients as gradients_lib
from tf_lottery.criteria import linear_maps

_OTHER_USES = {
    "take": "rows of it are looked up",
    "transpose": "it is transposed before use",
}


@dataclasses.dataclass(frozen=True)
class Read:
    """What columns of a weight are multiplied by.

    Attributes:
        key: String, the weight key.
        columns: Pair of integers, from which column to before which.
        product: `linear_maps.Product`, or `None` if it is no such product.
        x: Tensor that is multiplied.
        looped: Boolean, whether a recurrent layer does so.
        why: String, what it is if it is no such product.
    """

    key: str
    columns: tuple[int, int]
    product: linear_maps.Product | None = None
    x: Any = None
    looped: bool = False
    why: str = ""

    @property
    def width(self):
        """Integer, how many numbers of an example are read."""
        return math.prod(self.x.shape[1:])


@contextlib.contextmanager
def noted(variables, note):
    """A scope in which products with weights are noted.

    Args:
        variables: Dict from weight key to `keras.Variable`.
        note: Function of a `Read`.
    """
    noting = _Noting(variables)
    functions = (*linear_maps.PRODUCTS, *_OTHER_USES, *noting.special)
    with (
        internals.layers.noting_values(noting.value),
        internals.layers.functions_replaced(noting.changed, functions),
        noting.to(note),
    ):
        yield


class _Noting:
    """Functions of Keras' backend that note what weights are multiplied by."""

    def __init__(self, variables):
        self._columns = {
            id(variable): (key, 0, variable.shape[-1])
            for key, variable in variables.items()
        }
        # Tensors stay, so that no other one gets their identity.
        self._tensors = {}
        self._note = self._trace = None
        self.special = {
            "rnn": self._loop,
            "separable_conv": lambda function: _separable,
            "split": self._split,
        }

    @contextlib.contextmanager
    def to(self, note):
        """Tells another function meanwhile, of what the same trace reads."""
        before = self._note, self._trace
        self._note, self._trace = note, gradients_lib.trace()
        try:
            yield
        finally:
            self._note, self._trace = before

    def value(self, variable, index, tensor):
        """Notes a tensor that was read of a variable, or of a part of it."""
        found = self._columns.get(id(variable))
        if found is not None:
            columns = _columns_at(index, variable.shape)
            if columns is not None:
                self._tensors[id(tensor)] = tensor, (found[0], *columns)

    def changed(self, function, name):
        """Returns what takes the place of a function of the backend."""
        if name in self.special:
            return self.special[name](function)
        if name in _OTHER_USES:
            return self._other(function, _OTHER_USES[name])
        product = linear_maps.PRODUCTS[name]
        if name == "einsum":
            return self._einsum(function, product)

        @functools.wraps(function)
        def call(x, kernel, *args, **kwargs):
            output = function(x, kernel, *args, **kwargs)
            self._multiplied(product, x, kernel, output, *args, **kwargs)
            return output

        return call

    def _einsum(self, function, product):
        @functools.wraps(function)
        def call(equation, *operands, **kwargs):
            output = function(equation, *operands, **kwargs)
            if len(operands) == 2 and "->" in equation:
                terms, made = equation.split("->")
                self._multiplied(product, *operands, output, equation)
                self._multiplied(
                    product, *operands[::-1], output,
                    f"{','.join(terms.split(',')[::-1])}->{made}",
                )
            return output

        return call

    def _other(self, function, why):
        @functools.wraps(function)
        def call(x, *args, **kwargs):
            found = self._found(x)
            if found:
                self._note(Read(found[0], found[1:], why=why))
            return function(x, *args, **kwargs)

        return call

    def _split(self, function):
        @functools.wraps(function)
        def call(x, indices_or_sections, axis=0):
            parts = function(x, indices_or_sections, axis)
            found = self._found(x)
            if found and axis in (-1, len(x.shape) - 1):
                key, start, _ = found
                for part in parts:
                    stop = start + part.shape[-1]
                    self._tensors[id(part)] = part, (key, start, stop)
                    start = stop
            return parts

        return call

    def _found(self, operand):
        """Returns the key and the columns that an operand is, or `None`."""
        _, found = self._tensors.get(id(operand), (None, None))
        return self._columns.get(id(operand), found)

    def _multiplied(self, make, x, kernel, output, *args, **kwargs):
        found = self._found(kernel)
        if found is None:
            return
        key, *columns = found
        x = ops.cast(ops.convert_to_tensor(x), output.dtype)
        product = make(tuple(kernel.shape), x, output, *args, **kwargs)
        why = "" if product else "it is multiplied in an unknown way"
        self._take(Read(key, tuple(columns), product, x, why=why))

    def _take(self, read):
        if read.product and gradients_lib.trace() != self._trace:
            why = "it is multiplied in a loop or a branch"
            read = Read(read.key, read.columns, why=why)
        self._note(read)

    def _loop(self, function):
        """Runs a loop, and once more for what is multiplied inside."""
        @functools.wraps(function)
        def call(step, *args, **kwargs):
            found = []
            with self.to(found.append):
                outputs = function(step, *args, **kwargs)
            if found:
                self._read_again(function, step, *args, **kwargs)
            return outputs

        return call

    def _read_again(self, function, step, *args, **kwargs):
        reads = []

        def reading(x, states):
            reads.clear()
            with self.to(reads.append):
                _, states = step(x, states)
            examples = ops.shape(keras.tree.flatten(x)[0])[0]
            flat = [
                ops.reshape(read.x, (examples, read.width))
                for read in reads if read.product
            ]
            flat = flat or [ops.zeros((examples, 1))]
            return ops.concatenate(flat, -1), states

        _, rows, _ = function(reading, *args, **{
            # Steps that a mask leaves out are zeros, and count for nothing.
            **kwargs, "unroll": False, "zero_output_for_mask": True,
            "return_all_outputs": True,
        })
        start = 0
        for read in reads:
            if read.product:
                stop = start + read.width
                x = ops.reshape(rows[..., start:stop], (-1, *read.x.shape[1:]))
                read, start = dataclasses.replace(read, x=x, looped=True), stop
            self._take(read)


def _separable(
    x, depthwise, pointwise, strides=1, padding="valid", data_format=None,
    dilation_rate=1,
):
    x = ops.depthwise_conv(
        x, depthwise, strides, padding, data_format, dilation_rate
    )
    return ops.conv(x, pointwise, data_format=data_format)


def _columns_at(index, shape):
    """Returns the columns that an index picks, or `None`: parts of them."""
    if index is None:
        return 0, shape[-1]
    *others, last = index if isinstance(index, tuple) else (index,)
    if len(others) + 1 < len(shape) and Ellipsis not in others:
        return None
    everything = all(
        other is Ellipsis or isinstance(other, slice) and other == slice(None)
        for other in others
    )
    picked = range(shape[-1])[last] if isinstance(last, slice) else None
    if not everything or picked is None or picked.step != 1:
        return None
    return picked.start, picked.stop
