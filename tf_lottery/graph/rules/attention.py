"""Attention: heads, key dimensions, value dimensions and outputs are units."""

import math

import keras
import numpy as np

from tf_lottery.graph import functional
from tf_lottery.graph.call import Symbol
from tf_lottery.graph.registry import register_rule
from tf_lottery.internals.graphs import operation_classes


@register_rule(keras.layers.MultiHeadAttention)
def multi_head(call):
    """Four kinds of units; scores are divided by the root of key_dim."""
    layer, part = call.layer, functional.sublayers(call.layer)
    heads = call.fresh(layer.num_heads, "heads")
    keys = call.fresh(layer.key_dim, "key_dim")
    values = call.fresh(layer.value_dim, "value_dim")
    query, out = _attend(call, part, heads, heads, keys, values)
    call.edit_count("num_heads", heads)
    call.edit_count("key_dim", keys)
    call.edit_count("value_dim", values)
    if len(part["attention_output"].kernel.shape) <= 3:
        # Without an entry it would be the width of the query.
        both = np.concatenate([out, query])
        call.edit("output_shape", both, lambda kept: (int(kept[out].sum()),))
    return _outputs(call, heads, out)


@register_rule(keras.layers.GroupQueryAttention)
def grouped_query(call):
    """Queries of one key and value head go together, unless it is the only
    one; one size for all."""
    layer, part = call.layer, functional.sublayers(call.layer)
    if layer.num_key_value_heads == 1:
        groups = call.units.constant("the only key and value head")[None]
        heads = call.fresh(layer.num_query_heads, "heads")
    else:
        groups = call.fresh(layer.num_key_value_heads, "heads")
        heads = np.repeat(groups, layer.num_repeats)
    sizes = call.fresh(layer.head_dim, "key_dim")
    query, out = _attend(call, part, heads, groups, sizes, sizes)
    # Its width has no entry of its own but is that of the query.
    call.units.union(out, query)
    call.edit_count("num_query_heads", heads)
    call.edit_count("num_key_value_heads", groups)
    call.edit_count("head_dim", sizes)
    return _outputs(call, heads, out)


@register_rule(*operation_classes("DotProductAttention"))
def dot_product(call):
    """Heads of query, key and value go together, their sizes stay."""
    query, key, value = call.inputs[:3]
    heads = [call.along(x, 2) for x in (query, key, value)]
    given = call.arguments()
    for name in ("bias", "mask"):
        _masked(call, given.get(name), heads[0])
    call.units.union(heads[1], heads[2])
    if len(heads[1]) > 1:
        repeats = len(heads[0]) // len(heads[1])
        call.units.union(heads[0], np.repeat(heads[1], repeats))
    return call.place(heads[0], 2, 4)


def _attend(call, part, heads, groups, keys, values):
    """Binds all projections; returns ids of the query and of what is made."""
    query, value, key = _read(call, heads)
    _project(call, part["query"], query, heads, keys, "zero")
    _project(call, part["key"], key, groups, keys, "out")
    _project(call, part["value"], value, groups, values, "out")
    if "gate" in part:
        _project(call, part["gate"], query, heads, values, "out")
    # Scores are divided by the root of a size.
    for variable in (part["query"].kernel, part["query"].bias):
        call.scale(variable, keys, lambda kept: (
            math.sqrt(kept[keys].sum() / len(keys))
        ))
    return query, _combine(call, part["attention_output"], heads, values)


def _read(call, heads):
    """The ids of the channels of query, value and key."""
    arguments = call.arguments()
    query, value = arguments["query"], arguments["value"]
    key = arguments.get("key")
    key = value if key is None else key
    _masked(call, arguments.get("attention_mask"), heads)
    for x in call.inputs:
        if not any(x is y for y in (query, value, key)):
            call.freeze_mixed(x)
    return [call.along(x, -1) for x in (query, value, key)]


def _masked(call, mask, heads):
    """What has numbers for every head must stay, and so must the heads."""
    shape = np.shape(mask) if not hasattr(mask, "shape") else mask.shape
    if len(shape) == 4 and shape[1] not in (1, None):
        call.freeze(heads, f"{call.name} is given a number for every head")
    if isinstance(mask, Symbol):
        call.freeze_mixed(mask)


def _project(call, dense, read, heads, sizes, kind):
    call.bind(dense.kernel, 0, read, "in")
    call.bind(dense.kernel, 1, heads, "out")
    call.bind(dense.kernel, 2, sizes, kind)
    call.bind(dense.bias, 0, heads, "out")
    call.bind(dense.bias, 1, sizes, kind)


def _combine(call, dense, heads, values):
    """The output projection; returns the ids it makes."""
    call.bind(dense.kernel, 0, heads, "in")
    call.bind(dense.kernel, 1, values, "in")
    out = call.fresh(dense.kernel.shape[-1])
    call.bind(dense.kernel, -1, out, "out")
    call.bind(dense.bias, -1, out, "out")
    if len(dense.kernel.shape) > 3:
        call.freeze(out, f"{call.name} makes several axes")
    return out


def _outputs(call, heads, out):
    shapes = call.outputs
    ids = [call.place(out, -1, len(shapes[0]))]
    if len(shapes) > 1:
        if len(shapes[1]) != 4:
            call.freeze(heads, f"{call.name} returns its scores")
        ids.append(call.place(heads, 1, len(shapes[1])))
    return ids
