"""Puts `Masked` around the layers of a whole model."""

import warnings

import keras

from tf_lottery import clusters
from tf_lottery import copies
from tf_lottery import internals
from tf_lottery import weights
from tf_lottery.layers.masked import Masked
from tf_lottery.utils import checks
from tf_lottery.utils import types


def wrap(
    model: keras.Model,
    exclude: types.Names = (),
    include: types.Names = (),
    snapshot: bool = False,
) -> keras.Model:
    """Returns a copy of a model whose prunable layers hold their masks.

    For training loops of your own: whatever optimizer steps the copy, pruned
    weights stay zero. Weight keys are those of the original, which is left
    untouched; masks held there are held by the copy.

    Args:
        model: A built Sequential or Functional `keras.Model`, or of a class
            that is made from inputs and outputs as these are. Of another
            Functional class the copy is a plain one, and a warning says so.
            In a subclassed model put `Masked` around the layers in its
            constructor.
        exclude: Layer names or patterns not to wrap. Defaults to none.
        include: Embeddings to wrap. Defaults to none.
        snapshot: Boolean, see `Masked`. Defaults to `False`.

    Returns:
        A `keras.Model` with the same weights, not compiled.

    Raises:
        ValueError: If the model is subclassed, not built, or has nothing to
            prune.

    Warns:
        UserWarning: If the model holds clusters, which the copy does not.
    """
    checks.flag("snapshot", snapshot)
    prunable = weights.prunable(model, exclude, include)
    if not copies.can_clone(model):
        raise ValueError(
            "A subclassed model cannot be wrapped layer by layer. Put "
            "`tf_lottery.layers.Masked` around its layers in the constructor, "
            f"or hold masks by `tf_lottery.hold`. Received: model={model}"
        )
    shared = clusters.held(prunable)
    if shared:
        warnings.warn(
            "The copy holds no clusters, and training will tell their values "
            f"apart: those of {', '.join(shared)} stay with model "
            f"'{model.name}'.",
            stacklevel=2,
        )
    wanted = {id(variable) for variable in prunable.values()}

    def wrap_layer(layer):
        copy = copies.renewed(layer)
        variables = getattr(layer, "variables", ())
        if isinstance(layer, Masked) or not any(
            id(variable) in wanted for variable in variables
        ):
            return copy
        found = weights.inspect(layer)
        default = {w.key for w in found if w.reason is None}
        chosen = {w.key for w in found if id(w.variable) in wanted}
        return Masked(
            copy, sorted(default - chosen), sorted(chosen - default), snapshot
        )

    wrapped = copies.twin(model, None, wrap_layer, "wrapped").model
    if snapshot:
        for layer in internals.layers.flat(wrapped):
            if isinstance(layer, Masked) and layer.snapshot:
                layer.take_snapshot()
    return wrapped
