"""Elementwise layers and operations: units pass, operands are coupled."""

import math

import keras
import numpy as np
from keras import ops
from keras import tree

from tf_lottery.graph.call import Symbol
from tf_lottery.graph.registry import register_rule
from tf_lottery.internals.graphs import application_class
from tf_lottery.internals.graphs import operation_classes
from tf_lottery.utils import layer_kinds

_UNARY = (
    "Absolute Fabs Arccos Arccosh Arcsin Arcsinh Arctan Arctanh Cast Cbrt "
    "Ceil Celu Clip ConvertToTensor Conjugate Copy Cos Cosh Deg2rad Elu Erf "
    "Erfc Erfinv Exp Exp2 Expm1 Floor Gelu HardShrink HardSigmoid HardSilu "
    "HardTanh Imag Isfinite Isinf Isnan LeakyRelu Log Log10 Log1p Log2 "
    "LogSigmoid LogicalNot NanToNum Negative Rad2deg Real "
    "Reciprocal Relu Relu6 Round Rsqrt SaturateCast Selu Sigmoid Sign Silu "
    "Sin Sinc Sinh SoftShrink Softplus Softsign SparsePlus SparseSigmoid "
    "Sqrt Square Squareplus StopGradient Tan Tanh TanhShrink Threshold "
    "Trunc"
).split()
_BINARY = (
    "Add Arctan2 Divide DivideNoNan Equal FloorDivide Fmax Fmin Fmod Greater "
    "GreaterEqual Heaviside Hypot Less LessEqual Logaddexp Logaddexp2 "
    "LogicalAnd LogicalOr LogicalXor Maximum Minimum Mod Multiply NotEqual "
    "Power Subtract TrueDivide Where"
).split()


@register_rule(
    *layer_kinds.named(
        "ActivityRegularization AlphaDropout Dropout ELU GaussianDropout "
        "GaussianNoise Identity LeakyReLU ReLU SpatialDropout?D"
    ),
    *operation_classes(*_UNARY),
)
def unary(call):
    """Units pass."""
    x = call.inputs[0]
    call.uniform = x.uniform
    noise = getattr(call.operation, "noise_shape", None)
    if noise is not None:
        _freeze_constant(call, x, [n or 1 for n in noise], len(x.shape))
    return x.ids


@register_rule(*operation_classes("OnesLike", "ZerosLike"))
def constant_like(call):
    """Units pass, with the same value all."""
    call.uniform = True
    return call.inputs[0].ids


@register_rule(keras.layers.Rescaling)
def rescaling(call):
    """Units pass scalars; a list of factors is per channel."""
    x, layer = call.inputs[0], call.layer
    if np.size(layer.scale) > 1 or np.size(layer.offset) > 1:
        call.freeze_mixed(x)
    return x.ids


@register_rule(keras.layers.PReLU)
def prelu(call):
    """One slope per channel."""
    x = call.inputs[0]
    call.bind_aligned(call.layer.alpha, x)
    return x.ids


@register_rule(application_class("convnext", "LayerScale"))
def layer_scale(call):
    """One factor per channel, as in ConvNeXt."""
    x, layer = call.inputs[0], call.layer
    ids = call.along(x, -1)
    call.bind(layer.gamma, 0, ids, "pass")
    call.edit_count("projection_dim", ids)
    return x.ids


@register_rule(keras.layers.Masking)
def masking(call):
    """Whether a step is masked depends on every channel of it."""
    x = call.inputs[0]
    call.freeze_mixed(x, [-1])
    return x.ids


@register_rule(
    *layer_kinds.named("Add Average Maximum Minimum Multiply Subtract"),
    application_class("inception_resnet_v2", "CustomScaleLayer"),
    *operation_classes(*_BINARY),
)
def coupled(call):
    """What meets at one place is one unit."""
    symbols = call.inputs
    rank = max(len(x.shape) for x in symbols)
    if any(len(x.shape) != rank for x in symbols):
        return call.frozen(f"{call.name} broadcasts tensors of unlike rank")
    for x in symbols:
        _freeze_broadcast(call, x)
    meeting = [x.ids for x in symbols if not _spread(call, x)]
    ids = call.units.united(meeting or [symbols[0].ids])
    for place, constant in _constants(call):
        ids = _with_constant(call, ids, place, constant)
    call.uniform = all(
        x.uniform or not call.units.varying(x.ids) for x in symbols
    )
    return ids


def _freeze_broadcast(call, x):
    reason = f"{call.name} spreads it over channels"
    for other, axes in _spread(call, x):
        if call.units.varying(x.ids):
            # One number for every head, say: what is in it goes whole.
            call.freeze_mixed(other, axes, reason)
        else:
            call.freeze(x, reason)


def _spread(call, x):
    """The tensors, and axes, of units that meet a single slice of another."""
    found = [
        (other, [
            axis + 1 for axis in call.units.varying(other.ids)
            if x.shape[axis + 1] == 1 and other.shape[axis + 1] != 1
        ])
        for other in call.inputs if other is not x
    ]
    return [(other, axes) for other, axes in found if axes]


def _constants(call):
    """Places and values of operands that are no tensors of the graph."""
    for place, value in [*enumerate(call.args), *call.kwargs.items()]:
        leaves = tree.flatten(value)
        if value is not None and not any(
            isinstance(x, Symbol) for x in leaves
        ):
            yield place, ops.convert_to_numpy(value)


def _with_constant(call, ids, place, constant):
    """The ids, with a constant that is cut as they are."""
    shape = (1,) * (ids.ndim + 1 - constant.ndim) + constant.shape
    if not isinstance(place, int):
        _freeze_constant(call, Symbol(ids, call.outputs[0]), shape, len(shape))
        return ids
    if not call.units.final(ids).any():
        ids = _with_copies(call, ids, shape, constant)
    axes = [
        a for a, n in enumerate(shape[1:]) if n > 1 and ids.shape[a] > 1
    ]

    def value(kept):
        new = constant
        for axis in axes:
            others = tuple(a for a in range(ids.ndim) if a != axis)
            mask = kept[ids].any(others)
            new = np.compress(mask, new, axis - ids.ndim)
        return new

    if axes:
        call.edit(("call", place), ids, value)
    return ids


def _with_copies(call, ids, shape, constant):
    """Ids of the axes that only a constant has, if all is the same there."""
    constant = constant.reshape(shape)
    sizes = [
        n if all(x.shape[a] == 1 for x in call.inputs)
        and (constant.take([0], a) == constant).all() else 1
        for a, n in enumerate(shape) if a
    ]
    if math.prod(sizes) == 1:
        return ids
    copies = call.units.fresh(math.prod(sizes)).reshape(sizes)
    call.rectangular(copies)
    return copies


def _freeze_constant(call, x, shape, rank):
    shape = (1,) * (rank - len(shape)) + tuple(shape)
    axes = [axis for axis in range(1, rank) if shape[axis] != 1]
    call.freeze_mixed(x, axes, f"{call.name} has a constant per channel")
