"""Weights: single ones are removed, where zeros are worth something."""

import numpy as np
from keras import ops

from tf_lottery.compression import refits
from tf_lottery.pruning import prunable
from tf_lottery.pruning import rules
from tf_lottery.search import measuring

# Weights are scored anew once this fraction of those that stayed is left.
_RENEWED = 0.55
_NEVER = 255
_LEVELS = len(measuring.DENSITIES)
# The width, in bits, at which the error of rounding is measured.
_MEASURED = 4


class Weights:
    """The weights that can be pruned, and in which order each one's go.

    Args:
        model: A built `keras.Model` without masks, a copy that may change.
        before: Dict from weight key to boolean array, masks to begin with.
        nbytes: Function from a weight as a matrix, outputs by inputs, to what
            it takes in a file.
        widths: List of what weights may be rounded to, in bits, or `None` for
            not at all, which is the first.

    Attributes:
        names: List of strings, the weight keys.
        variables: Dict from weight key to `keras.Variable`.
        skipped: Dict from weight key to why it is left alone.
        gone: Dict from weight key to array: the first level at which each
            weight is gone.
    """

    def __init__(
        self, model, before, nbytes, exclude, include, widths=(None,)
    ):
        self._nbytes, self._widths = nbytes, widths
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
        level %= _LEVELS
        return self.gone[key] > level if level else self._before[key]

    def bits(self, level):
        """Returns what a weight is rounded to at a level, or `None`."""
        return self._widths[level // _LEVELS]

    def measure(self, key, problem, distance):
        """Finds what goes at each density, and what that does and costs.

        Weights go in the order of optimal brain compression, scored anew on
        the way, and those that stay are refit. Levels are the densities, and
        then the same again for each width: rounding adds an error that falls
        with the square of its step, and with the weights that are left.

        Args:
            problem: `refits.Refit`.

        Returns:
            Tuple of two arrays: errors and costs.
        """
        mask, scores, scored = self._before[key], None, 0
        gone = np.where(mask, _NEVER, 0).astype("uint8")
        for level, density in enumerate(measuring.DENSITIES):
            keep = max(1, min(round(density * mask.size), int(mask.sum())))
            if scores is None or keep < _RENEWED * scored:
                scores, scored = problem.costs(mask), keep
            mask = self._prunable.select_feasible(
                {key: scores}, [keep], {key: mask}, [[key]]
            )[key]
            gone[~mask & (gone == _NEVER)] = level
        self.gone[key], costs = gone, {0: self.costs(key)}

        def measure(level):
            for variable, value in problem.values(self.mask(key, level)):
                variable.assign(value)
            costs[level] = self.costs(key)
            return distance()

        distance.start_at(problem.variables)
        rounding = 0.0
        if self._widths[1:]:
            with measuring.restored(*zip(*problem.rounded(_MEASURED))):
                rounding = distance()
        with measuring.restored(problem.variables):
            errors = measuring.curve(_LEVELS, measure)
        return np.concatenate([
            errors + rounding * np.array(measuring.DENSITIES) * (
                bits is not None and _noise(bits) / _noise(_MEASURED)
            )
            for bits in self._widths
        ]), np.concatenate([
            measuring.between(list(costs), found, _LEVELS)
            for found in zip(*costs.values())
        ])

    def costs(self, key):
        """Returns about what a weight takes in a file now, at each width."""
        value = ops.convert_to_numpy(self.variables[key])
        matrix = self._prunable.layouts[key].to_matrix(value)
        matrix = np.moveaxis(matrix, -1, 0).reshape(matrix.shape[-1], -1)
        return [
            self._nbytes(refits.nearest(matrix, bits, 1) if bits else matrix)
            for bits in self._widths
        ]


def _noise(bits):
    """The variance of what rounding changes, up to a factor."""
    return (2 ** (bits - 1) - 1) ** -2.0
