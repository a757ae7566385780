"""Runs operations of a graph again, on other tensors."""

import functools
import inspect

import tensorflow as tf

# What `tf.raw_ops` calls arguments that have older names in graphs.
_RENAMED = {
    "dim": "axis",
    "e": "y",
    "reduction_indices": "axis",
    "split_dim": "axis",
    "squeeze_dims": "axis",
    "t": "x",
}


def run(op, *tensors):
    """Runs an operation of a graph on other tensors, eagerly."""
    names = _parameters(op.type)
    given, tensors = {}, iter(tensors)
    for argument in op.op_def.input_arg:
        length = _length(op, argument)
        given[_name(argument, names)] = (
            next(tensors) if length is None
            else [next(tensors) for _ in range(length)]
        )
    for attribute in op.op_def.attr:
        name = _name(attribute, names)
        if name in names:
            given[name] = op.get_attr(attribute.name)
    return getattr(tf.raw_ops, op.type)(**given)


@functools.cache
def _parameters(kind):
    return inspect.signature(getattr(tf.raw_ops, kind)).parameters.keys()


def _name(definition, names):
    name = definition.name
    return name if name in names else _RENAMED.get(name)


def _length(op, argument):
    """How many tensors a list argument has; `None` for a single tensor."""
    if argument.number_attr:
        return op.get_attr(argument.number_attr)
    if argument.type_list_attr:
        return len(op.get_attr(argument.type_list_attr))
    return None


def arguments(op):
    """Yields the definition of the argument that each operand belongs to."""
    for argument in op.op_def.input_arg:
        for _ in range(_length(op, argument) or 1):
            yield argument


def is_data(argument):
    """Whether an argument is data, rather than sizes, axes or indices."""
    return argument.type_list_attr or argument.type_attr in ("T", "Tparams")
