"""The graph behind a Keras model: reading it, running it, building it anew.
"""

import collections
import dataclasses
import inspect

import keras
from keras import tree

from tf_lottery import internals
from tf_lottery.graph import registry


class Unreadable(ValueError):
    """A model or layer is no graph of Keras operations; says why."""


@dataclasses.dataclass(eq=False)
class View:
    """The Functional graph behind a model or layer.

    Attributes:
        model: The `keras.Model` or the composite `keras.layers.Layer`.
        graph: The Functional `keras.Model` that computes the same with the
            same variables.
        parts: Dict from `id(operation)` to the `View` of every operation,
            at any depth, that is a graph itself. Models below one another
            share the dict.
        constants: List of what `model` is called with besides tensors, `None`
            for a model that needs no reading.
        length: Integer in the place of axes of unknown size, `None` where
            those stay open.
    """

    model: keras.layers.Layer
    graph: keras.Model
    parts: dict
    constants: list | None = None
    length: int | None = None


def view(model):
    """Returns the graph behind a model.

    A subclassed model is called on symbolic tensors of the shapes it was
    built with; its graph shares the variables.

    Args:
        model: A built `keras.Model`.

    Returns:
        A `View`.

    Raises:
        ValueError: If the model is not built, or cannot be read; the message
            says why.
    """
    graph = own_graph(model)
    if graph is None and type(model).call is keras.Sequential.call:
        raise Unreadable(
            f"Sequential '{model.name}' has no input shape. Start it with "
            "`keras.Input`, or call it on a batch of data."
        )
    if graph is None:
        inputs = _built_inputs(model)
        try:
            graph = _inlined(model, (inputs,), {}, inputs)
        except Unreadable as error:
            raise Unreadable(
                f"Model '{model.name}' cannot be read as a graph: {error}"
            ) from error
    return View(model, graph, {})


def own_graph(layer):
    """Returns the graph a Functional or Sequential model is, else `None`."""
    if type(layer).call is keras.Sequential.call:
        return internals.graphs.of_sequential(layer)
    if internals.graphs.is_functional_call(layer):
        return layer
    return None


def is_made_of_layers(model):
    """Whether the class of a model takes its layers, or inputs and outputs."""
    if isinstance(model, keras.Sequential):
        return type(model).__init__ is keras.Sequential.__init__
    return internals.graphs.is_made_of_ends(model)


def part(parent, operation, args, kwargs):
    """Returns the view of an operation that is a graph itself.

    Args:
        parent: The `View` the operation is called in.
        operation: A nested model or a composite layer.
        args: Positional arguments of the call, `keras.KerasTensor` in the
            place of tensors.
        kwargs: Keyword arguments.

    Returns:
        A `View`, the same for every call of the operation.

    Raises:
        ValueError: If the operation cannot be read, or was read for a call
            with other arguments besides the tensors.
    """
    known = parent.parts.get(id(operation))
    constants = _constants(args, kwargs)
    if known is not None:
        if known.constants not in (None, constants):
            raise Unreadable("it is called with different arguments")
        return known
    graph = own_graph(operation)
    if graph is not None:
        constants = None
        if parent.length is not None:
            tensors = ordered(graph, args, kwargs, _is_symbolic)
            shapes = [x.shape for x in tensors]
            if shapes != [x.shape for x in graph.inputs]:
                graph = at_shapes(graph, shapes)
    else:
        graph = _inlined_at(operation, args, kwargs, parent.length)
    found = View(operation, graph, parent.parts, constants, parent.length)
    parent.parts[id(operation)] = found
    return found


def at_shapes(graph, shapes):
    """Returns a graph of the same layers for inputs of other shapes."""
    inputs = [
        keras.Input(
            batch_shape=shape,
            dtype=x.dtype,
            name=internals.graphs.maker(x).name,
        )
        for x, shape in zip(graph.inputs, shapes)
    ]

    def same(operation):
        if isinstance(operation, keras.layers.Layer):
            return operation
        return internals.graphs.unlinked(operation)

    outputs = run(graph, inputs, _calling(same))
    pack = tree.pack_sequence_as
    return keras.Model(
        pack(internals.graphs.input_structure(graph), inputs),
        pack(internals.graphs.output_structure(graph), outputs),
        name=graph.name,
    )


def run(graph, inputs, call):
    """Runs a graph on anything in the place of tensors.

    Args:
        graph: A Functional `keras.Model`.
        inputs: List of values, one per input.
        call: Function of `(operation, args, kwargs, outputs)`, the arguments
            with values filled in and `outputs` the list of symbolic tensors;
            returns a list of values, or any structure of them.

    Returns:
        List of values, one per output of the graph.
    """
    values = {id(x): value for x, value in zip(graph.inputs, inputs)}
    for node in internals.graphs.nodes(graph):
        args, kwargs = node.arguments.fill_in(values)
        result = call(node.operation, args, kwargs, node.outputs)
        values |= zip(map(id, node.outputs), tree.flatten(result))
    return [values[id(x)] for x in graph.outputs]


def symbolic_arguments(graph):
    """Yields (operation, args, kwargs) of every call, tensors symbolic."""
    for node in internals.graphs.nodes(graph):
        yield node.operation, node.arguments.args, node.arguments.kwargs


def ordered(graph, args, kwargs, is_tensor):
    """Returns the tensors of a call of a nested model as its inputs are."""
    inputs = args[0] if args else kwargs["inputs"]
    structure = internals.graphs.input_structure(graph)
    if isinstance(inputs, dict) and not isinstance(structure, dict):
        return [inputs[x.name] for x in graph.inputs]
    return [x for x in tree.flatten(inputs) if is_tensor(x)]


def sublayers(layer):
    """Returns the layers directly inside a layer by name."""
    return {
        inner.name: inner for inner in internals.layers.children(layer)
    }


def edited(operation, edits=None):
    """Returns a new layer or operation with some of its configuration edited.

    Args:
        operation: A `keras.layers.Layer` or `keras.Operation`.
        edits: Dict from entry to value as in `Graph.edits`. Defaults to none.

    Returns:
        An operation without weights yet; a function that calls one where the
        edit is in the arguments of the call.

    Example:

    >>> from tf_lottery.graph import functional
    >>> layer = keras.layers.Dense(8, name="fc")
    >>> functional.edited(layer, {("units",): 5}).units
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
    try:
        return kind.from_config(config)
    except TypeError:
        # Some tell in it what their constructor does not take.
        names = {*_arguments(kind), "name", "trainable", "dtype"}
        known = {k: v for k, v in config.items() if k in names}
        if known == config:
            raise
        return kind.from_config(known)


def _arguments(kind):
    """The names of what the constructor of a class takes, with its bases'."""
    found = set()
    for base in kind.__mro__[:-1]:
        if base.__module__.startswith("keras.src"):
            break
        found |= inspect.signature(base.__init__).parameters.keys()
    return found - {"self", "args", "kwargs"} | {"name"}


def rebuild(view, operation_fn=edited, input_shapes=None, dtype=None):
    """Builds a model anew, with other operations in the same places.

    Args:
        view: A `View`; its `parts` are rebuilt as models of their own.
        operation_fn: Function from layer or operation to the one in its
            place, called once for each. Defaults to copying.
        input_shapes: List of shapes with batch, one per input. Defaults to
            those of the model.
        dtype: String, the precision of the floating-point inputs of the
            model and of those inside it. Defaults to what they have.

    Returns:
        A `keras.Sequential` if the model was one, else a Functional
        `keras.Model`, not compiled, with fresh weights. It is of the model's
        class where that is made from layers, or inputs and outputs.

    Example:

    >>> from tf_lottery.graph import functional
    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(2, name="fc")])
    >>> copy = functional.rebuild(functional.view(model))
    >>> copy.get_layer("fc").units, copy.layers[0] is model.layers[0]
    (2, False)
    """
    made, shared = {}, _shared(view)

    def replaced(operation):
        if id(operation) not in made:
            nested = view.parts.get(id(operation))
            if nested is None:
                made[id(operation)] = operation_fn(operation)
            elif shared & _inside(nested):
                made[id(operation)] = _Merged(nested, replaced)
            else:
                made[id(operation)] = _Nested(nested, replaced, dtype)
        return made[id(operation)]

    shapes = input_shapes or [x.shape for x in view.graph.inputs]
    return _build(view, replaced, shapes, dtype)


def _shared(view):
    """Ids of layers in several graphs, which Keras loads as several."""
    graphs = [view, *view.parts.values()]
    counts = collections.Counter(i for part in graphs for i in _inside(part))
    return {i for i, count in counts.items() if count > 1}


def _inside(view):
    return {
        id(operation) for operation, *_ in symbolic_arguments(view.graph)
        if isinstance(operation, keras.layers.Layer)
    }


class _Merged:
    """A model inside another, made a part of its graph."""

    def __init__(self, view, replaced):
        self.view, self.replaced = view, replaced

    def __call__(self, *args, **kwargs):
        if self.view.constants is None:
            inputs = ordered(self.view.graph, args, kwargs, _is_symbolic)
        else:
            flat = tree.flatten((args, kwargs))
            inputs = [x for x in flat if _is_symbolic(x)]
        outputs = run(self.view.graph, inputs, _calling(self.replaced))
        structure = internals.graphs.output_structure(self.view.graph)
        return tree.pack_sequence_as(structure, outputs)


class _Nested:
    """A model inside another, built when the shapes it gets are known."""

    def __init__(self, view, replaced, dtype):
        self.view, self.replaced, self.dtype = view, replaced, dtype
        self.model = None

    def __call__(self, *args, **kwargs):
        inlined = self.view.constants is not None
        if inlined:
            tensors = [
                x for x in tree.flatten((args, kwargs)) if _is_symbolic(x)
            ]
            args, kwargs = (tensors,), {}
        else:
            tensors = ordered(self.view.graph, args, kwargs, _is_symbolic)
        if self.model is None:
            shapes = [x.shape for x in tensors]
            self.model = _build(self.view, self.replaced, shapes, self.dtype)
        return self.model(*args, **kwargs)


def _build(view, replaced, shapes, dtype):
    inputs = [
        _input_like(x, shape, dtype)
        for x, shape in zip(view.graph.inputs, shapes)
    ]
    if isinstance(view.model, keras.Sequential):
        return _build_sequential(view, replaced, inputs)
    outputs = run(view.graph, inputs, _calling(replaced))
    pack = tree.pack_sequence_as
    kind = type(view.model) if is_made_of_layers(view.model) else keras.Model
    return kind(
        pack(internals.graphs.input_structure(view.graph), inputs),
        pack(internals.graphs.output_structure(view.graph), outputs),
        name=view.model.name,
    )


def _calling(replaced):
    def call(operation, args, kwargs, _):
        outputs = replaced(operation)(*args, **kwargs)
        tensors = [x for x in tree.flatten((args, kwargs)) if _is_symbolic(x)]
        if not any(x.sparse for x in tensors):
            # Products with a number are said to be sparse.
            for x in tree.flatten(outputs):
                internals.graphs.make_dense(x)
        return outputs

    return call


def _build_sequential(view, replaced, inputs):
    made_of_layers = is_made_of_layers(view.model)
    kind = type(view.model) if made_of_layers else keras.Sequential
    model = kind(inputs, name=view.model.name)
    for layer in view.model.layers:
        new = replaced(layer)
        if isinstance(new, _Nested):
            new(model.outputs[0] if model.layers else inputs[0])
            new = new.model
        model.add(new)
    return model


def _input_like(tensor, shape, dtype):
    """A new input; sizes that were unknown stay so."""
    shape = [
        old if old is None or new is None else new
        for old, new in zip(tensor.shape, shape)
    ]
    layer = internals.graphs.maker(tensor)
    if dtype is None or not keras.backend.is_float_dtype(tensor.dtype):
        dtype = tensor.dtype
    return keras.Input(
        batch_shape=shape,
        dtype=dtype,
        sparse=tensor.sparse,
        name=layer.name,
        optional=getattr(layer, "optional", False),
    )


def _inlined_at(layer, args, kwargs, length):
    """The graph of a layer's `call`, for one example where it must be."""
    shapes = tree.map_structure(_as_input, (args, kwargs))
    inputs = [x for x in tree.flatten(shapes) if _is_symbolic(x)]
    try:
        return _inlined(layer, *shapes, inputs)
    except Unreadable as failure:
        if internals.layers.own_variables(layer):
            raise
        error = failure
    for as_input in (_as_input, _as_single_input)[: 1 + (length is not None)]:
        shapes = tree.map_structure(as_input, (args, kwargs))
        inputs = [x for x in tree.flatten(shapes) if _is_symbolic(x)]
        try:
            # Layers inside may take or return what no symbolic call does.
            with internals.layers.calling_through(_is_composite, _modelled):
                return _inlined(layer, *shapes, inputs)
        except Unreadable:
            continue
    raise error


def _modelled(layer, args, kwargs):
    """Calls a layer as a model of what is inside it."""
    if not layer.variables:
        return layer.call(*args, **kwargs)
    shapes = tree.map_structure(_as_input, (args, kwargs))
    inputs = [x for x in tree.flatten(shapes) if _is_symbolic(x)]
    outputs = layer.call(*shapes[0], **shapes[1])
    flat = tree.flatten(outputs)
    graph = _model(inputs, outputs, name=layer.name)
    tensors = [x for x in tree.flatten((args, kwargs)) if _is_symbolic(x)]
    made = iter(graph(tensors))
    flat = [next(made) if _is_symbolic(x) else x for x in flat]
    return tree.pack_sequence_as(outputs, flat)


def _model(inputs, outputs, **kwargs):
    """A graph from tensors to tensors; what else comes out goes nowhere."""
    flat = [x for x in tree.flatten(outputs) if _is_symbolic(x)]
    if {id(x) for x in flat} & {id(x) for x in tree.flatten(inputs)}:
        raise Unreadable("it returns what it is given")
    whole = len(flat) == len(tree.flatten(outputs)) and not kwargs
    graph = keras.Model(inputs, outputs if whole else flat, **kwargs)
    if not internals.graphs.open_batch(graph):
        raise Unreadable("it reshapes to sizes that are not known")
    return graph


def _is_composite(layer):
    """Whether a layer is only what the layers inside it are."""
    return not (
        is_keras(layer)
        or isinstance(layer, keras.Model)
        or registry.find(type(layer))
        or internals.layers.own_variables(layer)
    )


def is_keras(layer):
    """Whether the class of a layer is Keras' own, or this package's."""
    return type(layer).__module__.startswith(("keras.", "tf_lottery."))


def _inlined(layer, args, kwargs, inputs):
    """The graph of a layer's `call`, sharing its variables."""
    own = internals.layers.own_variables(layer)
    if own:
        raise Unreadable(
            f"weight '{own[0].name}' belongs to it and not to a layer in it"
        )
    if "training" in inspect.signature(layer.call).parameters:
        kinds = [
            _kinds(_called(layer, args, kwargs | {"training": t}, inputs))
            for t in (True, False)
        ]
        if kinds[0] != kinds[1]:
            raise Unreadable("its `call` branches on `training`")
    return _called(layer, args, kwargs, inputs)


def _called(layer, args, kwargs, inputs):
    try:
        return _model(inputs, layer.call(*args, **kwargs))
    except Unreadable:
        raise
    # Code of the user's: whatever it raises on symbols is the reason.
    except Exception as error:
        message = (str(error).strip().splitlines() or [""])[0]
        raise Unreadable(
            "its `call` does not take symbolic tensors "
            f"({type(error).__name__}: {message})"
        ) from error


def _kinds(graph):
    """What happens in a graph; operations are new in every call of it."""
    return [_kind(node.operation) for node in internals.graphs.nodes(graph)]


def _kind(operation):
    if internals.graphs.is_functional_call(operation):
        return _kinds(operation)
    is_layer = isinstance(operation, keras.layers.Layer)
    return operation if is_layer else type(operation)


def _built_inputs(model):
    shapes = internals.graphs.built_shapes(model)
    if not model.built or not shapes:
        raise Unreadable(
            f"Model '{model.name}' is not built, so the shapes of its inputs "
            "are not known. Call it on a batch of data."
        )
    if len(shapes) > 1:
        raise Unreadable(
            f"Model '{model.name}' takes several arguments "
            f"({', '.join(shapes)}), so it is no graph from one input "
            "structure to an output. Pass its tensors as one list or dict."
        )
    (shape,) = shapes.values()
    if isinstance(shape, dict):
        # Keras wants an input to be called as its key is.
        return {k: keras.Input(tuple(s[1:]), name=k) for k, s in shape.items()}
    return tree.map_shape_structure(
        lambda s: keras.Input(tuple(s[1:])), shape
    )


def _as_input(value):
    if not _is_symbolic(value):
        return value
    return keras.Input(batch_shape=value.shape, dtype=value.dtype)


def _as_single_input(value):
    if not _is_symbolic(value):
        return value
    return keras.Input(batch_shape=(1, *value.shape[1:]), dtype=value.dtype)


def _is_symbolic(value):
    return isinstance(value, keras.KerasTensor)


def _constants(args, kwargs):
    flat = tree.flatten_with_path((args, kwargs))
    return [(p, x) for p, x in flat if not _is_symbolic(x)]


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
