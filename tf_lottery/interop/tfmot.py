"""Migration from the TensorFlow Model Optimization Toolkit (TFMOT)."""

import functools
import math
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tf_lottery import holding
from tf_lottery import internals
from tf_lottery import weights as weights_lib
from tf_lottery.interop import building
from tf_lottery.interop import filling
from tf_lottery.interop import saved as saved_lib
from tf_lottery.utils import checks
from tf_lottery.utils import types

# So few more weights than the file has numbers are no danger, and what is
# missing is told by the layers' names.
_FEW = 1 << 20
# What walking through a configuration of any content may raise.
_WRONG = (KeyError, IndexError, TypeError, AttributeError)


def from_tfmot(
    path: types.Path,
    custom_objects: Mapping[str, Any] | None = None,
    optimizer: Any = "sgd",
    loss: Any = None,
    metrics: Any = None,
    masks_from_zeros: bool = True,
) -> keras.Model:
    """Loads a model that TFMOT pruned, as a Keras 3 model with its masks.

    Neither TFMOT nor tf_keras is imported or needed. The file is what
    `model.save` of tf_keras wrote: a model inside `prune_low_magnitude`, with
    its wrappers, a model after `strip_pruning`, or any other Sequential or
    Functional model, nested or not.

    The masks of the file hold from now on. Between an optimizer step and the
    next forward pass the weights of TFMOT are not sparse, and may have been
    saved so: what a mask prunes is zero here, as it is in TFMOT's next
    forward pass. Weights of frozen layers are zero where their mask says so,
    but no mask is held on them; a warning names them.

    The optimizer holds the masks, so the model is compiled. The optimizer of
    the file, its state and the step of the schedule are left behind.

    Args:
        path: Path of a `.keras` or `.h5` file.
        custom_objects: Dict from name to the Keras 3 class of a layer of your
            own, or to a function. It must have the same weights in the same
            order; if TFMOT pruned it, a method `get_prunable_weights`.
            Defaults to `None`.
        optimizer: Optimizer to compile with. Defaults to `"sgd"`, which takes
            no memory. To compile again later, see `tf_lottery.hold`.
        loss: Loss to compile with. Defaults to `None`.
        metrics: Metrics to compile with. Defaults to `None`.
        masks_from_zeros: Boolean, whether in a file without wrappers the
            weights that are exactly zero are masked: of every weight TFMOT
            can prune that has zeros and something else. Defaults to `True`.

    Returns:
        A compiled `keras.Model` of plain Keras layers; `tf_lottery.masks_of`
        gives its masks.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedFileError: If the file is damaged (a `ValueError`).
        ValueError: If Keras 3 cannot express a layer, which is named with the
            reason, or the file is no model of tf_keras.

    Example:

    ```python
    model = tfl.interop.from_tfmot("pruned.h5", optimizer="adam", loss="mse")
    model.fit(x, y)                      # the masks hold
    plain = tfl.strip(model)             # in place of `strip_pruning`
    ```
    """
    checks.path("path", path)
    checks.optional(
        checks.mapping, "custom_objects", custom_objects, "name to class"
    )
    checks.loss("loss", loss)
    checks.flag("masks_from_zeros", masks_from_zeros)
    custom_objects = dict(custom_objects or {})
    with saved_lib.opened(path) as saved:
        node = _build(path, saved, custom_objects)
        masks = filling.fill(node, saved)
    model = node.layer
    if masks_from_zeros and not _has_wrappers(node):
        masks = _zeros(node)
    for variable, mask in masks:
        # Where it is dense already, nothing is rewritten.
        if not mask.all():
            value = np.asarray(variable)
            variable.assign(np.where(mask, value, np.zeros((), value.dtype)))
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics)
    holding.hold(model, _held(model, masks))
    return model


def _build(path, saved, custom_objects):
    try:
        building.check_is_graph(saved.config)
        check = functools.partial(_check_size, saved.numbers)
        with internals.layers.values_made_late(check):
            node = building.build(saved.config, custom_objects)
    except _WRONG as error:
        raise saved_lib.Damaged(
            f"its configuration is incomplete ({error!r})"
        ) from error
    if not node.layer.built:
        raise ValueError(
            f"Model '{node.layer.name}' in '{path}' was saved before it was "
            "built: it has no weights. Give it an input shape in tf_keras and "
            "save it again."
        )
    return node


def _check_size(most, variables):
    """Raises if layers have far more weights than the file has numbers.

    A configuration of a few bytes can ask for layers of any size. So far
    these weights have a shape, but no memory.
    """
    numbers = sum(
        math.prod(variable.shape) for variable in variables
        if not weights_lib.is_seed(variable)
    )
    if numbers > most + _FEW:
        raise saved_lib.Damaged(
            f"its layers have {numbers} weights, and it holds {most} numbers"
        )


def _has_wrappers(node):
    return node.wrapped or any(map(_has_wrappers, node.parts or ()))


def _zeros(node):
    """Masks from the zeros of all weights that TFMOT can prune."""
    if node.parts is not None:
        return [pair for part in node.parts for pair in _zeros(part)]
    pairs = [
        (variable, np.asarray(variable) != 0)
        for variable in filling.prunable(node.layer)
    ]
    # TFMOT keeps at least one weight; all zeros are an initial value.
    return [(v, mask) for v, mask in pairs if mask.any() and not mask.all()]


def _held(model, masks):
    """Masks by weight key, without those of frozen weights."""
    mask_of = {id(variable): mask for variable, mask in masks}
    found = {
        key: variable
        for key, variable in weights_lib.variables(model).items()
        if id(variable) in mask_of
    }
    frozen = [key for key, v in found.items() if not v.trainable]
    if frozen:
        warnings.warn(
            "Masks are not held on frozen weights, whose zeros stay as long "
            f"as they are frozen: {frozen}",
            stacklevel=3,
        )
    return {
        key: mask_of[id(variable)]
        for key, variable in found.items() if variable.trainable
    }
