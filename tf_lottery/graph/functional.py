"""The graph behind a Keras model: reading it, and running it."""

import collections
import dataclasses
import inspect

import keras
from keras import tree

from tf_lottery import internals
from tf_lottery.graph import inlining
from tf_lottery.graph.inlining import Unreadable as Unreadable
from tf_lottery.graph.inlining import is_keras as is_keras
from tf_lottery.graph.inlining import is_leaf as is_leaf
from tf_lottery.graph.inlining import is_symbolic as is_symbolic
from tf_lottery.graph.inlining import tensors as tensors


@dataclasses.dataclass(eq=False)
class View:
    """The Functional graph behind a model or layer, with the same variables.

    Attributes:
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
    """Returns the `View` of the graph behind a model.

    A subclassed model is called on symbolic tensors of the shapes it was
    built with; its graph shares the variables.

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
            graph = inlining.inlined(model, (inputs,), {}, inputs)
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

    It is the same for every call of the operation.

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
            shapes = [x.shape for x in ordered(graph, args, kwargs)]
            if shapes != [x.shape for x in graph.inputs]:
                graph = at_shapes(graph, shapes)
    else:
        graph = inlining.at_length(operation, args, kwargs, parent.length)
    found = View(operation, graph, parent.parts, constants, parent.length)
    parent.parts[id(operation)] = found
    return found


def _same(operation):
    if isinstance(operation, keras.layers.Layer):
        return operation
    return internals.graphs.unlinked(operation)


def at_shapes(graph, shapes, replaced=_same, kind=keras.Model, name=None):
    """Returns a graph of the same calls for inputs of other shapes.

    `replaced` is that of `calling`; layers are shared by default.
    """
    inputs = inputs_like(graph, shapes)
    outputs = run(graph, inputs, calling(replaced))
    pack = tree.pack_sequence_as
    return kind(
        pack(internals.graphs.input_structure(graph), inputs),
        pack(internals.graphs.output_structure(graph), outputs),
        name=name or graph.name,
    )


def inputs_like(graph, shapes):
    """Returns new inputs like those of a graph, of other shapes, as a list."""
    makers = map(internals.graphs.maker, graph.inputs)
    return [
        keras.Input(
            batch_shape=shape,
            dtype=x.dtype,
            sparse=x.sparse,
            name=layer.name,
            optional=getattr(layer, "optional", False),
        )
        for x, shape, layer in zip(graph.inputs, shapes, makers)
    ]


def run(graph, inputs, call):
    """Runs a graph on anything in the place of tensors; returns its outputs.

    `call` takes an operation, its arguments with values filled in and the list
    of symbolic outputs; it returns any structure of values.
    """
    values = {id(x): value for x, value in zip(graph.inputs, inputs)}
    nodes = list(internals.graphs.nodes(graph))
    # What nothing reads any more is let go.
    left = collections.Counter(
        id(x) for node in nodes for x in node.input_tensors
    )
    left.update(map(id, graph.outputs))
    for node in nodes:
        args, kwargs = node.arguments.fill_in(values)
        result = call(node.operation, args, kwargs, node.outputs)
        values |= zip(map(id, node.outputs), tree.flatten(result))
        del args, kwargs, result
        left.subtract(map(id, node.input_tensors))
        for x in node.input_tensors:
            if not left[id(x)]:
                values.pop(id(x), None)
    return [values[id(x)] for x in graph.outputs]


def read(graph):
    """Returns the ids of symbolic tensors that something in a graph reads."""
    found = [
        x for node in internals.graphs.nodes(graph) for x in node.input_tensors
    ]
    return {id(x) for x in [*found, *graph.outputs]}


def spread(graph, outputs):
    """Returns outputs of a graph as its layer does, `None` for constants."""
    places = getattr(graph, "made_places", range(len(outputs)))
    found = dict(zip(places, outputs))
    return [found.get(place) for place in range(max(found, default=-1) + 1)]


def symbolic_arguments(graph):
    """Yields (operation, args, kwargs) of every call, tensors symbolic."""
    for node in internals.graphs.nodes(graph):
        yield node.operation, node.arguments.args, node.arguments.kwargs


def inputs_of(view, args, kwargs, is_tensor=is_symbolic):
    """Returns what a call gives to the inputs of the graph of a nested view."""
    if view.constants is None:
        return ordered(view.graph, args, kwargs, is_tensor)
    return [x for x in tree.flatten((args, kwargs)) if is_tensor(x)]


def ordered(graph, args, kwargs, is_tensor=is_symbolic):
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


def calling(replaced):
    """Returns what `run` calls where other operations take places."""

    def call(operation, args, kwargs, _):
        outputs = replaced(operation)(*args, **kwargs)
        if not any(x.sparse for x in tensors((args, kwargs))):
            # Products with a number are said to be sparse.
            for x in tensors(outputs):
                internals.graphs.make_dense(x)
        return outputs

    return call


def _built_inputs(model):
    shapes = internals.graphs.built_shapes(model)
    if not model.built or not shapes:
        why, do = "is not built", "Call it on a batch of data."
        if model.built:
            why = "was not built by a `call` that takes symbolic tensors"
            do = "Write it with `keras.ops`, without reading values."
        raise Unreadable(
            f"Model '{model.name}' {why}, so the shapes of its inputs are not "
            f"known. {do}"
        )
    asked = [
        name for name, p in inspect.signature(model.call).parameters.items()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    if max(len(shapes), len(asked)) > 1:
        names = asked if len(asked) > len(shapes) else shapes
        raise Unreadable(
            f"Model '{model.name}' takes several arguments "
            f"({', '.join(names)}), so it is no graph from one input "
            "structure to an output. Pass its tensors as one list or dict."
        )
    (shape,) = shapes.values()
    if isinstance(shape, dict):
        # Keras wants an input to be called as its key is.
        return {k: keras.Input(tuple(s[1:]), name=k) for k, s in shape.items()}
    return tree.map_shape_structure(
        lambda s: keras.Input(tuple(s[1:])), shape
    )


def name_of(operation):
    """Returns the class of an operation, and its name if it is a layer."""
    kind = type(operation).__name__
    if isinstance(operation, keras.layers.Layer):
        return f"{kind} '{operation.name}'"
    return f"operation {kind}"


def _constants(args, kwargs):
    flat = tree.flatten_with_path((args, kwargs))
    return [(p, x) for p, x in flat if not is_symbolic(x)]
