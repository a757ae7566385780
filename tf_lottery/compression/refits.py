"""Refits: what the weights that stay become, and what makes up for others."""

import math

import keras
import numpy as np
from keras import ops

from tf_lottery import criteria
from tf_lottery.criteria import batches as batches_lib
from tf_lottery.criteria import obc
from tf_lottery import weights as weights_lib
from tf_lottery.search import prefixes


class Refits:
    """The `Refit` of each weight.

    Args:
        model: A built `keras.Model`, as it was.
        variables: Dict from weight key to `keras.Variable`.
        inputs: Array or a structure of arrays, to calibrate on.
    """

    def __init__(self, model, variables, inputs):
        self._variables = variables
        owners = weights_lib.owners(model)
        self._biases = {}

        def centred(key, linear):
            bias = self._biases[key] = _bias_of(*owners[key], linear)
            return bias is not None

        self._problems = obc.Problems(
            # What layers read is large, and is forgotten batch by batch.
            criteria.OBC(batch_size=prefixes.fitting(model, 32)), model,
            variables, criteria.Context(
                data=(inputs, np.zeros(batches_lib.len_of(inputs)))
            ), centred,
        )

    def __getitem__(self, key):
        """Returns the `Refit` of a weight as it is now."""
        variable = self._variables[key]
        if key in self._problems.inputs.linear:
            problem = self._problems[key]
            return Refit(variable, problem, self._biases[key])
        return Refit(variable, Magnitudes(ops.convert_to_numpy(variable)))


class Refit:
    """A weight, and a bias that makes up for what goes of it.

    Args:
        problem: `criteria.obc.Problem`, or `Magnitudes`.
        bias: `keras.Variable` that is added to the outputs, or `None`.

    Attributes:
        variables: List of `keras.Variable`.
        costs: Function of a mask, what each weight is worth.
    """

    def __init__(self, variable, problem, bias=None):
        self.variables = [variable] if bias is None else [variable, bias]
        self.costs = problem.costs
        self._problem = problem
        self._bias = bias is not None and ops.convert_to_numpy(bias)

    def values(self, mask):
        """Yields the variables and what they become under a mask."""
        return self._with_bias(self._problem.refit(mask))

    def rounded(self, bits):
        """Yields the variables and what they become with so many bits."""
        value = ops.convert_to_numpy(self.variables[0])
        return self._with_bias(self._problem.rounded(value, bits))

    def _with_bias(self, value):
        weight, *biases = self.variables
        yield weight, value
        for bias in biases:
            shift = self._problem.shift(value).reshape(self._bias.shape)
            yield bias, self._bias + shift


def _bias_of(variable, layer, linear):
    """Returns what a layer adds to each output of a weight, or `None`."""
    last = getattr(layer, "pointwise_kernel", getattr(layer, "kernel", None))
    bias = getattr(layer, "bias", None)
    own = type(layer).__module__.startswith("keras.")
    if bias is None or not own or last is not variable or linear.looped:
        return None
    stack, _, outputs = linear.sizes
    if isinstance(layer, keras.layers.EinsumDense):
        kernel, made = layer.equation.split(",")[1].split("->")
        axes = {c for c in made if c in kernel}
        if stack > 1 or axes != set(layer.bias_axes):
            return None
    return bias if math.prod(bias.shape) == stack * outputs else None


class Magnitudes:
    """The order of a weight whose layer least squares do not know."""

    def __init__(self, values):
        self._values = np.array(values)

    def costs(self, mask):
        """Returns the squares of the weights."""
        return np.square(self._values)

    def refit(self, mask):
        """Returns the weights that stay, as they are."""
        return np.where(mask, self._values, 0)

    def rounded(self, value, bits):
        """Returns the nearest ones of so many bits to each output."""
        return nearest(value, bits, tuple(range(value.ndim - 1)))


def nearest(value, bits, axes):
    """Returns the nearest numbers of so many bits, signed and even.

    Args:
        value: Array.
        bits: Integer.
        axes: Integer or tuple of them, along which there is one scale.
    """
    step = np.abs(value).max(axes, keepdims=True) / (2 ** (bits - 1) - 1)
    step = np.where(step > 0, step, 1)
    return np.round(value / step) * step
