"""Pruning in one sentence: score, select, hold."""

import collections
from collections.abc import Mapping

import numpy as np

from tf_lottery import constraints
from tf_lottery import criteria
from tf_lottery import layers
from tf_lottery import masks as masks_lib
from tf_lottery import optimizers
from tf_lottery import schedules
from tf_lottery import snapshots
from tf_lottery import weights as weights_lib


def prune(
    model,
    sparsity,
    criterion="magnitude",
    scope="global",
    pattern="unstructured",
    exclude=(),
    include=(),
):
    """Prunes a model once and holds the masks from then on.

    Args:
        model: A built `keras.Model`, compiled unless its layers are wrapped.
        sparsity: Float in (0, 1), the fraction of all prunable weights that
            is removed afterwards, or a dict from layer name or pattern to
            such a fraction (`{"*": 0.9, "logits": 0.5}`). What is pruned
            already counts and stays pruned.
        criterion: See `tf_lottery.criteria.get`. Defaults to `"magnitude"`.
        scope: `"global"` ranks all weights together, `"layer"` each weight
            by itself. Defaults to `"global"`.
        pattern: Defaults to `"unstructured"`.
        exclude: Layer names or patterns that are left alone.
        include: Embeddings that are pruned too.

    Returns:
        Dict from weight key to mask, a boolean array, `True` = kept.

    Raises:
        ValueError: For an invalid argument, a model that is not built or not
            compiled, scores that are not finite, or a sparsity below the one
            the model already has.

    Example:

    >>> import keras, tf_lottery as tfl
    >>> model = keras.Sequential(
    ...     [keras.Input((8,)), keras.layers.Dense(5, name="fc")])
    >>> model.compile("adam", "mse")
    >>> masks = tfl.prune(model, sparsity=0.75)
    >>> int(masks["fc/kernel"].sum())
    10
    """
    found = weights_lib.inspect(model, exclude, include)
    variables = weights_lib.prunable(model, exclude, include)
    _check_holders(model, variables.values())
    rates = rates_of(found, variables, sparsity, name="sparsity")
    groups = group({k: rate for k, rate in rates.items() if rate}, scope)
    masks = current_masks(variables)
    keep = [_number_to_keep(keys, rates[keys[0]], masks) for keys in groups]
    scores = criteria.get(criterion)(model, variables)
    masks = masks_lib.select(scores, keep, masks, groups, pattern)
    hold(model, masks)
    return masks


def next_masks(scores, masks, rates, scope="global", pattern="unstructured"):
    """Removes a fraction of the surviving weights.

    Args:
        scores: Dict from weight key to array, higher = keep.
        masks: Dict from weight key to the mask so far.
        rates: Dict from weight key to the fraction of the survivors to
            remove; weights of equal rate are ranked together.
        scope: `"global"` or `"layer"`. Defaults to `"global"`.
        pattern: Defaults to `"unstructured"`.

    Returns:
        Dict from weight key to mask; every mask lies inside the one before.
    """
    groups = group(rates, scope)
    survivors = [
        sum(int(np.count_nonzero(masks[key])) for key in keys)
        for keys in groups
    ]
    keep = [
        n - round(rates[keys[0]] * n) for n, keys in zip(survivors, groups)
    ]
    keep = [max(n, len(keys)) for n, keys in zip(keep, groups)]
    return masks_lib.select(scores, keep, masks, groups, pattern)


def _number_to_keep(keys, sparsity, masks):
    """How many weights of `keys` are left at a sparsity."""
    masks = {key: masks[key] for key in keys}
    size, survivors = masks_lib.size(masks), masks_lib.count(masks)
    keep = size - round(sparsity * size)
    if not len(keys) <= keep <= survivors:
        raise ValueError(
            f"Argument `sparsity` must leave {len(keys)} to {survivors} of "
            f"the {size} weights of {', '.join(map(repr, keys))}: at least "
            "one of each, and what is pruned already stays pruned. "
            f"Received: sparsity={sparsity}, which leaves {keep}."
        )
    return keep


def group(rates, scope):
    """Returns the lists of weight keys that are ranked together."""
    if scope not in ("global", "layer"):
        raise ValueError(
            "Argument `scope` must be 'global' or 'layer'. "
            f"Received: scope={scope!r}"
        )
    if scope == "layer":
        return [[key] for key in rates]
    groups = collections.defaultdict(list)
    for key, rate in rates.items():
        groups[rate].append(key)
    return list(groups.values())


def rates_of(found, variables, rate, name="rate"):
    """Returns the rate of each prunable weight; 0 where no pattern fits."""
    schedules.validate_rate(rate, name)
    patterns = rate if isinstance(rate, dict) else {"*": rate}
    matched = weights_lib.resolve(found, patterns, name)
    return {key: matched.get(key, 0.0) for key in variables}


def hold(model, masks):
    """Holds masks on a model: pruned weights are 0.0 from now on.

    The optimizer is wrapped by `tf_lottery.optimizers.Masked`; where the
    model has `tf_lottery.layers.Masked` layers, these take the masks. Weights
    that are not named keep the masks they have.

    Weights assigned by hand later (`set_weights`, `load_weights`) may bring
    pruned ones back; they are zero again at the end of the next `fit`, or at
    once by `hold(model, masks_of(model))`. After another `compile` the masks
    go on holding, but the new optimizer does not know them: its slots fill
    up, and a file saved then has none. The same call puts that right.

    Args:
        model: A built `keras.Model`, compiled unless its layers are wrapped.
        masks: Dict from weight key to boolean array, `True` = kept.

    Raises:
        ValueError: If the model is not built or not compiled, or a key, a
            shape or a frozen weight does not fit.
    """
    variables = check_masks(model, masks)
    _check_holders(model, [variables[key] for key in masks])
    in_layers = {key for key in masks if _held_in_layer(variables[key])}
    for key in in_layers:
        constraints.keep_of(variables[key]).mask.assign(np.asarray(masks[key]))
    if in_layers:
        optimizers.project(
            model.optimizer if _is_compiled(model) else None,
            [variables[key] for key in in_layers],
        )
    rest = [
        (variables[key], mask)
        for key, mask in masks.items() if key not in in_layers
    ]
    if rest:
        optimizers.set_masks(model, optimizers.attach(model), rest)


def _held_in_layer(variable):
    keep = constraints.keep_of(variable)
    return keep is not None and keep.in_layer


def _is_compiled(model):
    return getattr(model, "optimizer", None) is not None and model.compiled


def _check_holders(model, variables):
    """Raises unless layers or an optimizer can hold masks of `variables`."""
    if not all(map(_held_in_layer, variables)):
        optimizers.check_compiled(model)


def check_masks(model, masks):
    """Returns the model's variables; raises if masks do not fit them."""
    weights_lib.check_built(model)
    if not isinstance(masks, Mapping):
        raise ValueError(
            "Argument `masks` must be a dict from weight key to boolean "
            f"array. Received: {masks!r} (of type {type(masks)})"
        )
    variables = weights_lib.variables(model)
    for key, mask in masks.items():
        if key not in variables:
            raise ValueError(
                f"Model '{model.name}' has no weight '{key}'. "
                f"Expected keys among: {sorted(variables)}"
            )
        shape = tuple(variables[key].shape)
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != shape:
            raise ValueError(
                f"The mask of '{key}' must be a boolean array of shape "
                f"{shape}. Received: {mask.dtype} of shape {mask.shape}."
            )
        if not variables[key].trainable:
            raise ValueError(
                f"Weight '{key}' is frozen (not trainable), so no mask can be "
                "held on it. Set `layer.trainable = True` and compile again, "
                "or leave it out."
            )
    return variables


def masks_of(model):
    """Returns the masks held on a model, by weight key.

    Args:
        model: A built `keras.Model`.

    Returns:
        Dict from weight key to boolean array, `True` = kept; empty if the
        model holds none.
    """
    weights_lib.check_built(model)
    return {
        key: mask
        for key, variable in weights_lib.variables(model).items()
        if (mask := constraints.mask_of(variable)) is not None
    }


def current_masks(variables):
    """Returns the mask of each variable, all ones where none is held."""
    found = {key: constraints.mask_of(v) for key, v in variables.items()}
    return {
        key: np.ones(tuple(variables[key].shape), bool) if m is None else m
        for key, m in found.items()
    }


def capture(model, step):
    """Returns a `Snapshot` of all that training changes, but the masks.

    Args:
        model: A built `keras.Model`. If it is not compiled there is no state
            of an optimizer.
        step: Integer, the number of training steps done so far.
    """
    synchronise(model)
    variables = weights_lib.variables(model)
    weights = dict(zip(variables, snapshots.capture(variables.values())))
    if not _is_compiled(model):
        return snapshots.Snapshot(step, weights)
    return snapshots.Snapshot(
        step,
        weights,
        snapshots.capture(optimizers.state(model.optimizer)),
        optimizers.name_of(model.optimizer),
    )


def synchronise(model):
    """Makes variables hold their values between two batches, under JAX."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


def rewind(model, snapshot, masks=None):
    """Sets a model back to a snapshot; masks stay, or are replaced.

    Args:
        model: The `keras.Model` the snapshot was taken from.
        snapshot: `Snapshot`, see `capture`.
        masks: Dict from weight key to boolean array to hold afterwards.
            Defaults to the masks held now.
    """
    variables = weights_lib.variables(model)
    snapshots.restore(
        [variables[key] for key in snapshot.weights],
        snapshot.weights.values(),
    )
    snapshots.restore(optimizers.state(model.optimizer), snapshot.optimizer)
    hold(model, masks_of(model) if masks is None else masks)


def strip(model):
    """Lets go of the masks: a plain Keras model with the zeros baked in.

    Args:
        model: A built `keras.Model`. If it is Sequential or Functional it is
            left as it is and a copy is returned; a subclassed model cannot
            be copied in general: it is changed and returned.

    Returns:
        A `keras.Model` without any object of tf_lottery, compiled if `model`
        is; it loads where tf_lottery is not installed.

    Raises:
        ValueError: If the model is not built, or its own code puts
            `tf_lottery.layers.Masked` around layers.
    """
    weights_lib.check_built(model)
    if not layers.can_clone(model):
        layers.check_unwrapped(model)
        _let_go(model)
        return model
    plain = layers.unwrap(model)
    if _is_compiled(model):
        optimizers.compile_like(plain, model)
    return plain


def _let_go(model):
    for variable in weights_lib.variables(model).values():
        constraints.project(variable)
        constraints.detach(variable)
    if _is_compiled(model):
        optimizers.detach(model)
