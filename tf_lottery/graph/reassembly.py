"""Models put together anew from their graph, with other operations in it."""

import collections

import keras
import numpy as np
from keras import tree

from tf_lottery import internals
from tf_lottery.graph import functional
from tf_lottery.graph import inlining
from tf_lottery.graph import renewing


def rebuild(view, operation_fn=renewing.edited):
    """Builds the model of a `View` anew, with other operations in its places.

    `operation_fn` is called once for each; the default copies. The model is
    of the same class where that is made from layers, or inputs and outputs,
    not compiled, with fresh weights. Raises a `ValueError` if an operation is
    called with a weight of the model.

    Example:

    >>> from tf_lottery.graph import functional, reassembly
    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(2, name="fc")])
    >>> copy = reassembly.rebuild(functional.view(model))
    >>> copy.get_layer("fc").units, copy.layers[0] is model.layers[0]
    (2, False)
    """
    for part in (view, *view.parts.values()):
        inlining.check_reads(part.model, part.graph)
    made, shared = {}, _shared(view)
    names = _other_names(view, shared)

    def replaced(operation):
        if id(operation) not in made:
            nested = view.parts.get(id(operation))
            if nested is None:
                new = operation_fn(operation)
                if id(operation) in names:
                    new.name = names[id(operation)]
                made[id(operation)] = _loadable(new, view)
            elif shared & _inside(nested):
                made[id(operation)] = _Merged(nested, replaced)
            else:
                made[id(operation)] = _Nested(nested, replaced)
        return made[id(operation)]

    return _build(view, replaced, [x.shape for x in view.graph.inputs])


def _loadable(operation, view):
    """An operation that makes nothing sparse, as numbers do to Keras.

    The layers of others could not be loaded behind it.
    """
    multiply = tuple(internals.graphs.operation_classes("Multiply"))
    if not isinstance(operation, multiply) or all(
        map(functional.is_keras, internals.layers.flat(view.model))
    ):
        return operation

    def call(*args, **kwargs):
        tensors = functional.tensors(args)
        numbers = [
            x for x in args
            if not functional.is_symbolic(x) and np.ndim(x) == 0
        ]
        if len(numbers) != 1 or not all(
            keras.backend.is_float_dtype(x.dtype) for x in tensors
        ):
            return operation(*args, **kwargs)
        (x,), (number,) = tensors, numbers
        return keras.layers.Rescaling(float(number), dtype=x.dtype)(x)

    return call


def _shared(view):
    """Ids of layers in several graphs, which Keras loads as several."""
    graphs = [view, *view.parts.values()]
    counts = collections.Counter(i for part in graphs for i in _inside(part))
    return {i for i, count in counts.items() if count > 1}


def _other_names(view, shared):
    """Names of layers that come into one graph under the same name."""
    inside = {
        id(layer): (part.model.name, layer)
        for part in [*view.parts.values(), view]
        if part is view or shared & _inside(part)
        for layer in _layers(part)
    }
    counts = collections.Counter(x.name for _, x in inside.values())
    return {
        place: f"{above}_{layer.name}"
        for place, (above, layer) in inside.items() if counts[layer.name] > 1
    }


def _inside(view):
    return set(map(id, _layers(view)))


def _layers(view):
    return [
        operation
        for operation, *_ in functional.symbolic_arguments(view.graph)
        if isinstance(operation, keras.layers.Layer)
    ]


class _Merged:
    """A model inside another, made a part of its graph."""

    def __init__(self, view, replaced):
        self.view, self.replaced = view, replaced

    def __call__(self, *args, **kwargs):
        inputs = functional.inputs_of(self.view, args, kwargs)
        calling = functional.calling(self.replaced)
        outputs = functional.run(self.view.graph, inputs, calling)
        return functional.spread(self.view.graph, outputs)


class _Nested:
    """A model inside another, built when the shapes it gets are known."""

    def __init__(self, view, replaced):
        self.view, self.replaced, self.model = view, replaced, None

    def __call__(self, *args, **kwargs):
        tensors = functional.inputs_of(self.view, args, kwargs)
        if self.view.constants is not None:
            args, kwargs = (tensors,), {}
        if self.model is None:
            shapes = [x.shape for x in tensors]
            self.model = _build(self.view, self.replaced, shapes)
        outputs = tree.flatten(self.model(*args, **kwargs))
        return functional.spread(self.view.graph, outputs)


def _build(view, replaced, shapes):
    # Sizes that were unknown stay so.
    shapes = [
        [a if None in (a, b) else b for a, b in zip(x.shape, shape)]
        for x, shape in zip(view.graph.inputs, shapes)
    ]
    model, made_of_layers = view.model, functional.is_made_of_layers(view.model)
    if not isinstance(model, keras.Sequential):
        kind = type(model) if made_of_layers else keras.Model
        return functional.at_shapes(
            view.graph, shapes, replaced, kind, model.name
        )
    inputs = functional.inputs_like(view.graph, shapes)
    kind = type(model) if made_of_layers else keras.Sequential
    new = kind(inputs, name=model.name)
    for layer in model.layers:
        made = replaced(layer)
        if isinstance(made, _Nested):
            made(new.outputs[0] if new.layers else inputs[0])
            made = made.model
        new.add(made)
    return new
