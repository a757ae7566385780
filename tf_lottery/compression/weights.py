"""Weights: single ones are removed, where zeros are worth something."""

import math

import keras
import numpy as np
from keras import ops

from tf_lottery.compression import measuring
from tf_lottery.pruning import prunable
from tf_lottery.pruning import rules

# Fractions of a weight that stay.
DENSITIES = (
    1.0, 0.8, 0.63, 0.5, 0.38, 0.28, 0.2, 0.14, 0.1, 0.07, 0.04, 0.02,
)
# Weights are scored anew once this fraction of those that stayed is left.
_RENEWED = 0.55
_NEVER = 255


class Weights:
    """The weights that can be pruned, and in which order each one's go.

    Args:
        model: A built `keras.Model` without masks, a copy that may change.
        before: Dict from weight key to boolean array, masks to begin with.
        nbytes: Function from a weight as a matrix, outputs by inputs, to what
            it takes in a file.

    Attributes:
        names: List of strings, the weight keys.
        variables: Dict from weight key to `keras.Variable`.
        skipped: Dict from weight key to why it is left alone.
        gone: Dict from weight key to array: the first level at which each
            weight is gone.
    """

    def __init__(self, model, before, nbytes, exclude, include):
        self._nbytes = nbytes
        self._prunable = prunable.Prunable(model, rules.Rule(
            "layer", "unstructured", "keep-one", exclude, include
        ))
        self.variables = self._prunable.variables
        self.names = list(self.variables)
        self.skipped = {
            w.key: w.reason for w in self._prunable.weights
            if w.reason and len(w.variable.shape) > 1
        }
        self._before = {
            key: before.get(key, np.ones(tuple(variable.shape), bool))
            for key, variable in self.variables.items()
        }
        self.gone = {}

    def mask(self, key, level):
        """Returns what is left of a weight at a level."""
        return self.gone[key] > level

    def measure(self, key, problem, distance):
        """Finds what goes at each density, and what that does and costs.

        Weights go in the order of optimal brain compression, scored anew on
        the way, and those that stay are refit.

        Args:
            problem: `Refit`.

        Returns:
            Tuple of two arrays: errors and costs.
        """
        mask, scores, scored = self._before[key], None, 0
        gone = np.where(mask, _NEVER, 0).astype("uint8")
        errors, costs = {}, {}
        distance.start_at(problem.variables)
        with measuring.restored(problem.variables):
            for level, density in enumerate(DENSITIES):
                keep = max(1, min(
                    round(density * mask.size), int(mask.sum())
                ))
                if scores is None or keep < _RENEWED * scored:
                    scores, scored = problem.costs(mask), keep
                mask = self._prunable.select_feasible(
                    {key: scores}, [keep], {key: mask}, [[key]]
                )[key]
                gone[~mask & (gone == _NEVER)] = level
                if not level:
                    errors[0], costs[0] = 0.0, self._cost(key)
                elif measuring.is_due(level, errors):
                    for variable, value in problem.values(mask):
                        variable.assign(value)
                    errors[level], costs[level] = distance(), self._cost(key)
        self.gone[key] = gone
        return tuple(
            measuring.between(list(found), list(found.values()), level + 1)
            for found in (errors, costs)
        )

    def _cost(self, key):
        value = ops.convert_to_numpy(self.variables[key])
        matrix = self._prunable.layouts[key].to_matrix(value)
        return self._nbytes(
            np.swapaxes(matrix, -1, -2).reshape(-1, matrix.shape[-2])
        )


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
        weight, *biases = self.variables
        value = self._problem.refit(mask)
        yield weight, value
        for bias in biases:
            shift = self._problem.shift(value).reshape(self._bias.shape)
            yield bias, self._bias + shift


def bias_of(linear):
    """Returns a layer's bias with a weight for each output, or `None`."""
    bias, (stack, _, outputs) = linear.layer.bias, linear.sizes
    is_einsum = isinstance(linear.layer, keras.layers.EinsumDense)
    if bias is None or (is_einsum and stack > 1):
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
