"""Follows paths through the graph of a model, operation by operation."""

import functools

import tensorflow as tf

from tf_lottery.paths import rules
from tf_lottery.paths import running
from tf_lottery.paths import values as values_lib
from tf_lottery.paths.values import Value


class UnknownPathError(ValueError):
    """Where the inputs reach cannot be told for some operation."""


def evaluate(graph, arguments, ends=None):
    """Returns the `Value` of each output of a function's graph, never run.

    The `Mask`s at which paths end are added to a list of `ends`.

    Raises:
        UnknownPathError: If an operation cannot be followed; the message
            names it and the layer it belongs to.
    """
    known = {
        id(tensor): value
        for tensor, value in zip(graph.inputs, arguments, strict=True)
    }
    needed = _needed(graph)
    for op in graph.get_operations():
        if op not in needed or op.type == "Placeholder":
            continue
        operands = [known[id(tensor)] for tensor in op.inputs]
        try:
            outputs = _follow(op, operands, ends)
        except UnknownPathError:
            raise
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise UnknownPathError(f"{_where(op)}: {error}") from error
        for tensor, value in zip(op.outputs, outputs, strict=True):
            known[id(tensor)] = value
        if ends is not None and op.type not in (*_CALLS, *_STRUCTURE) and (
            any(map(_is_reached, operands))
            and not any(map(_is_reached, outputs))
        ):
            ends += _masks_of(op, known)
    return [known[id(tensor)] for tensor in graph.outputs]


def _is_reached(value):
    return value.depends and bool(tf.reduce_any(value.live > 0))


def _masks_of(op, known):
    """The masks that what an operation does to its inputs is made of."""
    found, waiting = [], list(op.inputs)
    while waiting:
        tensor = waiting.pop()
        value = known[id(tensor)]
        if isinstance(value, values_lib.Mask):
            found.append(value)
        elif not value.depends:
            waiting.extend(tensor.op.inputs)
    return found


def _needed(graph):
    """The operations that the outputs depend on."""
    needed, waiting = set(), [tensor.op for tensor in graph.outputs]
    while waiting:
        op = waiting.pop()
        if op not in needed:
            needed.add(op)
            waiting.extend(tensor.op for tensor in op.inputs)
    return needed


def _follow(op, operands, ends):
    if op.type == "Const":
        return [values_lib.constant(tf.constant(
            tf.get_static_value(op.outputs[0]), op.outputs[0].dtype
        ))]
    if op.type in _CALLS:
        follow = functools.partial(evaluate, ends=ends)
        return _CALLS[op.type](op, operands, follow)
    if op.type in _STRUCTURE:
        return _STRUCTURE[op.type](op, operands)
    is_plain = all(
        isinstance(value, values_lib.Mask) or value.live is not None
        for value in operands
    )
    if is_plain and op.type in rules.SHAPES:
        return rules.SHAPES[op.type](op, operands)
    if all(value.constant is not None for value in operands):
        return _folded(op, operands)
    if op.type not in rules.RULES or not is_plain:
        raise UnknownPathError(
            f"{_where(op)}: there is no rule for the operation {op.type}."
        )
    return rules.RULES[op.type](op, operands)


def _folded(op, operands):
    if op.op_def.is_stateful:
        # Random numbers, which must not be drawn.
        return [values_lib.unknown(tensor.shape) for tensor in op.outputs]
    outputs = running.run(op, *(value.constant for value in operands))
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [values_lib.constant(tensor) for tensor in outputs]


def _where(op):
    layer = op.name.rpartition("/")[0]
    return f"Paths cannot be followed through '{layer or op.name}'"


def _read_variable(op, operands):
    kept, = operands
    if kept.mask is None:
        return [values_lib.unknown(op.outputs[0].shape)]
    return [kept.mask]


def _call(op, operands, follow):
    return follow(_function(op, "f"), operands)


def _while(op, operands, follow):
    while True:
        done, = follow(_function(op, "cond"), operands)
        if done.constant is None:
            raise UnknownPathError(
                f"{_where(op)}: how often the loop runs depends on data."
            )
        if not done.constant.numpy():
            return operands
        operands = follow(_function(op, "body"), operands)


def _if(op, operands, follow):
    condition, *operands = operands
    if condition.constant is not None:
        taken = bool(condition.constant.numpy())
        branch = "then_branch" if taken else "else_branch"
        return follow(_function(op, branch), operands)
    branches = zip(
        follow(_function(op, "then_branch"), operands),
        follow(_function(op, "else_branch"), operands),
    )
    return [values_lib.either(outputs) for outputs in branches]


def _function(op, attribute):
    return op.graph._get_function(op.get_attr(attribute).name).graph


def _reserve(op, operands):
    number = int(operands[1].constant.numpy())
    return [Value(items=[None] * number)]


def _unstack(op, operands):
    value = operands[0]
    return [Value(items=[
        Value(live, value.depends) for live in tf.unstack(value.live)
    ])]


def _set_item(op, operands):
    items = list(operands[0].items)
    items[int(operands[1].constant.numpy())] = operands[2]
    return [Value(items=items)]


def _stack(op, operands):
    items = operands[0].items
    shape = next(item.shape for item in items if item is not None)
    items = [Value(tf.zeros(shape)) if i is None else i for i in items]
    live = tf.stack(values_lib.reached(items))
    return [Value(live, any(item.depends for item in items))]


_STRUCTURE = {
    "Identity": lambda op, operands: operands,
    "IdentityN": lambda op, operands: operands,
    "ReadVariableOp": _read_variable,
    "TensorListReserve": _reserve,
    "TensorListFromTensor": _unstack,
    "TensorListGetItem": lambda op, operands: [
        operands[0].items[int(operands[1].constant.numpy())]
    ],
    "TensorListSetItem": _set_item,
    "TensorListStack": _stack,
}
_CALLS = {
    "PartitionedCall": _call,
    "StatefulPartitionedCall": _call,
    "While": _while,
    "StatelessWhile": _while,
    "If": _if,
    "StatelessIf": _if,
}
