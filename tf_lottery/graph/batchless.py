"""Tensors that are made of weights alone: they have no batch."""

import dataclasses

import keras
import numpy as np
from keras import ops
from keras import tree

from tf_lottery.graph.call import Symbol
from tf_lottery.graph.rules import elementwise
from tf_lottery.graph.rules import shapes
from tf_lottery.graph.rules import slicing

# What moves numbers: any of them, or all along the axis it is made for.
_FREE = {
    "BroadcastTo", "Concatenate", "ExpandDims", "Moveaxis", "Squeeze", "Stack",
    "Swapaxes", "Transpose",
}
_ALONG = {"Flip", "Repeat", "Roll", "Split", "Take", "Unstack"}
_MOVING = _FREE | _ALONG | {"GetItem", "Reshape", "Tile"}
_ELEMENTWISE = (
    elementwise.unary, elementwise.coupled, elementwise.constant_like
)
# What is in the configuration about sizes.
_SHAPES = {"BroadcastTo": "shape", "Reshape": "newshape"}


def is_batchless(value):
    """Whether a value is the symbol of a tensor without a batch."""
    return isinstance(value, Symbol) and value.batch is None


def applied(call, rule):
    """Returns the ids of what is made of weights, `None` to be told by a rule.
    """
    if all(map(is_batchless, call.inputs)):
        return _of_weights_alone(call, rule)
    if _is_product(call):
        return call.multiplied(*call.inputs)
    return _looked_up(call) if _is_lookup(call) else None


def _of_weights_alone(call, rule):
    call.batch = None
    if type(call.operation).__name__ in _MOVING and not isinstance(
        call.operation, keras.layers.Layer
    ):
        return _moved(call)
    rank = max(len(x.shape) for x in call.inputs)
    if rule in _ELEMENTWISE:
        return rule(call.given(lambda x: _before(x, rank + 1)))
    if rule is None or rank < 2 or any(
        len(x.shape) != rank for x in call.inputs
    ):
        return call.frozen(f"{call.name} reads weights")
    # A layer takes their first axis for the batch.
    for x in call.inputs:
        call.units.tie(x.ids, 0)
    ids = rule(call.given(
        lambda x: dataclasses.replace(x, ids=x.ids[0], batch=0)
    ))
    ids = [ids] if isinstance(ids, np.ndarray) else ids
    return [i[None] for i in ids]


def _is_product(call):
    """Whether a call multiplies a tensor by a weight that is a matrix."""
    is_like_dense = _PRODUCTS.get(type(call.operation).__name__)
    if is_like_dense is None or len(call.inputs) != 2:
        return False
    x, weight = call.inputs
    return (
        weight.source is not None and len(weight.shape) == 2
        and x.batch == 0 and len(x.shape) > 1
        and is_like_dense(call.operation)
    )


def _sums_as_dense(operation):
    read, made = operation.subscripts.replace(" ", "").split("->")
    x, _, kernel = read.partition(",")
    return len(kernel) == 2 and (x[-1:], made) == (
        kernel[0], x[:-1] + kernel[1]
    )


# When they sum over the last axis and the first one.
_PRODUCTS = {
    "Dot": lambda operation: True,
    "Einsum": _sums_as_dense,
    "Matmul": lambda operation: True,
    "Tensordot": lambda operation: operation.axes == 1,
}


def _is_lookup(call):
    """Whether rows of a weight are looked up, as an embedding does."""
    x = call.inputs[0]
    return (
        type(call.operation).__name__ == "Take" and is_batchless(x)
        and len(x.shape) == 2 and call.operation.axis == 0
    )


def _looked_up(call):
    x, rows = call.inputs
    call.freeze_mixed(rows)
    call.units.tie(x.ids, 0)
    call.vanishes = x.vanishes
    return call.place(x.ids[0], -1, len(rows.shape) + 1)


def with_batch(call):
    """Returns a call in which weights are tensors of a batch of one."""
    rank = max(len(x.shape) for x in call.inputs if x.batch is not None)
    return call.given(lambda x: _aligned(call, x, rank))


def _aligned(call, x, rank):
    if x.batch is not None:
        return x
    if len(x.shape) < rank:
        return _before(x, rank)
    if len(x.shape) == rank and x.shape[0] == 1:
        return dataclasses.replace(x, ids=x.ids[0], batch=0)
    reason = f"{call.name} reads a weight along the batch"
    call.freeze(x, reason)
    id_ = call.units.constant(reason)
    ids = np.full((1,) * (len(x.shape) - 1), id_)
    return dataclasses.replace(x, ids=ids, batch=0)


def _before(x, rank):
    """A symbol of a higher rank, whose first axis is the batch."""
    ones = (1,) * (rank - len(x.shape))
    ids = x.ids.reshape(ones[1:] + x.ids.shape)
    return dataclasses.replace(x, ids=ids, shape=ones + x.shape, batch=0)


def _moved(call):
    """Numbers are moved as their ids are."""
    name = type(call.operation).__name__
    for x in call.inputs:
        axes = _fixed(name, call, len(x.shape))
        for axis in range(x.ids.ndim) if axes is None else np.ravel(axes):
            call.units.tie(x.ids, int(axis))

    def moving(x):
        ids = np.broadcast_to(x.ids, x.shape).astype("int32")
        return ops.convert_to_tensor(ids)

    args, kwargs = tree.map_structure(
        lambda x: moving(x) if isinstance(x, Symbol) else x,
        (call.args, call.kwargs),
    )
    try:
        found = tree.flatten(call.operation(*args, **kwargs))
    # Of the size of a batch that is not known yet, say.
    except Exception:
        return call.frozen(f"{call.name} cannot be tried on numbers")
    found = [ops.convert_to_numpy(x).astype(int) for x in found]
    if name in _SHAPES:
        shapes.edited(call, found[0], _SHAPES[name], call.outputs[0])
    return found


def _fixed(name, call, rank):
    """Axes along which an operation is made for all numbers, `None`: all."""
    if name in _FREE:
        return []
    if name in _ALONG:
        return call.operation.axis
    return {"GetItem": _cut, "Reshape": _reshaped, "Tile": _tiled}[name](
        call, rank
    )


def _cut(call, rank):
    """Axes of which an index takes a part."""
    key = slicing.whole_key(call.args[1], rank)
    if key is None:
        return None
    parts = [part for part in key if part is not None]
    return [axis for axis, part in enumerate(parts) if part != slice(None)]


def _reshaped(call, rank):
    """Axes that become others."""
    (x,) = call.inputs
    left = shapes.common(x.shape, call.outputs[0])
    right = shapes.common(x.shape[left:][::-1], call.outputs[0][left:][::-1])
    return list(range(left, rank - right))


def _tiled(call, rank):
    repeats = np.ravel(call.operation.repeats)[-rank:].tolist()
    repeats = [1] * (rank - len(repeats)) + repeats
    return [axis for axis, count in enumerate(repeats) if count != 1]
