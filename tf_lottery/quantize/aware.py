"""`aware`: a model that trains as its int8 file will compute."""

import warnings

import keras

from tf_lottery import clusters
from tf_lottery import copies
from tf_lottery import holding
from tf_lottery import internals
from tf_lottery import schedules
from tf_lottery import weights as weights_lib
from tf_lottery.quantize import fake_quantize
from tf_lottery.quantize import folding
from tf_lottery.quantize import planning
from tf_lottery.quantize.quantized import Quantized
from tf_lottery.utils import checks
from tf_lottery.utils import types
from tf_lottery.weights import reasons


def aware(
    model: keras.Model,
    exclude: types.Names = (),
    momentum: float = 0.99,
) -> keras.Model:
    """Returns a copy of a model that trains as its int8 file will compute.

    Kernels are rounded to int8 in every step, with a scale for each channel,
    and so is what operators pass on, in ranges that moving averages learn.
    Gradients pass through the rounding. Zeros stay zero: masks and clusters
    that the model holds are held by the copy. Compile it, with a small
    learning rate, and `fit` for an epoch or some. Then
    `tf_lottery.export.tflite(copy, path, quantize="int8")` writes a file that
    computes what training saw, without representative data, with
    BatchNormalization folded into the layer before it; `tf_lottery.strip`
    returns the plain model.

    Layers that int8 has no rule for stay in float: a warning names those
    with weights.

    Args:
        model: A built Sequential or Functional `keras.Model`, left as it is.
        exclude: Layer names or patterns that stay in float. Defaults to none.
        momentum: Float in [0, 1), of the moving averages. Defaults to 0.99.

    Returns:
        A `keras.Model` with the same weights, not compiled.

    Raises:
        ValueError: For an invalid argument, a model that is not built, is
            subclassed, or is such a copy already.

    Warns:
        UserWarning: Of layers with weights that stay in float.

    Reference: Jacob et al. 2018, https://arxiv.org/abs/1712.05877.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((8,)), keras.layers.Dense(5, "relu"),
    ...     keras.layers.Dense(2)])
    >>> copy = tfl.quantize.aware(model)
    >>> copy.compile("adam", "mse")
    >>> _ = copy.fit(np.ones((8, 8)), np.ones((8, 2)), verbose=0)
    >>> copy.layers[0].ranges["input_0"]
    (0.0, 1.0)
    """
    weights_lib.check_built(model)
    checks.names("exclude", exclude)
    fake_quantize.check_momentum(momentum)
    if is_aware(model):
        checks.refuse("model", model, "one that is not quantised yet")
    if not copies.can_clone(model):
        checks.refuse("model", model, "Sequential or Functional")
    _check_precision(model)
    masks = holding.masks_of(model)
    held = clusters.held(weights_lib.variables(model))
    plain = copies.unwrap(model)
    excluded = _excluded(plain, exclude)
    arguments = planning.Plan(plain, excluded).arguments
    _warn_of_float(plain, {*arguments, *excluded})
    owners = weights_lib.owners(plain)
    shared = {id(owners[key][1]): found for key, found in held.items()}

    def wrap(layer):
        copy = copies.renewed(layer)
        if id(layer) not in arguments:
            return copy
        found = shared.get(id(layer))
        # Clusters are those of a whole layer, or of its channels.
        whole = found is not None and found.zeros.sum() == 1
        return Quantized(
            copy, per="layer" if whole else "channel", momentum=momentum,
            **arguments[id(layer)],
        )

    copy = copies.twin(plain, None, wrap, "made aware of int8").model
    if masks:
        holding.hold(copy, masks)
    variables = weights_lib.variables(copy)
    for key, found in held.items():
        index = keras.ops.convert_to_numpy(found.index)
        clusters.attach(variables[key], index, found.each)
    return copy


def is_aware(model: keras.Model) -> bool:
    """Returns whether a model has layers that `aware` has wrapped.

    Args:
        model: A `keras.Model`.
    """
    weights_lib.check_layer(model)
    return bool(folding.wrapped(model))


def check_trained(model: keras.Model) -> None:
    """Raises a `ValueError` if an `aware` model has not seen its ranges."""
    missing = [
        f"{layer.name}: {place}" for layer in folding.wrapped(model)
        for place, limits in layer.ranges.items() if limits == (0, 0)
    ]
    if missing:
        raise ValueError(
            f"Model '{model.name}' has not learnt the ranges of its int8 "
            "values, or passes nothing but zeros there. Received: no range "
            f"of {missing[:8]}. Expected: a model after `fit`."
        )


def _check_precision(model):
    for layer in internals.layers.flat(model):
        if layer.compute_dtype != "float32":
            raise ValueError(
                "Int8 is trained in float32. Received: layer "
                f"'{layer.name}' of model '{model.name}', which computes in "
                f"{layer.compute_dtype}. Expected: float32"
            )


def _excluded(model, exclude):
    exclude = [exclude] if isinstance(exclude, str) else list(exclude)
    layers = {f"{k}/output": v for k, v in weights_lib.layers(model).items()}
    found = schedules.match(
        dict.fromkeys(exclude, 1), layers, default=None, name="exclude"
    )
    return {id(layers[key]) for key, value in found.items() if value}


def _warn_of_float(model, known):
    """Tells of layers with kernels that no rule is for."""
    left = sorted({
        weight.path.rpartition("/")[0]
        for weight in weights_lib.inspect(model)
        if id(weight.layer) not in known
        and weight.reason in (None, *reasons.ON_REQUEST)
    })
    if left:
        warnings.warn(
            f"Layers of model '{model.name}' stay in float, for there is no "
            f"rule how int8 computes them: {left}. Name them by `exclude`.",
            stacklevel=3,
        )
