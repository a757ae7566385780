"""Operators that the converter to ONNX leaves as they are, in ONNX's own."""

import itertools

# The operators in place of one, the last of which makes its output: what it
# reads is `x`, the number one, or the output of another.
_MADE_OF = {
    "Erfc": [("Erf", "x", "erf"), ("Sub", "one", "erf", "y")],
    "Expm1": [("Exp", "x", "exp"), ("Sub", "exp", "one", "y")],
    "Log1p": [("Add", "x", "one", "sum"), ("Log", "sum", "y")],
}


def lower(model):
    """Replaces operators of TensorFlow that ONNX has no name for.

    GELU has one. Those that are not known here stay, for the checker.
    """
    _lower(model.graph, itertools.count())


def _lower(graph, numbers):
    nodes = []
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _lower(attribute.g, numbers)
            for inner in attribute.graphs:
                _lower(inner, numbers)
        if node.op_type in _MADE_OF:
            nodes += _made(node, f"lowered_{next(numbers)}")
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _made(node, prefix):
    from onnx import TensorProto
    from onnx import helper

    names = {"x": node.input[0], "y": node.output[0]}
    one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
    # One of the input's own data type.
    made = [
        helper.make_node("Constant", [], [f"{prefix}_float"], value=one),
        helper.make_node(
            "CastLike", [f"{prefix}_float", names["x"]], [f"{prefix}_one"]
        ),
    ]
    for kind, *read, written in _MADE_OF[node.op_type]:
        made.append(helper.make_node(
            kind, [names.get(name, f"{prefix}_{name}") for name in read],
            [names.get(written, f"{prefix}_{written}")],
        ))
    return made
