"""A model as a function of its prunable weights, to follow gradients.

The model is not touched: its variables are replaced by tensors while it is
traced (`keras.StatelessScope`), so what a layer assigns goes nowhere. Only
the precision is set for the time of a trace, and always set back.
"""

import contextlib
import functools
import threading
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_lottery import internals
from tf_lottery import weights as weights_lib
from tf_lottery.criteria import batches as batches_lib
from tf_lottery.criteria import gradients as gradients_lib
from tf_lottery.criteria import heads
from tf_lottery.utils import types

# What is set back in the end is of the whole process, and so of one thread.
_ALONE = threading.RLock()


class Functional:
    """Evaluates a model at given values of its prunable weights.

    BatchNormalization uses its moving statistics, dropout is off. The precision
    is that of the model, but no less than float32. `replace` are attributes of
    layers, `(owner, name, value)`, that are other ones while the model is
    traced.

    >>> model = keras.Sequential([
    ...     keras.Input((2,)),
    ...     keras.layers.Dense(1, name="fc", kernel_initializer="ones")])
    >>> function = Functional(model, tfl.weights.prunable(model))
    >>> double = function.function(lambda values, x: function.outputs(
    ...     {key: 2 * value for key, value in values.items()}, x))
    >>> twice = double(function.values(), np.ones((1, 2), "float32"))
    >>> keras.ops.convert_to_numpy(twice).tolist()
    [[4.0]]
    """

    def __init__(
        self,
        model: keras.Model,
        variables: types.Variables,
        dtype: str | None = None,
        replace: Any = (),
    ) -> None:
        self.model = model
        self.variables = variables
        self.replace = replace
        self.layers = list(dict.fromkeys(internals.layers.flat(model)))
        self.others = _others(model, variables)
        self.dtype = dtype or _precision(self.layers, variables)

    def function(
        self, function: Callable[..., Any], any_length: bool | None = None
    ) -> Callable[..., Any]:
        """Returns a function that may call `outputs` and `gradients`.

        Where the backend traces, it is traced as `gradients.compiled` says.
        """
        traced = gradients_lib.compiled(function, any_length)

        @functools.wraps(function)
        def call(*args):
            with self._scoring():
                return traced(*args)

        return call

    def values(
        self, masks: types.Masks | None = None
    ) -> dict[str, Any]:
        """Returns the values of the weights as tensors, 0 where masks prune."""
        values, done = {}, []
        for key, variable in self.variables.items():
            # One after the other, to hold one masked copy at a time.
            value = gradients_lib.after(done, gradients_lib.constant(variable))
            values[key] = ops.cast(_kept(value, masks, key), self.dtype)
            done = [values[key]]
        return values

    def outputs(
        self,
        values: Mapping[str, Any],
        x: Any,
        change: Callable[[Any, Any], Any] | None = None,
    ) -> Any:
        """Returns what the model makes of `x`.

        `change`, a function of a variable and its value, is applied to all its
        other floating point variables.
        """
        def value_of(variable):
            value = ops.cast(gradients_lib.constant(variable), self.dtype)
            return value if change is None else change(variable, value)

        state = [(self.variables[key], values[key]) for key in values]
        state += [(variable, value_of(variable)) for variable in self.others]
        x = keras.tree.map_structure(ops.convert_to_tensor, x)
        known = internals.layers.takes_training(self.model)
        with self._scoring(), keras.StatelessScope(state):
            return self.model(x, **({"training": False} if known else {}))

    def gradients(
        self,
        values: Mapping[str, Any],
        x: Any,
        y: Any,
        sample_weight: Any,
        loss: Callable[..., Any],
    ) -> dict[str, Any]:
        """Returns the gradients of the mean loss of a batch; none may miss."""
        def mean_loss(values):
            return loss(y, self.outputs(values, x), sample_weight)

        return self.gradients_of(mean_loss, values)

    def gradients_of(
        self, function: Callable[..., Any], values: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Returns the gradients of a function; none may be missing."""
        found = gradients_lib.of(function, values)
        missing = [key for key, value in found.items() if value is None]
        if missing:
            raise ValueError(
                f"The output of model '{self.model.name}' has no gradient to "
                f"these weights, so they cannot be scored: {missing}. Leave "
                "their layers out (`exclude=`), or check that the model uses "
                "them by operations with a gradient."
            )
        return found

    @contextlib.contextmanager
    def _scoring(self):
        """Sets precisions for the time of a trace."""
        with contextlib.ExitStack() as stack:
            variables = (*self.variables.values(), *self.others)
            stack.enter_context(
                computing_in(self.layers, variables, self.dtype)
            )
            stack.enter_context(heads.recorded())
            for owner, name, value in self.replace:
                stack.enter_context(
                    internals.layers.replaced(owner, name, value)
                )
            yield


@contextlib.contextmanager
def computing_in(layers, variables, dtype):
    """A context in which layers, and variables, have a precision."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_ALONE)
        stack.enter_context(gradients_lib.precision(dtype))
        if keras.config.floatx() != dtype:
            # Where nobody asked for it yet, it would follow from ours.
            keras.config.dtype_policy()
            stack.callback(keras.config.set_floatx, keras.config.floatx())
            keras.config.set_floatx(dtype)
        stack.enter_context(internals.layers.computing_in(
            layers, variables, dtype, _floating
        ))
        yield


def keep(tensors, masks):
    """Returns tensors with zeros where masks, boolean arrays, prune."""
    return {key: _kept(value, masks, key) for key, value in tensors.items()}


def _kept(value, masks, key):
    mask = None if masks is None else masks[key]
    if mask is None or isinstance(mask, np.ndarray) and mask.all():
        return value
    return ops.where(mask, value, ops.zeros((), value.dtype))


def mean_gradients(gradients, values, batches):
    """Returns the gradients of the mean loss over all examples."""
    total, examples = None, 0
    for x, y, sample_weight in batches:
        number = batches_lib.len_of(x)
        part = gradients(values, x, y, sample_weight)
        examples += number
        if total is None:
            total, first = part, number
            continue
        for key in list(part):
            if first:
                total[key] *= first
            total[key] += number * part.pop(key)
        first = None
    if first:
        return total
    return {key: value / examples for key, value in total.items()}


def _others(model, variables):
    """The floating point variables that are not scored."""
    scored = {id(variable) for variable in variables.values()}
    found = {id(v): v for v in model.variables}
    return [
        variable for number, variable in found.items()
        if number not in scored
        and not weights_lib.is_seed(variable)
        and _floating(internals.layers.dtype(variable))
    ]


def _precision(layers, variables):
    dtypes = {layer.compute_dtype for layer in layers}
    dtypes |= set(map(internals.layers.dtype, variables.values()))
    return "float64" if "float64" in dtypes else "float32"


def _floating(*dtypes):
    return all(
        keras.backend.is_float_dtype(keras.backend.standardize_dtype(dtype))
        for dtype in dtypes
    )
