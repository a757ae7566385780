"""The steps that edits of a TFLite file are made of."""

from tf_lottery.export import flatbuffer


def add_code(model, name, version, custom=None):
    """Returns the index of an operator code, which is added if not there."""
    number = getattr(flatbuffer.schema().BuiltinOperator, name)
    for index, code in enumerate(model.operatorCodes):
        found = max(code.builtinCode, code.deprecatedBuiltinCode)
        if (found, code.version, flatbuffer.text(code.customCode)) == (
            number, version, custom
        ):
            return index
    code = flatbuffer.schema().OperatorCodeT()
    code.builtinCode = number
    # A byte: newer operators stand there as the placeholder 127.
    code.deprecatedBuiltinCode = min(number, 127)
    code.version = version
    code.customCode = custom
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def sharing(model, buffer):
    """Returns how many tensors share a buffer."""
    return sum(
        tensor.buffer == buffer
        for graph in model.subgraphs
        for tensor in graph.tensors
    )


def split_constant(graph, index, suffix):
    """Moves a constant to a new tensor, whose index is returned.

    What reads the old tensor goes on reading it, so that an operator from
    the new one to the old one has to be added.
    """
    given, moved = graph.tensors[index], flatbuffer.schema().TensorT()
    moved.shape, moved.type = given.shape, given.type
    moved.name = f"{flatbuffer.text(given.name)}/{suffix}"
    moved.buffer, given.buffer = given.buffer, 0
    graph.tensors.append(moved)
    return len(graph.tensors) - 1


def add_operator(model, graph, name, inputs, output, version=1, custom=None):
    """Inserts an operator before the first one that reads its output."""
    operator = flatbuffer.schema().OperatorT()
    operator.opcodeIndex = add_code(model, name, version, custom)
    operator.inputs, operator.outputs = inputs, [output]
    place = next(
        i for i, op in enumerate(graph.operators) if output in op.inputs
    )
    graph.operators.insert(place, operator)
    return operator
