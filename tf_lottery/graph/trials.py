"""Operations tried on random numbers: what they do to means and factors."""

import math

import keras
import numpy as np
from keras import ops
from keras import tree

# In place of sizes that are not known, tried one after the other.
_SIZES = (4, 16, 64, 256)
_TOLERANCES = {"bfloat16": 0.05, "float16": 0.05}
_TOLERANCE = 1e-3


def centred(array):
    """Returns an array without its mean over the last axis."""
    return array - array.mean(-1, keepdims=True, dtype="float64")


def scaled(array):
    """Returns an array with a factor on every channel, of either sign."""
    width = array.shape[-1]
    return array * (np.linspace(0.5, 1.5, width) * (-1.0) ** np.arange(width))


def commutes(operation, args, kwargs, read, made, change=centred, ones=()):
    """Whether an operation carries the mean over channels through.

    That is, whether its outputs are the same without their mean, when it is
    taken out of some of the inputs (`read`) and weights (`made`) instead. In
    the place of tensors the arguments have what has `shape` and `dtype`.
    Another `change` along the last axis may take the place of `centred`, and
    some inputs and weights be `ones`. `False` also where it does not run.
    """
    for size in _SIZES:
        try:
            pair = [
                _outputs(operation, args, kwargs, size, changes, ones)
                for changes in ({}, {id(x): change for x in [*read, *made]})
            ]
        # Code of the user's, on a size it may not be for.
        except Exception:
            continue
        return _is_changed(*pair, [*read, *made][0].shape[-1], change)
    return False


def scales(operation, args, kwargs, x, factors):
    """Whether an operation multiplies `x` by factors, one for each channel.

    The factors are a tensor in the arguments, or a weight.
    """
    width = x.shape[-1] if x.shape else None
    if width in (None, 1) or math.prod(factors.shape) != width:
        return False
    call = operation, args, kwargs
    as_weight = [] if is_tensor(factors) else [factors]
    as_input = [factors] if is_tensor(factors) else []
    return (
        factors.shape[-1] == width
        and commutes(*call, [x], [], scaled)
        and commutes(*call, as_input, as_weight, scaled)
        and commutes(*call, [x], [], ones=[factors])
    )


def is_tensor(value):
    """Whether a value stands for a tensor in the arguments of a call."""
    return hasattr(value, "shape") and hasattr(value, "is_flow")


def _outputs(operation, args, kwargs, size, changes, ones):
    generator = np.random.default_rng(0)
    changes = changes | {id(x): np.ones_like for x in ones}

    def value(x):
        if not is_tensor(x):
            return x
        shape = [size if n is None else n for n in x.shape[1:]]
        # A batch of two, where that is open; more for windows of images.
        first = [x.shape[0] or max(size // 2, 2)] if x.shape else []
        return _random(generator, (*first, *shape), x, changes)

    known = {}
    args, kwargs = tree.map_structure(
        lambda x: known.setdefault(id(x), value(x)), (args, kwargs)
    )
    if not getattr(operation, "variables", None):
        outputs = operation(*args, **kwargs)
    else:
        values = [
            [
                _random(generator, v.shape, v, changes)
                if keras.backend.is_float_dtype(v.dtype) else v.value
                for v in variables
            ]
            for variables in (
                operation.trainable_variables,
                operation.non_trainable_variables,
            )
        ]
        outputs, _ = operation.stateless_call(*values, *args, **kwargs)
    return tree.flatten(outputs)


def _random(generator, shape, x, changes):
    dtype = keras.backend.standardize_dtype(x.dtype)
    if not keras.backend.is_float_dtype(dtype):
        return ops.ones(shape, dtype)
    array = generator.normal(0.2, 0.5, shape)
    # Layers that are not called from outside cast nothing.
    return ops.convert_to_tensor(
        changes.get(id(x), lambda same: same)(array),
        keras.backend.result_type(dtype, "float32"),
    )


def _is_changed(plain, changed, width, change):
    """Whether outputs as wide differ by a change, and no other does."""
    seen = False
    for a, b in zip(plain, changed, strict=True):
        tolerance = _TOLERANCES.get(
            keras.backend.standardize_dtype(a.dtype), _TOLERANCE
        )
        a, b = (ops.convert_to_numpy(ops.cast(x, "float32")) for x in (a, b))
        if a.ndim > 1 and a.shape[-1] == width:
            a, seen = change(a), True
        largest = np.abs(a).max(initial=0)
        if not np.abs(a - b).max(initial=0) <= tolerance * largest:
            return False
    return seen
