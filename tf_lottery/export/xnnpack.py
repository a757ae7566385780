"""Convolutions that XNNPACK computes sparsely on ARM, and reasons of others.

It does so for a *cluster* of operators that can work on channels-first data:
a first convolution, pointwise and depthwise ones, elementwise operators, and
a global average at the end. Reference: `src/subgraph.c` (the checks for NCHW)
in https://github.com/google/XNNPACK, August 2026, and Elsen et al. 2020,
Fast Sparse ConvNets, https://arxiv.org/abs/1911.09723.
"""

import dataclasses

import numpy as np

from tf_lottery.export import encoding
from tf_lottery.export import flatbuffer

_ENDS = ("MEAN", "DEPTH_TO_SPACE")
_BINARY = ("ADD", "MUL")
_UNARY = (
    "RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "ELU", "HARD_SWISH",
    "LOGISTIC", "TANH", "ABS", "NEG", "SQUARE", "SQRT", "FLOOR", "CEIL",
    "ROUND", "RESIZE_BILINEAR",
)
# More than two of three weights must be zero.
_ZEROS, _OF = 2, 3


@dataclasses.dataclass(eq=False)
class _Graph:
    model: object
    number: int

    def __post_init__(self):
        self.graph = self.model.subgraphs[self.number]
        self.makers = {
            o: op for op in self.graph.operators for o in op.outputs
        }
        self.weights = {
            id(w.operator): w for w in flatbuffer.weights(self.model)
            if w.graph == self.number
        }

    def name(self, operator):
        return flatbuffer.operator_name(self.model, operator)

    def shape(self, index):
        return tuple(int(n) for n in self.graph.tensors[index].shape)

    def readers(self, index):
        return flatbuffer.consumers(self.graph, index)

    def variable_inputs(self, operator):
        """Inputs that are no constants, behind DENSIFY and DEQUANTIZE."""
        return [
            i for i in operator.inputs
            if i != -1 and not self._constant(i)
        ]

    def _constant(self, index):
        while index in self.makers:
            maker = self.makers[index]
            if self.name(maker) not in ("DENSIFY", "DEQUANTIZE"):
                return False
            index = maker.inputs[0]
        tensor = self.graph.tensors[index]
        return flatbuffer.raw(self.model, tensor) is not None

    def pads(self, operator):
        """Returns the padding (top, bottom, left, right) before it, or why."""
        options = operator.builtinOptions
        names = flatbuffer.schema()
        if options.padding == names.Padding.SAME:
            return self._same(operator, options)
        maker = self.makers.get(operator.inputs[0])
        if maker is None or self.name(maker) != "PAD":
            return (0, 0, 0, 0)
        amounts = flatbuffer.stored(
            self.model, self.graph.tensors[maker.inputs[1]]
        ).reshape(-1, 2)
        return tuple(int(n) for n in amounts[1:3].reshape(-1))

    def _same(self, operator, options):
        kernel = self.weights[id(operator)].shape[1:3]
        found = []
        for size, k, stride in zip(
            self.shape(operator.inputs[0])[1:3], kernel,
            (options.strideH, options.strideW),
        ):
            total = max(0, (-(-size // stride) - 1) * stride + k - size)
            found += [total // 2, total - total // 2]
        return tuple(found)


def explain(model):
    """Says of every convolution whether XNNPACK runs it sparsely on ARM.

    A dict from (subgraph, tensor index of the weights) to a boolean and the
    condition that holds or fails.
    """
    found = {}
    for number in range(len(model.subgraphs)):
        graph = _Graph(model, number)
        for place, verdict in _explain(graph).items():
            found[number, place] = verdict
    return found


def _explain(graph):
    verdicts, members, outside = {}, {}, None
    for operator in graph.graph.operators:
        if graph.name(operator) != "CONV_2D":
            continue
        problem = _not_first(graph, operator)
        if problem is None:
            cluster, outside = _cluster(graph, operator)
            members |= {id(op): (cluster, outside) for op in cluster}
            outside = outside or "it is outside of the cluster"
        elif outside is None:
            outside = _no_start(graph, operator, problem)
    for operator in graph.graph.operators:
        weight = graph.weights.get(id(operator))
        if weight is not None and weight.kind != "FULLY_CONNECTED":
            cluster, failure = members.get(id(operator), ((), outside))
            failure = failure if cluster else failure or "no CONV_2D before it"
            verdicts[weight.index] = _verdict(graph, weight, cluster, failure)
    return verdicts


def _no_start(graph, operator, problem):
    weight = graph.weights.get(id(operator))
    name = "CONV_2D" if weight is None else weight.name
    return f"no convolution can begin a cluster; the first ('{name}') {problem}"


def _verdict(graph, weight, cluster, failure):
    if failure:
        return False, f"runs dense: {failure}"
    if weight.kind != "CONV_2D" or weight.shape[1:3] != (1, 1):
        return False, "runs dense: only 1x1 convolutions run sparse"
    if weight.dtype not in ("FLOAT32", "FLOAT16"):
        return False, f"runs dense: {weight.dtype} convolutions never do"
    zeros, number = _count(graph, cluster)
    share = f"{100 * zeros / number:.1f} % of the cluster's 1x1 weights"
    if _OF * zeros <= _ZEROS * number:
        return False, f"runs dense: {share} are zero, more than 2/3 must be"
    return True, f"runs sparse on ARM: {share} are zero"


def _count(graph, cluster):
    zeros = number = 0
    for operator in cluster:
        weight = graph.weights.get(id(operator))
        if weight is not None and weight.kind == "CONV_2D" and (
            weight.shape[1:3] == (1, 1)
        ):
            values = encoding.dense_values(graph.model, weight)
            zeros += values.size - np.count_nonzero(values)
            number += values.size
    return int(zeros), number


def _not_first(graph, operator):
    """Returns why a convolution cannot begin a cluster, or `None`."""
    weight, options = graph.weights.get(id(operator)), operator.builtinOptions
    if weight is None:
        return "has no constant weights"
    if weight.shape[1:3] != (3, 3) or weight.shape[3] != 3:
        return (
            f"has a {weight.shape[1]}x{weight.shape[2]} kernel on "
            f"{weight.shape[3]} channels; 3x3 on 3 is asked for"
        )
    if (options.strideH, options.strideW) != (2, 2):
        return f"has stride {options.strideH}; 2 is asked for"
    return _not_padded(graph, operator, 1)


def _not_padded(graph, operator, amount):
    options = operator.builtinOptions
    strided = (options.strideH, options.strideW) != (1, 1)
    pads = graph.pads(operator)
    same = options.padding == flatbuffer.schema().Padding.SAME
    if strided and same:
        return (
            f"has padding 'same' at stride {options.strideH}, which XNNPACK "
            f"does not take; {amount} on every side, made explicit, is "
            "asked for (`explicit_padding=True`)"
        )
    if pads != (amount,) * 4:
        return f"has padding {pads}; {amount} on every side is asked for"
    return None


def _cluster(graph, first):
    """Returns the operators behind a first convolution, and what fails."""
    members, inside = [first], set(first.outputs)
    ended = False
    for operator in graph.graph.operators:
        inputs = graph.variable_inputs(operator)
        if operator is first or not inside & set(inputs):
            continue
        name = graph.name(operator)
        if name in _ENDS:
            ended = True
            continue
        problem = _not_inside(graph, operator, name)
        if problem is None and not set(inputs) <= inside:
            problem = "has an input from outside of the cluster"
        if problem is not None:
            return members, f"behind the first convolution, {name} {problem}"
        members.append(operator)
        inside |= set(operator.outputs)
    outputs = inside & {int(i) for i in graph.graph.outputs}
    if outputs:
        return members, "a value of the cluster is an output of the model"
    if not ended:
        return members, "no global average ends the cluster"
    return members, None


def _not_inside(graph, operator, name):
    if name in _UNARY:
        return None
    if name in _BINARY:
        shapes = {len(graph.shape(i)) for i in graph.variable_inputs(operator)}
        return None if shapes == {4} else "is not on 4-D values"
    if name == "PAD":
        return None
    weight = graph.weights.get(id(operator))
    if weight is None:
        return "is not among the operators that work channels-first"
    height, width = weight.shape[1:3]
    options = operator.builtinOptions
    if name == "CONV_2D":
        if (height, width) != (1, 1) or options.strideH != 1:
            return f"has a {height}x{width} kernel; 1x1 at stride 1 is allowed"
        return None
    if name == "DEPTHWISE_CONV_2D" and options.depthMultiplier == 1:
        if (height, width) in ((3, 3), (5, 5)):
            return _not_padded(graph, operator, height // 2)
    return "is not among the operators that work channels-first"
