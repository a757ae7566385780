"""Composite layers read as graphs, by calling them on symbolic tensors."""

import functools
import inspect

import keras
import numpy as np
from keras import ops
from keras import tree

from tf_lottery import internals
from tf_lottery import weights
from tf_lottery.graph import own_weights
from tf_lottery.graph import registry


class Unreadable(ValueError):
    """A model or layer is no graph of Keras operations; says why."""


def at_length(layer, args, kwargs, length):
    """Returns the graph of a layer's `call`, for one example if it must be."""
    shapes = tree.map_structure(_as_input, (args, kwargs))
    try:
        graph = inlined(layer, *shapes, tensors(shapes))
        return _tried(graph, layer, *shapes)
    except Unreadable as failure:
        if is_leaf(layer) and internals.layers.own_variables(layer):
            raise
        error = failure
    for single in (False, True)[: 1 + (length is not None)]:
        as_input = functools.partial(_as_input, single=single)
        shapes = tree.map_structure(as_input, (args, kwargs))
        try:
            # Layers inside may take or return what no symbolic call does.
            with internals.layers.calling_through(_is_composite, _modelled):
                graph = inlined(layer, *shapes, tensors(shapes))
            return _tried(graph, layer, *shapes)
        except Unreadable:
            continue
    raise error


def _tried(graph, layer, args, kwargs):
    """A graph that computes what a layer with weights of its own does."""
    if not internals.layers.own_variables(layer):
        return graph
    try:
        values = tree.map_structure(_random, (args, kwargs))
        expected = layer(*values[0], **values[1])
    # What cannot be called so says nothing of the graph.
    except Exception:
        return graph
    inputs = [x for x in tree.flatten(values) if ops.is_tensor(x)]
    try:
        found = tree.flatten(graph(inputs))
        expected = [x for x in tree.flatten(expected) if x is not None]
        same = all(
            np.allclose(*map(ops.convert_to_numpy, pair), 1e-3, 1e-3)
            for pair in zip(expected, found, strict=True)
        )
    # It was read for another batch, say.
    except Exception:
        same = False
    if not same:
        raise Unreadable("its `call` is not the same for every batch")
    return graph


def _random(value):
    """A batch of two in the place of a symbolic tensor."""
    if not is_symbolic(value):
        return value
    shape = (2, *(4 if n is None else n for n in value.shape[1:]))
    if not keras.backend.is_float_dtype(value.dtype):
        return ops.ones(shape, value.dtype)
    generator = np.random.default_rng(0)
    return ops.convert_to_tensor(generator.normal(size=shape), value.dtype)


def _modelled(layer, args, kwargs):
    """Calls a layer as a model of what is inside it."""
    if not layer.variables:
        return layer.call(*args, **kwargs)
    shapes = tree.map_structure(_as_input, (args, kwargs))
    inputs = tensors(shapes)
    with own_weights.Readers(layer).opened(inputs[0]):
        outputs = layer.call(*shapes[0], **shapes[1])
    flat = tree.flatten(outputs)
    graph = _model(inputs, outputs, name=layer.name)
    made = iter(graph(tensors((args, kwargs))))
    flat = [next(made) if is_symbolic(x) else x for x in flat]
    return tree.pack_sequence_as(outputs, flat)


def _model(inputs, outputs, **kwargs):
    """A graph from tensors to tensors; what else comes out goes nowhere."""
    given = {id(x) for x in tree.flatten(inputs)}
    # Keras makes no model of what it is only handed through.
    outputs = tree.map_structure(
        lambda x: ops.stop_gradient(x) if id(x) in given else x, outputs
    )
    flat = tensors(outputs)
    whole = len(flat) == len(tree.flatten(outputs)) and not kwargs
    graph = keras.Model(inputs, outputs if whole else flat, **kwargs)
    graph.made_places = tuple(
        i for i, x in enumerate(tree.flatten(outputs)) if is_symbolic(x)
    )
    if not internals.graphs.open_batch(graph):
        raise Unreadable("it reshapes to sizes that are not known")
    return graph


def _is_composite(layer):
    """Whether a layer is only what the layers inside it are."""
    return not (
        is_keras(layer)
        or isinstance(layer, keras.Model)
        or registry.find(type(layer))
        or is_leaf(layer) and internals.layers.own_variables(layer)
    )


def is_leaf(layer):
    """Whether no layer inside a layer has weights."""
    return not any(x.variables for x in internals.layers.children(layer))


def is_keras(layer):
    """Whether the class of a layer is Keras' own, or this package's."""
    return type(layer).__module__.startswith(("keras.", "tf_lottery."))


def inlined(layer, args, kwargs, inputs):
    """Returns the graph of a layer's `call`, sharing its variables."""
    own = internals.layers.own_variables(layer)
    seeds = [v.name for v in own if weights.is_seed(v)]
    readers = own_weights.Readers(layer)
    if seeds or own and is_leaf(layer) or readers.hidden():
        (name, *_) = seeds or readers.hidden() or [own[0].name]
        raise Unreadable(
            f"weight '{name}' belongs to it and not to a layer in it"
        )
    if "training" in inspect.signature(layer.call).parameters:
        kinds = [
            _kinds(_called(
                layer, args, kwargs | {"training": t}, inputs, readers
            ))
            for t in (True, False)
        ]
        if kinds[0] != kinds[1]:
            raise Unreadable("its `call` branches on `training`")
    return _called(layer, args, kwargs, inputs, readers)


def _called(layer, args, kwargs, inputs, readers):
    try:
        with (
            readers.opened(tree.flatten(inputs)[0]),
            internals.layers.noting_reads() as read,
        ):
            graph = _model(inputs, layer.call(*args, **kwargs))
    except Unreadable:
        raise
    # Code of the user's: whatever it raises on symbols is the reason.
    except Exception as error:
        message = (str(error).strip().splitlines() or [""])[0]
        raise Unreadable(
            "its `call` does not take symbolic tensors "
            f"({type(error).__name__}: {message})"
        ) from error
    check_reads(layer, graph, [v for v in read if not weights.is_seed(v)])
    return graph


def check_reads(layer, graph, read=()):
    """Refuses weights that would be constants, or those of the big model."""
    given = tree.flatten([
        (node.arguments.args, node.arguments.kwargs)
        for node in internals.graphs.nodes(graph)
    ])
    read = [*read, *(x for x in given if isinstance(x, keras.Variable))]
    # Under torch nothing else tells that a constant was made of weights.
    if read or any(getattr(x, "requires_grad", False) for x in given):
        name = f"weight '{read[0].path}'" if read else "a weight"
        raise Unreadable(
            f"its `call` reads {name} itself, which a copy of '{layer.name}' "
            "would not share. Call the layer that has the weight instead "
            "(`keras.layers.ReversibleEmbedding` is its own transpose)"
        )


def _kinds(graph):
    """What happens in a graph; operations are new in every call of it."""
    return [_kind(node.operation) for node in internals.graphs.nodes(graph)]


def _kind(operation):
    if internals.graphs.is_functional_call(operation):
        return _kinds(operation)
    if isinstance(operation, own_weights.OwnWeight):
        return id(operation.weight)
    is_layer = isinstance(operation, keras.layers.Layer)
    return operation if is_layer else type(operation)


def _as_input(value, single=False):
    if not is_symbolic(value):
        return value
    shape = (1, *value.shape[1:]) if single else value.shape
    return keras.Input(batch_shape=shape, dtype=value.dtype)


def tensors(structure):
    """Returns the symbolic tensors in a structure, as a list."""
    return [x for x in tree.flatten(structure) if is_symbolic(x)]


def is_symbolic(value):
    """Whether a value stands for a tensor in a graph."""
    return isinstance(value, keras.KerasTensor)
