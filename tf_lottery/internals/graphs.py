"""Functional graphs: nodes, structures of inputs, classes of operations."""

import contextlib
import importlib
import inspect
import math
import operator

from keras.src.models import functional

_OPERATION_MODULES = ("numpy", "nn", "core", "math", "image")
# The outputs of a Functional model as they were given.
output_structure = operator.attrgetter("_outputs_struct")
# The layers of a Sequential model, its input layer as well.
layers_of = operator.attrgetter("_layers")
# The operation that a symbolic tensor comes from.
maker = operator.attrgetter("_keras_history.operation")


def is_functional_call(layer):
    """Whether the `call` of a layer is that of a Functional model."""
    return type(layer).call is functional.Functional.call


def of_sequential(model):
    """Returns the Functional model inside a Sequential one, or `None`."""
    return getattr(model, "_functional", None)


def is_made_of_ends(model):
    """Whether the class of a Functional model takes inputs and outputs."""
    return isinstance(
        model, functional.Functional
    ) and functional.functional_like_constructor(type(model))


def input_structure(graph):
    """Returns inputs of a Functional model as they were given, or `None`."""
    return getattr(graph, "_inputs_struct", None)


def flat_inputs(graph, inputs):
    """Returns what a Functional model is called with as it reads it, a list."""
    return graph._standardize_inputs(inputs)


def built_shapes(model):
    """Returns the shapes a model was built with, by argument, or `None`."""
    return getattr(model, "_build_shapes_dict", None)


def nodes(graph):
    """Yields the calls in a Functional model, in an order to run them in."""
    by_depth = graph._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        for node in by_depth[depth]:
            if node.operation and not node.is_input:
                yield node


def readers(layer):
    """Returns the operations that take what a layer puts out, as a list."""
    return [node.operation for node in layer._outbound_nodes]


def before(tensor):
    """Returns the symbolic tensors that another one is made of, as a list."""
    operation, node, _ = tensor._keras_history
    return list(operation._inbound_nodes[node].input_tensors)


@contextlib.contextmanager
def symbolic_calls_replaced(instead, names):
    """A scope in which some operations make other symbolic tensors.

    They are of `operation_classes`, the tensors what `instead(method,
    operation, *arguments)` returns.
    """
    kinds = operation_classes(*names)

    def replacing(original):
        return lambda self, *args: instead(original, self, *args)

    for kind in kinds:
        kind.symbolic_call = replacing(kind.symbolic_call)
    try:
        yield
    finally:
        for kind in kinds:
            del kind.symbolic_call


def unlinked(operation):
    """Returns a copy of an operation that was never called."""
    # `copy.copy` would write a file of it, and read that.
    new = object.__new__(type(operation))
    new.__dict__ |= operation.__dict__
    new._inbound_nodes, new._outbound_nodes = [], []
    return new


def same_lambda(layer):
    """Returns a new `Lambda` layer that calls the same function."""
    return type(layer)(
        layer.function,
        output_shape=layer._output_shape,
        mask=layer.mask,
        arguments=layer.arguments,
        name=layer.name,
        dtype=layer.dtype_policy,
        trainable=layer.trainable,
    )


def make_dense(tensor):
    """Makes a symbolic tensor say that it is not sparse."""
    tensor._sparse = False


def open_batch(graph):
    """Makes reshaping that was read for some batch take any other.

    Returns:
        Boolean, whether that is known everywhere.
    """
    known = True
    (reshape,) = operation_classes("Reshape")
    for node in nodes(graph):
        if not isinstance(node.operation, reshape):
            continue
        shape = _known(node.outputs[0].shape, node.input_tensors[0].shape)
        if shape[0] not in (None, 1):
            # The batch is elsewhere, with its size in some number.
            single = any(x.shape[0] is not None for x in graph.inputs)
            known &= not single and None not in tuple(node.operation.newshape)
        elif None not in shape[1:]:
            # A copy is made from the arguments of the constructor.
            node.operation = reshape((-1, *shape[1:]))
            node.outputs[0]._shape = tuple(shape)
        elif None in tuple(node.operation.newshape):
            known = False
    return known


def _known(shape, before):
    """A shape with the one size that follows from the others."""
    if shape[0] != before[0] or None in before[1:]:
        return shape
    size = math.prod(before[1:])
    rest = math.prod(n for n in shape[1:] if n is not None)
    return [shape[0], *(size // rest if n is None else n for n in shape[1:])]


def operation_classes(*names):
    """Returns the classes behind functions of `keras.ops`, those there are."""
    modules = [
        importlib.import_module(f"keras.src.ops.{name}")
        for name in _OPERATION_MODULES
    ]
    return [
        vars(module)[name]
        for name in names
        for module in modules
        if inspect.isclass(vars(module).get(name))
    ]


def application_class(module, name):
    """Returns the class of a layer private to `keras.applications`."""
    module = importlib.import_module(f"keras.src.applications.{module}")
    return getattr(module, name)


def is_functional(model):
    """Whether a model was made of inputs and outputs."""
    return hasattr(model, "_operations_by_depth")
