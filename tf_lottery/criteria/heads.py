"""Logits of a model whose last operation is a softmax or a sigmoid.

They are read off the graph while it is traced, so the model itself needs no
change: whatever kind of model it is, the operation that made its output is
there. Under backends without such a graph Keras' own functions note down what
they are given.
"""

import contextlib
import dataclasses
import functools

from tf_lottery import internals
from tf_lottery.utils import backends
from tf_lottery.utils.backends import tf

_HEADS = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
# What a model may do to its output after the softmax.
_PASSED_ON = ("Identity", "Cast", "EnsureShape")
_NOTE = "_tf_lottery_head"
_MOVED = ("Transpose", "Reshape", "Squeeze", "ExpandDims")


@dataclasses.dataclass(frozen=True)
class Head:
    """One output of a model while it is traced.

    The logits go into the activation at its end, `"softmax"` or `"sigmoid"`;
    both are `None` if it ends in neither.
    """

    output: object
    logits: object = None
    activation: str | None = None


@contextlib.contextmanager
def recorded():
    """Makes Keras' softmax and sigmoid note what they are given, meanwhile.

    Under TensorFlow, where the graph tells, nothing is done.
    """
    if backends.is_tensorflow():
        yield
        return
    # All ways to a softmax (activations, layers, `keras.ops`) lead there.
    with internals.layers.functions_replaced(_noting, _HEADS.values()):
        yield


def _noting(function, name):
    @functools.wraps(function)
    def call(x, *args, **kwargs):
        output = function(x, *args, **kwargs)
        internals.layers.note(output, _NOTE, (name, x))
        return output

    return call


def split(output):
    """Returns the `Head` of an output.

    It was returned inside a `tf.function`, or while heads are `recorded`.

    >>> import tensorflow as tf
    >>> @tf.function
    ... def logits(x):
    ...     return split(tf.nn.softmax(x)).logits
    >>> logits(tf.constant([[1.0, 2.0]])).numpy().tolist()
    [[1.0, 2.0]]
    """
    if not backends.is_tensorflow():
        name, x = internals.layers.noted(output, _NOTE) or (None, None)
        return Head(output, x, name)
    moves, tensor = [], output
    while isinstance(tensor, tf.Tensor) and not hasattr(tensor, "numpy"):
        operation = tensor.op
        if operation.type in _HEADS and len(operation.inputs) == 1:
            logits = operation.inputs[0]
            for move in reversed(moves):
                logits = _again(move, logits)
            if logits.dtype != output.dtype:
                logits = tf.cast(logits, output.dtype)
            return Head(output, logits, _HEADS[operation.type])
        if operation.type in _MOVED and _keeps_classes(operation):
            moves.append(operation)
        elif operation.type == "Pack":
            return _split_stack(output, operation, moves)
        elif operation.type not in _PASSED_ON:
            break
        tensor = operation.inputs[0]
    return Head(output)


def _split_stack(output, operation, moves):
    """`TimeDistributed` stacks the outputs of the steps in time."""
    heads = [split(step) for step in operation.inputs]
    kinds = {head.activation for head in heads}
    axis = operation.get_attr("axis")
    if len(kinds) != 1 or None in kinds or axis in (-1, len(output.shape) - 1):
        return Head(output)
    logits = tf.stack([head.logits for head in heads], axis)
    for move in reversed(moves):
        logits = _again(move, logits)
    return Head(output, logits, *kinds)


def _keeps_classes(operation):
    """Whether the last axis, that of the classes, stays the last one."""
    before, after = operation.inputs[0].shape, operation.outputs[0].shape
    if before.rank is None or after.rank is None or not after.rank:
        return False
    if operation.type == "Transpose":
        order = tf.get_static_value(operation.inputs[1])
        return order is not None and order[-1] == before.rank - 1
    return before[-1] is not None and before[-1] == after[-1] > 1


def _again(operation, tensor):
    """Applies to the logits what was applied to the probabilities."""
    if operation.type == "Transpose":
        return tf.transpose(tensor, operation.inputs[1])
    # Whatever else moves entries keeps their order.
    return tf.reshape(tensor, tf.shape(operation.outputs[0]))
