"""What is zero where all weights that make it are zero.

A mean square over channels is the same without a channel only if that is
zero in it. Zero weights make zeros; sigmoids, constants and statistics do not.
"""

import functools

import keras

from tf_lottery.graph.call import Symbol
from tf_lottery.internals.graphs import operation_classes
from tf_lottery.utils import layer_kinds

_ACTIVATIONS = (
    "linear relu relu6 gelu silu swish hard_silu hard_swish tanh elu selu "
    "celu leaky_relu softsign soft_shrink hard_shrink hard_tanh mish "
    "tanh_shrink gelu_approximate"
).split()
_MAKERS = (
    *layer_kinds.named("EinsumDense Embedding"),
    *layer_kinds.ATTENTION,
    *layer_kinds.DEPTHWISE,
    *layer_kinds.LINEAR,
    *layer_kinds.SEPARABLE,
)
# Zero where all that comes in is.
_ALL = (
    *layer_kinds.named(
        "Add Average AveragePooling?D BatchNormalization Concatenate "
        "Cropping?D Dropout Flatten GlobalAveragePooling?D Identity "
        "MaxPooling?D Maximum Minimum Permute ReLU Reshape SpatialDropout?D "
        "Subtract UpSampling?D ZeroPadding?D"
    ),
    *operation_classes(
        *"Absolute Add BroadcastTo Cast Concatenate Elu Expm1 ExpandDims Gelu "
        "Flip GetItem HardSilu LeakyRelu Max Maximum Mean Min Minimum Moveaxis "
        "Negative Relu Relu6 Repeat Reshape Roll Selu Sign Silu Sin Softsign "
        "Split Sqrt Square Squeeze Stack StopGradient Subtract Sum Swapaxes "
        "Take Tan Tanh Tile Transpose".split()
    ),
)
# Zero where one of the factors is.
_ANY = (
    keras.layers.Multiply,
    *operation_classes("DotProductAttention", "Einsum", "Matmul", "Multiply"),
)
_FIRST = tuple(operation_classes("Divide", "TrueDivide"))
# Not zero with a constant.
_SHIFTED = tuple(operation_classes("Add", "Maximum", "Minimum", "Subtract"))


def vanishes(call):
    """Whether the outputs of a call, after its rule, are zero if weights are.
    """
    if call.vanishes is not None:
        return call.vanishes
    operation = call.operation
    while getattr(operation, "transparent", False):
        operation = operation.layer
    if isinstance(operation, _MAKERS):
        return keeps_zero(getattr(operation, "activation", None))
    known = [x.vanishes for x in call.inputs]
    if isinstance(operation, keras.layers.Activation):
        return all(known) and keeps_zero(operation.activation)
    if isinstance(operation, _ANY):
        return any(known)
    if isinstance(operation, _FIRST):
        first = call.args[0] if call.args else None
        return isinstance(first, Symbol) and first.vanishes
    operands = [*call.args, *call.kwargs.values()]
    if isinstance(operation, _SHIFTED) and not all(
        isinstance(x, Symbol) for x in operands
    ):
        return False
    return isinstance(operation, _ALL) and all(known)


def keeps_zero(activation):
    """Whether an activation is zero at zero."""
    while isinstance(activation, functools.partial):
        activation = activation.func
    name = getattr(activation, "__name__", type(activation).__name__)
    return activation is None or name in _ACTIVATIONS
