"""Paths: which of the kept weights can do anything at all.

A kept weight works only if it lies on a path of kept weights from an input
to an output of the model. At high sparsity many do not, and a mask that
leaves weights in every layer may leave no path. The fraction of the weights
that is kept and lies on a path is the *effective density*.

Reference: Vysogorets and Kempe 2021, "Connectivity Matters: Neural Network
Pruning Through the Lens of Effective Sparsity",
https://arxiv.org/abs/2107.02306.

As there, biases make no path, and normalisation and activations let pass
what reaches them; a pooled value depends on its whole window. Where two
values that depend on the inputs are multiplied (gates, attention), a path
leads through each of them.
"""


from collections.abc import Mapping

import keras
import numpy as np

from tf_lottery import constraints
from tf_lottery import masks as masks_lib
from tf_lottery import weights as weights_lib
from tf_lottery.utils import backends
from tf_lottery.utils import checks
from tf_lottery.utils import companion
from tf_lottery.utils import types
from tf_lottery.weights import reasons


def effective_masks(
    model: keras.Model,
    masks: Mapping[str, np.ndarray] | None = None,
    inputs: types.Arrays = None,
) -> dict[str, np.ndarray]:
    """Returns which of the kept weights lie on a path through a model.

    The model's graph is read, not run: weights, statistics, seeds and the
    optimizer stay as they are. Works for any model that TensorFlow can
    trace: Sequential, Functional, nested, with shared layers or subclassed.
    Under another backend of Keras a process under TensorFlow is started
    once, in which a model of the same configuration is read.

    Args:
        model: A built `keras.Model`.
        masks: Dict from weight key to boolean array, `True` = kept. Weights
            that are not named count as kept. Defaults to the masks held on
            the model; if it holds none, all its prunable weights are kept.
        inputs: Batch in the structure the model takes, of which the shapes
            are read. Defaults to `None`: the shapes the model declares, with
            sizes that fit where it leaves them open.

    Returns:
        Dict from the keys of the masks to boolean array, never more than the
        mask. Biases and weights of normalisation, which make no path, are
        absent.

    Raises:
        ValueError: If the model is not built, the masks do not fit it, or
            paths cannot be followed; the message names the layer.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((2,)),
    ...     keras.layers.Dense(2, name="a"), keras.layers.Dense(1, name="b")])
    >>> masks = {"a/kernel": np.array([[True, False], [True, False]]),
    ...          "b/kernel": np.array([[True], [True]])}
    >>> tfl.paths.effective_masks(model, masks)["b/kernel"].tolist()
    [[True], [False]]
    """
    masks = _masks(model, masks)
    _check(inputs)
    if not backends.is_tensorflow():
        return _asked(effective_masks, model, masks, inputs)
    live = _trace(model, inputs).live(masks)
    pathless = {
        weight.key for weight in weights_lib.inspect(model)
        if weight.reason in (reasons.NORMALISATION, reasons.VECTOR)
    }
    return {
        key: mask for key, mask in live.items()
        if key not in pathless or mask.any()
    }


def effective_densities(
    model: keras.Model,
    masks: Mapping[str, np.ndarray] | None = None,
    inputs: types.Arrays = None,
) -> dict[str, float]:
    """Returns the fraction of each weight that lies on a path.

    Args:
        model: See `effective_masks`.
        masks: See `effective_masks`.
        inputs: See `effective_masks`.

    Returns:
        Dict from weight key to float.
    """
    return masks_lib.densities(effective_masks(model, masks, inputs))


def effective_density(
    model: keras.Model,
    masks: Mapping[str, np.ndarray] | None = None,
    inputs: types.Arrays = None,
) -> float:
    """Returns the fraction of all masked weights that lies on a path.

    It is never above the density of these masks.

    Args:
        model: See `effective_masks`.
        masks: See `effective_masks`.
        inputs: See `effective_masks`.

    Returns:
        Float in [0, 1].

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((8,)), keras.layers.Dense(5), keras.layers.Dense(1)])
    >>> tfl.paths.effective_density(model)
    1.0
    """
    return masks_lib.density(effective_masks(model, masks, inputs))


def collapsed(masks: Mapping[str, np.ndarray]) -> list[str]:
    """Returns the keys of the weights that have nothing left.

    Layer collapse, Tanaka et al. 2020, https://arxiv.org/abs/2006.05467.

    Args:
        masks: Dict from weight key to boolean array, `True` = kept.

    Returns:
        List of weight keys, in the order of `masks`.

    Example:

    >>> tfl.paths.collapsed({"a": np.zeros(3, bool), "b": np.ones(3, bool)})
    ['a']
    """
    return [key for key, kept in masks_lib.densities(masks).items() if not kept]


def why_dead(
    model: keras.Model,
    masks: Mapping[str, np.ndarray] | None = None,
    inputs: types.Arrays = None,
) -> str | None:
    """Returns why no path leads through a model, or `None` if one does.

    A network without a path is a constant function, and training it changes
    nothing but biases. The weight that is named is the last one, in the
    order of the model's layers, at which all paths that come so far end.

    Args:
        model: See `effective_masks`.
        masks: See `effective_masks`.
        inputs: See `effective_masks`.

    Returns:
        String, or `None`.

    Raises:
        ValueError: As `effective_masks`.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((2,)),
    ...     keras.layers.Dense(2, name="a"), keras.layers.Dense(1, name="b")])
    >>> masks = {"a/kernel": np.array([[True, False], [True, False]]),
    ...          "b/kernel": np.array([[False], [True]])}
    >>> tfl.paths.why_dead(model, masks)
    "No path leads past 'b/kernel', although 1 of its 2 weights is kept."
    """
    masks = _masks(model, masks)
    _check(inputs)
    if not backends.is_tensorflow():
        return _asked(why_dead, model, masks, inputs)
    trace = _trace(model, inputs)
    ends = trace.ends(masks)
    if ends is None:
        return None
    if not ends or trace.ends({}) is not None:
        return "No path leads from an input to an output, whatever the masks."
    key = [key for key in weights_lib.variables(model) if key in ends][-1]
    kept, size = int(np.count_nonzero(masks[key])), masks[key].size
    if not kept:
        why = f": none of its {size} weights is kept."
    else:
        verb = "is" if kept == 1 else "are"
        why = f", although {kept} of its {size} weights {verb} kept."
    return f"No path leads past '{key}'{why}"


def _check(inputs):
    checks.data("inputs", inputs)
    for array in keras.tree.flatten(inputs):
        if getattr(array, "dtype", None) is not None and (
            np.asarray(array).dtype.kind in "OSU"
        ):
            checks.refuse("inputs", inputs, "arrays of numbers")


def _asked(function, model, *args):
    try:
        return companion.ask(function, model, *args)
    except RuntimeError as error:
        raise ValueError(
            f"Paths cannot be followed through model '{model.name}': {error}"
        ) from error


def _trace(model, inputs):
    # Whatever the backend of this process, its rules are TensorFlow's.
    from tf_lottery.paths import tracing

    return tracing.Trace(model, inputs)


def _masks(model, masks):
    """Returns checked masks, or those that the model holds."""
    weights_lib.check_built(model)
    variables = weights_lib.variables(model)
    if masks is None:
        held = {k: constraints.mask_of(v) for k, v in variables.items()}
        held = {key: mask for key, mask in held.items() if mask is not None}
        return held or {
            key: np.ones(tuple(variable.shape), bool)
            for key, variable in weights_lib.prunable(model).items()
        }
    weights_lib.check_masks(model, masks, variables)
    return {key: np.asarray(mask) for key, mask in masks.items()}
