"""Models built anew from their graph, with other operations in them."""

import collections
import inspect

import keras
import numpy as np
from keras import tree

from tf_lottery import internals
from tf_lottery.graph import functional


def edited(operation, edits=None):
    """Returns a new layer or operation with some of its configuration edited.

    Args:
        edits: Dict from entry to value as in `Graph.edits`. Defaults to none.

    Returns:
        An operation without weights yet; a function that calls one where the
        edit is in the arguments of the call.

    Example:

    >>> from tf_lottery.graph import renewing
    >>> layer = keras.layers.Dense(8, name="fc")
    >>> renewing.edited(layer, {("units",): 5}).units
    5
    """
    edits = dict(edits or {})
    arguments = {e[1]: edits.pop(e) for e in list(edits) if e[0] == "call"}
    new = _reconfigured(operation, edits)
    if not arguments:
        return new

    def call(*args, **kwargs):
        args = [arguments.get(i, value) for i, value in enumerate(args)]
        return new(*args, **kwargs)

    return call


def _reconfigured(operation, edits):
    if not edits and not isinstance(operation, keras.layers.Layer):
        # Not every operation has a configuration, and none has a state.
        return internals.graphs.unlinked(operation)
    if isinstance(operation, keras.layers.Lambda):
        # Its function is not always found again by its configuration.
        return internals.graphs.same_lambda(operation)
    config = without_build(config_of(operation))
    for entry, value in edits.items():
        below = config
        for name in entry[:-1]:
            below = below[name]
        below[entry[-1]] = value
    return _made(type(operation), config)


def config_of(operation):
    """Returns the configuration of a layer or operation.

    A class that has none is taken to keep its arguments under their names.
    """
    try:
        return operation.get_config()
    # Code of the user's, which may fail in any way.
    except Exception:
        names = _arguments(type(operation))
        config = {
            name: getattr(operation, name)
            for name in names if hasattr(operation, name)
        }
    if isinstance(operation, keras.layers.Layer):
        config["dtype"] = operation.dtype_policy.name
        config["trainable"] = operation.trainable
    return config


def _made(kind, config):
    names = {*_arguments(kind), "name", "trainable", "dtype"}
    try:
        layer = kind.from_config(config)
    except TypeError:
        # Some tell in it what their constructor does not take.
        known = {k: v for k, v in config.items() if k in names}
        if known == config:
            raise
        config, layer = known, kind.from_config(known)
    if not kind.__module__.startswith("keras.src"):
        _tell_only(layer, config.keys() | names)
    return layer


def _tell_only(layer, names):
    """Leaves out what no constructor takes, so that files can be loaded."""
    tell = layer.get_config
    try:
        more = tell().keys() - names
    # Not every layer has a configuration.
    except Exception:
        return
    if more:
        layer.get_config = lambda: {
            k: v for k, v in tell().items() if k not in more
        }


def _arguments(kind):
    """The names of what the constructor of a class takes, with its bases'."""
    found = set()
    for base in kind.__mro__[:-1]:
        if base.__module__.startswith("keras.src"):
            break
        found |= inspect.signature(base.__init__).parameters.keys()
    return found - {"self", "args", "kwargs"} | {"name"}


def without_build(config):
    """Returns a copy without the shapes that layers were built with."""
    if isinstance(config, (list, tuple)):
        return type(config)(map(without_build, config))
    if not isinstance(config, dict):
        return config
    return {
        key: without_build(value)
        for key, value in config.items()
        if key != "build_config"
    }


def rebuild(view, operation_fn=edited):
    """Builds a model anew, with other operations in the same places.

    Args:
        view: A `View`; its `parts` are rebuilt as models of their own.
        operation_fn: Function from layer or operation to the one in its
            place, called once for each. Defaults to copying.

    Returns:
        A `keras.Sequential` if the model was one, else a Functional
        `keras.Model`, not compiled, with fresh weights. It is of the model's
        class where that is made from layers, or inputs and outputs.

    Example:

    >>> from tf_lottery.graph import functional, renewing
    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(2, name="fc")])
    >>> copy = renewing.rebuild(functional.view(model))
    >>> copy.get_layer("fc").units, copy.layers[0] is model.layers[0]
    (2, False)
    """
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
        numbers = [
            x for x in args
            if not functional.is_symbolic(x) and np.ndim(x) == 0
        ]
        tensors = [x for x in args if functional.is_symbolic(x)]
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
        graph = self.view.graph
        if self.view.constants is None:
            inputs = functional.ordered(
                graph, args, kwargs, functional.is_symbolic
            )
        else:
            flat = tree.flatten((args, kwargs))
            inputs = [x for x in flat if functional.is_symbolic(x)]
        calling = functional.calling(self.replaced)
        outputs = functional.run(graph, inputs, calling)
        return functional.spread(self.view.graph, outputs)


class _Nested:
    """A model inside another, built when the shapes it gets are known."""

    def __init__(self, view, replaced):
        self.view, self.replaced, self.model = view, replaced, None

    def __call__(self, *args, **kwargs):
        inlined = self.view.constants is not None
        if inlined:
            tensors = [
                x for x in tree.flatten((args, kwargs))
                if functional.is_symbolic(x)
            ]
            args, kwargs = (tensors,), {}
        else:
            tensors = functional.ordered(
                self.view.graph, args, kwargs, functional.is_symbolic
            )
        if self.model is None:
            shapes = [x.shape for x in tensors]
            self.model = _build(self.view, self.replaced, shapes)
        outputs = tree.flatten(self.model(*args, **kwargs))
        return functional.spread(self.view.graph, outputs)


def _build(view, replaced, shapes):
    inputs = [
        _input_like(x, shape)
        for x, shape in zip(view.graph.inputs, shapes)
    ]
    if isinstance(view.model, keras.Sequential):
        return _build_sequential(view, replaced, inputs)
    outputs = functional.run(view.graph, inputs, functional.calling(replaced))
    pack = tree.pack_sequence_as
    made_of_layers = functional.is_made_of_layers(view.model)
    kind = type(view.model) if made_of_layers else keras.Model
    return kind(
        pack(internals.graphs.input_structure(view.graph), inputs),
        pack(internals.graphs.output_structure(view.graph), outputs),
        name=view.model.name,
    )


def _build_sequential(view, replaced, inputs):
    made_of_layers = functional.is_made_of_layers(view.model)
    kind = type(view.model) if made_of_layers else keras.Sequential
    model = kind(inputs, name=view.model.name)
    for layer in view.model.layers:
        new = replaced(layer)
        if isinstance(new, _Nested):
            new(model.outputs[0] if model.layers else inputs[0])
            new = new.model
        model.add(new)
    return model


def _input_like(tensor, shape):
    """A new input; sizes that were unknown stay so."""
    shape = [
        old if old is None or new is None else new
        for old, new in zip(tensor.shape, shape)
    ]
    layer = internals.graphs.maker(tensor)
    return keras.Input(
        batch_shape=shape,
        dtype=tensor.dtype,
        sparse=tensor.sparse,
        name=layer.name,
        optional=getattr(layer, "optional", False),
    )
