"""The loss that criteria follow: the user's own, taken on logits.

Every criterion here is defined on the loss of the data alone, so penalties
of regularizers are left out.
"""

import functools
import inspect
import types

import keras
from keras import ops

from tf_lottery import internals
from tf_lottery.criteria import heads

_KERAS = "keras."
_ANY_CROSSENTROPY = ("crossentropy", "ce")


def resolve(model, loss=None, criterion="criterion", dtype="float32"):
    """Returns the mean loss of a batch as a function.

    Where a model ends in a softmax or a sigmoid, a loss that can is computed
    from what goes into it, the logits, which is the same but exact. It is a
    function of `(y, outputs, sample_weight)`, to be called inside a
    `tf.function` with what the model returned; gives a scalar tensor. It takes
    `temperature=`, by which logits are divided. The loss defaults to that of
    `compile`, with its `loss_weights`.

    >>> import tensorflow as tf
    >>> model = keras.Sequential([
    ...     keras.Input((2,)), keras.layers.Dense(1, "sigmoid")])
    >>> loss = resolve(model, "binary_crossentropy")
    >>> @tf.function
    ... def at(logits):
    ...     return loss(tf.ones((1, 1)), tf.sigmoid(logits), None)
    >>> float(at(tf.fill((1, 1), -200.0)))
    200.0
    """
    weights = None
    if loss is None:
        loss, weights = internals.models.compiled_loss(model)
        if loss is None:
            raise ValueError(
                f"Criterion '{criterion}' needs a loss, and model "
                f"'{model.name}' is not compiled with one. Pass `loss`. "
                "Received: loss=None"
            )
    losses = types.SimpleNamespace(
        loss=loss, weights=weights, criterion=criterion, dtype=dtype
    )
    names = getattr(model, "output_names", None)
    return functools.partial(_total, losses, list(names) if names else None)


def _total(losses, names, y, outputs, sample_weight, temperature=1.0):
    """The weighted sum of the mean losses of all outputs."""
    outputs = _named(outputs, names)
    names = list(outputs)
    parts = _spread(losses.loss, names, "loss")
    used = [name for name, part in zip(names, parts) if part is not None]
    y = _spread(y, names, "y", used)
    weights = _spread(losses.weights, names, "loss_weights")
    sample_weight = _spread(sample_weight, names, "sample_weight")
    total = []
    for name, part, labels, sample, weight in zip(
        names, parts, y, sample_weight, weights
    ):
        if part is None:
            continue
        output = outputs[name]
        value = _one(part, labels, output, sample, losses, temperature, name)
        total.append(value if weight is None else value * weight)
    if not total:
        raise ValueError(
            f"No output has a loss. Received: loss={losses.loss!r}"
        )
    return sum(total)


def _one(loss, y, output, sample_weight, losses, temperature, name):
    """The mean loss of one output."""
    head = heads.split(output)
    y = ops.convert_to_tensor(y)
    loss = _object(loss, y, output, losses.dtype)
    y = _fit_labels(loss, y, output, name)
    value, loss = _prediction(loss, head, temperature, losses.criterion)
    if value is not output:
        internals.layers.carry_mask(output, value)
    value = loss(y, value, sample_weight=sample_weight)
    # A loss of the user's may give one value for each example.
    return ops.mean(ops.cast(value, losses.dtype))


def _prediction(loss, head, temperature, criterion):
    """What to give to a loss, and the loss that takes it."""
    from_logits = _from_logits(loss)
    if head.logits is not None:
        logits = head.logits / temperature
        if from_logits is not None:
            return logits, _with_logits(loss)
        if temperature == 1:
            return head.output, loss
        return getattr(ops, head.activation)(logits), loss
    if temperature == 1:
        return head.output, loss
    if from_logits is False:
        raise ValueError(
            f"Criterion '{criterion}' divides logits by a temperature, but "
            f"the loss {_name(loss)!r} takes probabilities, and the model "
            "does not end in a softmax or sigmoid that its logits could be "
            "read from. Let the model return logits and pass a loss with "
            "`from_logits=True`, or set `temperature=1`."
        )
    if from_logits is None and _is_of_keras(loss):
        return head.output, loss
    return head.output / temperature, loss


def _object(loss, y, output, dtype):
    """Returns a `Loss` of one mean value, in the precision asked for."""
    if isinstance(loss, str) and loss.lower() in _ANY_CROSSENTROPY:
        loss = _crossentropy(y, output)
    found = keras.losses.get(loss)
    if isinstance(found, keras.losses.Loss):
        found = _copy(found)
    else:
        found = _Function(found)
    if found.reduction in ("sum", "none", None):
        found.reduction = "sum_over_batch_size"
    internals.models.set_dtype(found, dtype)
    return found


def _copy(loss):
    # Keras copies by saving and loading, which not every loss allows.
    new = object.__new__(type(loss))
    vars(new).update(vars(loss))
    return new


class _Function(keras.losses.Loss):
    """A function of `(y_true, y_pred)` as a `Loss`."""

    def __init__(self, fn, **kwargs):
        # TensorFlow takes no "<lambda>" as the name of a scope.
        super().__init__(name=getattr(fn, "__name__", "loss").strip("<>"))
        self.fn = fn
        self._fn_kwargs = kwargs

    def call(self, y_true, y_pred):
        return self.fn(y_true, y_pred, **self._fn_kwargs)


def _crossentropy(y, output):
    if output.shape[-1] == 1:
        return "binary_crossentropy"
    if len(y.shape) < len(output.shape) or y.shape[-1] == 1:
        return "sparse_categorical_crossentropy"
    return "categorical_crossentropy"


def _from_logits(loss):
    """Whether a loss takes logits; `None` if it knows no such argument."""
    function = getattr(loss, "fn", None)
    if function is not None:
        given = internals.models.arguments_of(loss)
        known = inspect.signature(function).parameters.get("from_logits")
        if "from_logits" in given or known is not None:
            return bool(given.get("from_logits", getattr(known, "default", 0)))
        return None
    value = getattr(loss, "from_logits", None)
    return value if isinstance(value, bool) else None


def _with_logits(loss):
    loss = _copy(loss)
    if hasattr(loss, "fn"):
        internals.models.set_arguments(loss, from_logits=True)
    if hasattr(loss, "from_logits"):
        loss.from_logits = True
    return loss


def _function(loss):
    function = getattr(loss, "fn", None) or type(loss)
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _name(loss):
    return getattr(_function(loss), "__name__", loss.name)


def _is_of_keras(loss):
    module = getattr(_function(loss), "__module__", None) or ""
    return module.startswith(_KERAS)


def _fit_labels(loss, y, output, name):
    """Returns labels in the shape of the output; raises if they do not fit."""
    shape, rank = list(output.shape), len(output.shape)
    if _is_of_keras(loss) and _name(loss).replace("_", "").lower().startswith(
        "sparse"
    ):
        shape = shape[:-1]
    if len(y.shape) == len(shape) + 1 and y.shape[-1] == 1:
        y = ops.squeeze(y, -1)
    elif len(y.shape) + 1 == len(shape) and shape[-1] == 1:
        y = ops.expand_dims(y, -1)
    fits = len(y.shape) == len(shape) and all(
        a is None or b is None or a == b for a, b in zip(y.shape, shape)
    )
    if not fits and _is_of_keras(loss) and rank:
        raise ValueError(
            f"The labels{'' if name is None else f' of output {name!r}'} do "
            f"not fit the loss {_name(loss)!r}, whose outputs have shape "
            f"{tuple(output.shape)}. Expected: labels of shape "
            f"{tuple(shape)}. Received: {tuple(y.shape)}"
        )
    return y


def _named(outputs, names):
    """Returns outputs by the names that losses and labels go by."""
    if isinstance(outputs, dict):
        named = dict(outputs)
    elif not isinstance(outputs, (list, tuple)):
        named = {names[0] if names and len(names) == 1 else None: outputs}
    elif names and len(names) == len(outputs):
        named = dict(zip(names, outputs))
    else:
        named = dict(enumerate(outputs))
    if any(keras.tree.is_nested(output) for output in named.values()):
        raise ValueError(
            "Outputs must be a tensor, or a flat list or dict of tensors. "
            f"Received: {outputs}"
        )
    return named


def _spread(given, names, what, used=None):
    """Returns what is given for each output, in their order."""
    if isinstance(given, dict):
        unknown = [key for key in given if key not in names]
        if unknown and not (len(names) == len(given) == 1):
            raise ValueError(
                f"Argument `{what}` names outputs that do not exist. "
                f"Received: {sorted(map(str, given))}. Expected: {names}"
            )
        if unknown:
            return list(given.values())
        found = [given.get(name) for name in names]
    elif isinstance(given, (list, tuple)):
        found = list(given)
        if used is not None and len(found) == len(used) < len(names):
            found = [found.pop(0) if n in used else None for n in names]
        if len(found) != len(names):
            raise ValueError(
                f"Argument `{what}` must have an entry for each output. "
                f"Received: {len(found)} for {len(names)} outputs ({names})"
            )
    elif used is not None and len(names) > 1:
        if len(used) != 1:
            raise ValueError(
                f"The data has one array of labels for {len(names)} outputs "
                f"({names}). Expected: a list or dict of labels."
            )
        found = [given if name in used else None for name in names]
    else:
        found = [given] * len(names)
    missing = [
        name for name, value in zip(names, found)
        if value is None and name in (used or ())
    ]
    if missing:
        raise ValueError(f"The data has no labels for outputs {missing}.")
    return found
