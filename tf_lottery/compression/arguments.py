"""The arguments of `compress`, checked before anything takes time."""

import keras
import numpy as np
from keras import ops

from tf_lottery import internals
from tf_lottery import quantize
from tf_lottery import weights as weights_lib
from tf_lottery.analysis import evaluating
from tf_lottery.compression import measuring
from tf_lottery.criteria import batches as batches_lib
from tf_lottery.utils import checks


def check(
    model, max_drop, budget, epochs, teacher, samples, candidates, batch_size,
    seed, exclude, include, directory, progress,
):
    """Raises unless each argument of `compress` is of its kind; see there."""
    weights_lib.check_built(model)
    checks.optional(checks.not_negative, "max_drop", max_drop)
    if max_drop is not None and budget is not None:
        raise ValueError(
            "Either `max_drop` or `budget` says what to look for. Received: "
            f"max_drop={max_drop!r}, budget={budget!r}"
        )
    for name, value, least in (
        ("epochs", epochs, 0), ("samples", samples, 1),
        ("candidates", candidates, 1), ("batch_size", batch_size, 1),
        ("seed", seed, 0),
    ):
        checks.whole(name, value, least)
    checks.names("exclude", exclude)
    checks.names("include", include)
    checks.optional(checks.path, "directory", directory)
    if not isinstance(teacher, (keras.Model, type(None))) and (
        teacher != "self"
    ):
        checks.refuse(
            "teacher", teacher, "'self', a `keras.Model` or `None`"
        )
    checks.optional(checks.takes, "progress", progress, 1, "a callable")
    if epochs and not (model.compiled and model.optimizer is not None):
        raise ValueError(
            f"Training takes the optimizer that model '{model.name}' is "
            f"compiled with. Received: epochs={epochs}, and a model that is "
            "not compiled."
        )
    if epochs and teacher is None and (
        internals.models.compiled_loss(model)[0] is None
    ):
        raise ValueError(
            "Training without a teacher takes the loss that model "
            f"'{model.name}' is compiled with. Received: teacher=None, and a "
            "model compiled without a loss."
        )
    if quantize.is_aware(model) or any(
        getattr(layer, "quantization_mode", None)
        for layer in internals.layers.flat(model)
    ):
        raise ValueError(
            f"Model '{model.name}' is quantised already. Expected: the model "
            "as it was before; its files are quantised when they are written "
            "(`quantize=`)."
        )


def check_examples(number, max_drop):
    """Raises where one example more or less decides."""
    if number * max_drop < 1 and max_drop:
        raise ValueError(
            f"Of {number} validation examples one is worth "
            f"{1 / number:.2g}, which is more than `max_drop`. Received: "
            f"max_drop={max_drop}. Expected: at least "
            f"{int(np.ceil(1 / max_drop))} examples"
        )


def check_inputs(model, **inputs):
    """Raises if a model does not take the inputs of an argument."""
    for name, given in inputs.items():
        try:
            _of_one(model, given)
        # Whatever a layer runs into says that they do not fit.
        except Exception as error:
            shapes = keras.tree.map_structure(np.shape, given)
            raise ValueError(
                f"Argument `{name}` does not fit model '{model.name}'. "
                f"Received: inputs of shape {shapes}, on which the model says "
                f"{internals.messages.core(error)}"
            ) from error


def check_teacher(model, teacher, inputs):
    """Raises if a teacher has other outputs than a model."""
    if not isinstance(teacher, keras.Model):
        return
    check_inputs(teacher, train=inputs)
    theirs, ours = (
        keras.tree.map_structure(lambda a: tuple(a.shape), _of_one(m, inputs))
        for m in (teacher, model)
    )
    if theirs != ours:
        raise ValueError(
            f"Argument `teacher` must have the outputs of model "
            f"'{model.name}', for one example {ours}. Received: {theirs}"
        )


def check_metric(model, metric, validation):
    """Raises, before anything is measured, if a metric does not fit."""
    run = evaluating.compiled(lambda x: model(x, training=False))
    found = batches_lib.batches_of(validation, criterion="compression")
    outputs = _joined([run(x) for x, _, _ in found])
    measuring.check_finite(model, outputs)
    metric(validation[1], outputs)


def inputs_of(data, samples, batch_size):
    """Returns as many inputs of data as arrays, spread over what are arrays.
    """
    checks.data("train", data)
    batches = batches_lib.batches_of(data, criterion="compress(train=)")
    if isinstance(data, (tuple, list)):
        number = batches_lib.len_of(data[0])
        if not number:
            raise ValueError(
                "Argument `train` must hold examples. Received: none"
            )
        chosen = np.linspace(
            0, number - 1, min(samples, number)
        ).round().astype(int)
        return finite("train", keras.tree.map_structure(
            lambda array: np.asarray(array)[chosen], data[0]
        ))
    found, count = [], 0
    for x, _, _ in batches:
        found.append(x)
        count += batches_lib.len_of(x)
        if count >= samples:
            break
    return finite(
        "train", keras.tree.map_structure(lambda a: a[:samples], _joined(found))
    )


def arrays_of(data):
    """Returns validation data as a pair of arrays, or structures of them."""
    checks.data("validation", data)
    found = batches_lib.batches_of(data, criterion="compress(validation=)")
    x, y = (_joined(part) for part in zip(*((x, y) for x, y, _ in found)))
    return finite("validation", x), y


def _of_one(model, inputs):
    one = keras.tree.map_structure(lambda a: a[:1], inputs)
    return model(one, training=False)


def finite(name, inputs):
    """Returns inputs; raises if some are not finite."""
    for array in keras.tree.flatten(inputs):
        if np.issubdtype(array.dtype, np.floating) and not (
            np.isfinite(array).all()
        ):
            raise ValueError(
                f"Argument `{name}` must hold finite inputs. Received: NaN or "
                f"infinity in an array of shape {array.shape}"
            )
    return inputs


def name_of(value):
    """Returns what stands for an argument in the file of a directory."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        return sorted(value)
    return getattr(value, "name", None) or getattr(
        value, "__name__", type(value).__name__
    )


def _joined(parts):
    return keras.tree.map_structure(
        lambda *arrays: np.concatenate(
            list(map(ops.convert_to_numpy, arrays))
        ),
        *parts,
    )
