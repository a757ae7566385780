"""Rules of paths: how an operation of TensorFlow hands on what reaches it.

A rule takes the operation, from a graph that is only read, and the `Value`
of each operand, and returns the `Value` of each output. Every nonlinearity
lets pass what reaches it; products let pass what reaches either factor.
"""

import numpy as np
import tensorflow as tf

from tf_lottery.paths import products
from tf_lottery.paths import values as values_lib
from tf_lottery.paths.running import arguments
from tf_lottery.paths.running import is_data
from tf_lottery.paths.running import run
from tf_lottery.paths.values import Value
from tf_lottery.paths.values import binary

RULES = {}
# Larger than the inverse of any weight of an interpolation.
_WHOLE = 1e6


def rule(*types):
    """Registers a function as the rule of some types of operations."""

    def register(function):
        RULES.update(dict.fromkeys(types, function))
        return function

    return register


@rule(
    # Activations and other functions of one tensor.
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Bitcast",
    "Cast", "Ceil", "CheckNumerics", "Cos", "Cosh", "DebugIdentity", "Digamma",
    "Elu", "EnsureShape", "Erf", "Erfc", "Erfinv", "Exp", "Expm1", "Floor",
    "Inv", "LeakyRelu", "Lgamma", "Log", "Log1p", "Ndtri", "Neg",
    "PreventGradient", "Reciprocal", "Relu", "Relu6", "Rint", "Round", "Rsqrt",
    "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Snapshot", "Softplus",
    "Softsign", "Sqrt", "Square", "StopGradient", "Tan", "Tanh",
    "FakeQuantWithMinMaxArgs",
    # Functions of several tensors, elementwise.
    "Add", "AddN", "AddV2", "Atan2", "BitwiseAnd", "BitwiseOr", "BitwiseXor",
    "ClipByValue", "FakeQuantWithMinMaxVars", "FloorMod", "LogicalAnd",
    "LogicalOr", "Maximum", "Minimum", "Mod", "NextAfter", "Pow",
    "SquaredDifference", "Sub", "TruncateMod",
)
def _elementwise(op, operands):
    return [values_lib.either(operands)]


@rule(
    "Mul", "MulNoNan", "Div", "DivNoNan", "RealDiv", "FloorDiv", "TruncateDiv",
    "Xdivy", "Xlogy",
)
def _product(op, operands):
    """A factor that is a weight cuts the paths where it is pruned."""
    fixed = [value.live for value in operands if not value.depends]
    product = values_lib.either(operands)
    if len(fixed) == 1:
        live = binary(binary(product.live) * binary(fixed[0]))
        return [Value(live, product.depends)]
    if len(fixed) == 2:
        return [Value(binary(binary(fixed[0]) * binary(fixed[1])))]
    return [product]


@rule(
    "Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual",
    "ApproximateEqual", "IsNan", "IsInf", "IsFinite", "LogicalNot", "OnesLike",
)
def _decision(op, operands):
    """No path leads through a decision: its gradient is zero."""
    shapes = [value.shape for value in operands]
    return [values_lib.unknown(np.broadcast_shapes(*shapes))]


@rule("ZerosLike")
def _zeros(op, operands):
    return [Value(tf.zeros(operands[0].shape))]


@rule("Select", "SelectV2")
def _select(op, operands):
    condition, *branches = operands
    if condition.constant is None:
        return [values_lib.either(operands)]
    depends = any(branch.depends for branch in branches)
    live = tf.where(condition.constant, *values_lib.reached(branches))
    return [Value(live, depends)]


@rule("BiasAdd")
def _bias_add(op, operands):
    value, bias = operands
    if not bias.depends:
        return [value]
    axes = range(len(value.shape))
    channel = 1 if op.get_attr("data_format") == b"NCHW" else axes[-1]
    shape = [value.shape[a] if a == channel else 1 for a in axes]
    bias = Value(tf.reshape(bias.live, shape), True)
    return [values_lib.either([value, bias])]


@rule(
    "Sum", "Mean", "Max", "Min", "Prod", "All", "Any", "EuclideanNorm",
    "ArgMax", "ArgMin",
)
def _reduction(op, operands):
    value, axis = operands
    axis = np.reshape(values_lib.known(op, axis), -1)
    attributes = {attribute.name for attribute in op.op_def.attr}
    keep = "keep_dims" in attributes and op.get_attr("keep_dims")
    counts = tf.reduce_sum(binary(value.live), axis, keepdims=keep)
    return [Value(binary(counts), value.depends)]


@rule("Softmax", "LogSoftmax")
def _softmax(op, operands):
    value, = operands
    counts = tf.reduce_sum(binary(value.live), -1, keepdims=True)
    live = tf.broadcast_to(binary(counts), value.shape)
    return [Value(live, value.depends)]


@rule("Cumsum", "Cumprod")
def _cumulative(op, operands):
    value, axis = operands
    counts = tf.cumsum(
        binary(value.live),
        int(values_lib.known(op, axis)),
        exclusive=op.get_attr("exclusive"),
        reverse=op.get_attr("reverse"),
    )
    return [Value(binary(counts), value.depends)]


rule(
    "MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum",
    "DepthwiseConv2dNative",
)(products.contraction)
rule("Conv2D", "Conv3D")(products.convolution)
rule("Conv2DBackpropInput", "Conv3DBackpropInputV2")(
    products.transposed_convolution
)
rule("MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D", "MaxPoolV2")(
    products.pool
)


@rule(
    "ResizeNearestNeighbor", "ResizeBilinear", "ResizeBicubic", "ResizeArea",
    "ScaleAndTranslate",
)
def _resize(op, operands):
    sizes = [values_lib.known(op, value) for value in operands[1:]]
    counts = _WHOLE * tf.abs(run(op, binary(operands[0].live), *sizes))
    return [Value(binary(counts), operands[0].depends)]


@rule(
    "BatchToSpaceND", "BroadcastTo", "ConcatV2", "DepthToSpace", "Diag",
    "DiagPart", "ExpandDims", "ExtractImagePatches", "GatherNd",
    "MatrixBandPart", "MatrixDiagV3", "MatrixDiagPartV3", "MirrorPad", "Pack",
    "Pad", "PadV2", "Reshape", "Reverse", "ReverseV2", "ReverseSequence",
    "Roll", "ScatterNd", "Slice", "SpaceToBatchND", "SpaceToDepth", "Split",
    "SplitV", "Squeeze", "StridedSlice", "TensorScatterAdd",
    "TensorScatterUpdate", "Tile", "Transpose", "Unpack",
)
def _movement(op, operands):
    """Elements move, so what reaches them moves along."""
    data = [is_data(argument) for argument in arguments(op)]
    parts = [value for value, moved in zip(operands, data) if moved]
    moving = iter(values_lib.reached(parts))
    tensors = [
        next(moving) if moved else values_lib.known(op, value)
        for value, moved in zip(operands, data)
    ]
    outputs = run(op, *tensors)
    depends = any(part.depends for part in parts)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    return [Value(output, depends) for output in outputs]


@rule("GatherV2", "ResourceGather")
def _gather(op, operands):
    """An index that is no constant may choose any row."""
    table, indices, *rest = operands
    axis = int(values_lib.known(op, rest[0])) if rest else 0
    batch = op.get_attr("batch_dims")
    if indices.constant is not None:
        live = tf.gather(
            table.live, indices.constant, axis=axis, batch_dims=batch
        )
        return [Value(live, table.depends)]
    axis %= len(table.shape)
    row = binary(tf.reduce_sum(binary(table.live), axis, keepdims=True))
    anywhere = tf.zeros(indices.shape, "int32")
    rows = tf.gather(row, anywhere, axis=axis, batch_dims=batch)
    if not indices.depends:
        return [Value(rows, table.depends)]
    before, after = table.shape[batch:axis], table.shape[axis + 1:]
    shape = (
        *indices.shape[:batch], *(1 for _ in before), *indices.shape[batch:],
        *(1 for _ in after),
    )
    index = Value(tf.reshape(indices.live, shape), True)
    if table.depends:
        return [values_lib.either([index, Value(rows, True)])]
    return [Value(binary(binary(index.live) * binary(rows)), True)]


@rule("OneHot")
def _one_hot(op, operands):
    indices, depth, *_ = operands
    axis = op.get_attr("axis")
    live = tf.stack([indices.live] * int(values_lib.known(op, depth)), axis)
    return [Value(live, indices.depends)]


@rule("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def _batch_norm(op, operands):
    rest = [values_lib.unknown(operands[1].shape) for _ in op.outputs[1:]]
    return [operands[0], *rest]


def _shape(op, operands):
    kind = op.get_attr("out_type")
    shapes = [tf.constant(value.shape, kind) for value in operands]
    return [values_lib.constant(shape) for shape in shapes]


def _number(op, operands):
    shape = operands[0].shape
    number = len(shape) if op.type == "Rank" else int(np.prod(shape))
    return [values_lib.constant(tf.constant(number, op.outputs[0].dtype))]


# What is constant, whatever the operand is.
SHAPES = {"Shape": _shape, "ShapeN": _shape, "Size": _number, "Rank": _number}
