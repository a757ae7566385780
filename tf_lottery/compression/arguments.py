"""The arguments of `compress`, checked before anything takes time."""

import keras
import numpy as np

from tf_lottery import internals
from tf_lottery import quantize
from tf_lottery import weights as weights_lib
from tf_lottery.criteria import batches as batches_lib
from tf_lottery.search import measuring
from tf_lottery.search import samples as samples_lib
from tf_lottery.utils import backends
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
    if teacher is not None and not isinstance(teacher, keras.Model) and not (
        isinstance(teacher, str) and teacher == "self"
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


def check_teacher(model, teacher, inputs):
    """Raises if a teacher has other outputs than a model."""
    if not isinstance(teacher, keras.Model):
        return
    samples_lib.check(teacher, train=inputs)
    theirs, ours = (
        keras.tree.map_structure(
            lambda a: tuple(a.shape), samples_lib.first_of(m, inputs)
        )
        for m in (teacher, model)
    )
    if theirs != ours:
        raise ValueError(
            f"Argument `teacher` must have the outputs of model "
            f"'{model.name}', for one example {ours}. Received: {theirs}"
        )


def check_metric(model, metric, validation):
    """Raises, before anything is measured, if a metric does not fit."""
    run = backends.compiled(lambda x: model(x, training=False))
    found = batches_lib.batches_of(validation, criterion="compression")
    outputs = samples_lib.joined([run(x) for x, _, _ in found])
    measuring.check_finite(model, outputs)
    metric(validation[1], outputs)


def arrays_of(data):
    """Returns validation data as a pair of arrays, or structures of them."""
    checks.data("validation", data)
    found = batches_lib.batches_of(data, criterion="compress(validation=)")
    x, y = map(samples_lib.joined, zip(*((x, y) for x, y, _ in found)))
    return samples_lib.finite("validation", x), y


def name_of(value):
    """Returns what stands for an argument in the file of a directory."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        return sorted(value)
    return getattr(value, "name", None) or getattr(
        value, "__name__", type(value).__name__
    )
