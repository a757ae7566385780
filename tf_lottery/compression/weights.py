"""Weights: single ones are removed, where zeros are worth something."""

import numpy as np
from keras import ops

from tf_lottery import copies
from tf_lottery import criteria
from tf_lottery import holding
from tf_lottery.compression import measuring
from tf_lottery.criteria import batches as batches_lib
from tf_lottery.criteria import layer_inputs
from tf_lottery.criteria import obc
from tf_lottery.pruning import prunable
from tf_lottery.pruning import rules

# Fractions of a weight that stay.
DENSITIES = (
    1.0, 0.85, 0.7, 0.6, 0.5, 0.41, 0.33, 0.26, 0.2, 0.15, 0.11, 0.08, 0.055,
    0.035, 0.02,
)
# Weights are scored anew once this fraction of those that stayed is left.
_RENEWED = 0.6
_NEVER = 255


class Weights:
    """Every weight at every density: what goes, and what that does.

    Weights go in the order of optimal brain compression, scored anew on the
    way, and those that stay are refit by least squares; where the layer is
    none that `criteria.OBC` knows, in the order of magnitudes.

    Args:
        model: A built `keras.Model` without masks, a copy that may change.
        before: Dict from weight key to boolean array, masks to begin with.
        inputs: Array or a structure of arrays, to calibrate on.
        nbytes: Function from a weight as a matrix, outputs by inputs, to what
            it takes in a file.
        exclude: See `tf_lottery.prune`.
        include: See `tf_lottery.prune`.

    Attributes:
        names: List of strings, the weight keys.
        errors: List of arrays: the distance of the outputs with a weight
            alone at each density.
        cost: Function from a list of levels to a float, bytes.
        skipped: Dict from weight key to why it is left alone.
    """

    unit = "weights"

    def __init__(self, model, before, inputs, nbytes, exclude, include):
        self._model, self._inputs, self._nbytes = model, inputs, nbytes
        self._prunable = prunable.Prunable(model, rules.Rule(
            "layer", "unstructured", "keep-one", exclude, include
        ))
        variables = self._prunable.variables
        self.names = list(variables)
        self.skipped = {
            w.key: w.reason for w in self._prunable.weights if w.reason
        }
        self._before = {
            key: before.get(key, np.ones(tuple(variable.shape), bool))
            for key, variable in variables.items()
        }
        self._known = {
            key: variables[key]
            for key in layer_inputs.known_maps(model, variables)
        }
        self._problems, self._gone = None, {}

    def measure(self, say):
        """Finds what goes at each density, and what that costs."""
        distance = measuring.Distance(self._model, self._inputs)
        errors, costs = {}, {}
        for key, problem in self._parts():
            say(f"measuring {key}")
            with measuring.restored([self._prunable.variables[key]]):
                errors[key], costs[key] = self._of_part(
                    key, problem, distance
                )
        return {
            "names": self.names,
            "errors": [errors[key] for key in self.names],
            "costs": [costs[key] for key in self.names],
        }, {key: self._gone[key] for key in self.names}

    def use(self, tables, gone):
        """Takes what `measure` returned."""
        self.errors = [np.array(e, float) for e in tables["errors"]]
        self.costs = [np.array(c, float) for c in tables["costs"]]
        self._gone = gone

    def cost(self, levels):
        return sum(cost[level] for cost, level in zip(self.costs, levels))

    def sizes(self):
        """Returns the number of weights of each part."""
        return [mask.size for mask in self._before.values()]

    def removed(self, levels):
        """Returns the fraction of each part that is gone at its level."""
        return [
            float(np.mean(self._gone[key] <= level))
            for key, level in zip(self.names, levels)
        ]

    def model_at(self, levels):
        """Returns a copy of the model with its weights removed and refit."""
        level_of, values = dict(zip(self.names, levels)), {}
        masks = {
            key: self._gone[key] > level for key, level in level_of.items()
        }
        for key, problem in self._parts():
            if level_of[key]:
                values[key] = problem.refit(masks[key])
        variables = self._prunable.variables
        with measuring.restored([variables[key] for key in values]):
            for key, value in values.items():
                variables[key].assign(value)
            made = copies.strip(self._model)
        return self._held(made, masks)

    def empty_at(self, levels):
        """Returns a copy of the model that such weights can be read into."""
        return self._held(copies.strip(self._model), {
            key: self._gone[key] > level
            for key, level in zip(self.names, levels)
        })

    def _held(self, made, masks):
        if made.compiled and getattr(made, "optimizer", None) is not None:
            holding.hold(made, {k: m for k, m in masks.items() if not m.all()})
        return made

    def _parts(self):
        """Yields each weight key and its problem."""
        if self._problems is None and self._known:
            number = batches_lib.len_of(self._inputs)
            self._problems = obc.Problems(
                criteria.OBC(), self._model, self._known,
                criteria.Context(
                    data=(self._inputs, np.zeros(number)),
                    masks={key: self._before[key] for key in self._known},
                ),
            )
        yield from self._problems or ()
        for key, variable in self._prunable.variables.items():
            if key not in self._known:
                yield key, _Magnitude(ops.convert_to_numpy(variable))

    def _of_part(self, key, problem, distance):
        before = self._before[key]
        mask, scores, scored = before, None, 0
        gone = np.where(before, _NEVER, 0).astype("uint8")
        variable = self._prunable.variables[key]
        layout = self._prunable.layouts[key]
        errors, costs = [], []
        for level, density in enumerate(DENSITIES):
            keep = max(1, min(round(density * mask.size), int(mask.sum())))
            if scores is None or keep < _RENEWED * scored:
                scores, scored = problem.costs(mask), keep
            mask = self._prunable.select_feasible(
                {key: scores}, [keep], {key: mask}, [[key]]
            )[key]
            gone[~mask & (gone == _NEVER)] = level
            value = problem.refit(mask) if level else (
                ops.convert_to_numpy(variable)
            )
            variable.assign(value)
            errors.append(distance() if level else 0.0)
            matrix = np.swapaxes(layout.to_matrix(value), -1, -2)
            costs.append(self._nbytes(
                np.reshape(matrix, (-1, matrix.shape[-1]))
            ))
        self._gone[key] = gone
        return errors, costs


class _Magnitude:
    """A weight whose layer least squares do not know."""

    def __init__(self, values):
        self._values = np.array(values)

    def costs(self, mask):
        return np.square(self._values)

    def refit(self, mask):
        return np.where(mask, self._values, 0)
