"""Compiling a copy of a model as the model is."""

import functools
import inspect

import keras

from tf_lottery import internals
from tf_lottery import optimizers
from tf_lottery import weights as weights_lib
from tf_lottery.copies import alike
from tf_lottery.copies import state
from tf_lottery.optimizers import slots
from tf_lottery.weights import snapshots


def compile_like(copy, model, with_state=True, variables=None):
    """Compiles a copy of a model as the model is, without masks.

    Its state, which is copied as well, takes variables of the same shapes.
    """
    config = dict(internals.models.compile_config(model))
    config["optimizer"] = _fresh(model.optimizer)
    for kind in ("metrics", "weighted_metrics"):
        config[kind] = keras.tree.map_structure(_fresh_metric, config[kind])
    _compile_of(copy, config)(**config)
    if copy is not model and type(copy) is type(model):
        # A `compile` of the class's own sets attributes.
        state.carry_attributes(model, copy, {id(model): copy})
    copy.optimizer.build(copy.trainable_variables)
    if with_state and model.optimizer.built:
        arrays = snapshots.capture(optimizers.state(model.optimizer))
        copy_state(copy, model, arrays, variables)


def copy_state(copy, model, arrays, variables=None):
    """Sets the state of a copy's optimizer, slot by slot of each weight.

    The variables of a copy may come in another order than the model's. Slots
    of weights that the model's optimizer did not train stay as they are. The
    arrays are values of `optimizers.state(model.optimizer)`; `variables` are
    those of the copy by weight key in `model`, if the keys are not the same.
    """
    slots, others = {}, []
    for label, array in zip(labels(model), arrays, strict=True):
        if label is None:
            others.append(array)
        else:
            slots[label[:2]] = array
    others = iter(others)
    for variable, label in zip(
        optimizers.state(copy.optimizer), labels(copy, variables)
    ):
        if label is None:
            variable.assign(next(others))
        elif label[:2] in slots:
            variable.assign(slots[label[:2]])


def labels(model, variables=None):
    """Tells what each of `optimizers.state(model.optimizer)` belongs to.

    Returns a list of tuples: the weight key, the name of the slot, the axis it
    lacks or `None`, and the weight's rank; `None` for variables of the
    optimizer's own, such as the step.
    """
    inner = optimizers.innermost(model.optimizer)
    if variables is None:
        variables = weights_lib.variables(model)
    keys = {id(v): key for key, v in variables.items()}
    found = {}
    trained = internals.optimizers.variables(inner)
    for variable, own in zip(trained, optimizers.slots_of(inner, trained)):
        key, rank = keys.get(id(variable)), len(variable.shape)
        for name, slot in own:
            found[id(slot)] = (key, name, None, rank)
        factors = internals.optimizers.factors(inner, variable)
        if factors and rank > 1:
            rows, columns = factors
            found[id(rows)] = (key, "r", rank - 1, rank)
            found[id(columns)] = (key, "c", rank - 2, rank)
    return [found.get(id(v)) for v in optimizers.state(model.optimizer)]


def _fresh(optimizer):
    """Returns a new optimizer like one, without what holds masks."""
    if isinstance(optimizer, optimizers.Masked):
        return _fresh(optimizer.inner_optimizer)
    with alike.known(slots.chain(optimizer)):
        fresh = type(optimizer).from_config(optimizer.get_config())
    if hasattr(optimizer, "inner_optimizer"):
        fresh.inner_optimizer = _fresh(optimizer.inner_optimizer)
    return fresh


def _fresh_metric(metric):
    if isinstance(metric, keras.metrics.Metric):
        return type(metric).from_config(metric.get_config())
    return metric


def _compile_of(model, config):
    """The `compile` of a model, or Keras' where it takes other arguments."""
    try:
        inspect.signature(model.compile).bind(**config)
    except TypeError:
        return functools.partial(keras.Model.compile, model)
    return model.compile
