"""The base class of criteria, and what they may look at."""

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import TypeAlias

import keras
import numpy as np
from keras import ops

from tf_lottery import graph as graph_lib
from tf_lottery.utils import checks
from tf_lottery.utils import configurations
from tf_lottery.utils import types

# From the masks so far to the scores of weights.
Scorer: TypeAlias = Callable[
    [Mapping[str, np.ndarray]], dict[str, np.ndarray]
]

# From a model and its variables to their scores.
Function: TypeAlias = Callable[[Any, Any], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Context:
    """What a criterion may look at besides the model.

    Attributes:
        data: Arrays `(x, y)` or `(x, y, sample_weight)`, a `tf.data.Dataset`
            or a `keras.utils.PyDataset` of such batches. Defaults to `None`.
        loss: Loss function, or its name, of `(y_true, y_pred)`. Defaults to
            `None`: the one the model was compiled with.
        snapshot: Dict from weight key to array, the weights at an earlier
            moment of training. Defaults to `None`.
        masks: Dict from weight key to boolean array, `True` = kept, the masks
            so far. Defaults to `None`: nothing is pruned yet.
    """

    data: types.Data | None = None
    loss: types.Loss | None = None
    snapshot: Mapping[str, np.ndarray] | None = None
    masks: types.Masks | None = None


def masks_so_far(variables, context):
    """Returns the masks of a context, or those that keep all."""
    return context.masks or {
        key: np.ones(tuple(variable.shape), bool)
        for key, variable in variables.items()
    }


class Criterion:
    """Scores weights: the higher, the more it is worth to keep one.

    A criterion only scores. Which weights are ranked together is the scope,
    what is kept together is the pattern.

    Attributes:
        name: String by which `tf_lottery.criteria.get` knows it.
        iterations: Integer, in how many steps `tf_lottery.prune` goes to the
            sparsity asked for, scoring again before each of them.
        needs_data: Boolean, whether it looks at data.
        needs_snapshot: Boolean, whether it compares with earlier weights.
    """

    name: str | None = None
    iterations = 1
    needs_data = False
    needs_snapshot = False

    def check_data(self, data: types.Data | None) -> None:
        """Raises a `ValueError` if it needs data and there are none.

        Args:
            data: What it is going to be given, or `None`.
        """

    def score_units(
        self, graph: graph_lib.Graph, masks: types.Masks
    ) -> np.ndarray | None:
        """Returns the scores of whole channels and units, higher = keep.

        Args:
            graph: `tf_lottery.graph.Graph`.
            masks: Dict from weight key to boolean array, `True` = kept.

        Returns:
            Float array over the ids of the graph, NaN where there is no
            score; `None`, as it is here, where a unit's score comes from
            those of its weights.
        """
        return None

    def prepare(
        self, model: keras.Model, variables: types.Variables, context: Context
    ) -> Scorer:
        """Returns a function that scores weights under given masks.

        Whatever is the same for all masks (data, traced functions) is done
        here, once. Neither this nor the function changes the model.

        Args:
            model: The `keras.Model` the weights belong to.
            variables: Dict from weight key to `keras.Variable`.
            context: `Context`.

        Returns:
            Callable that takes a dict from weight key to boolean array, the
            masks, and returns a dict from weight key to array of scores.
            What it returns for pruned weights does not matter.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement `prepare`."
        )

    def __call__(
        self,
        model: keras.Model,
        variables: types.Variables,
        context: Context = Context(),
    ) -> dict[str, np.ndarray]:
        """Returns the scores of weights, higher = keep.

        Args:
            model: The `keras.Model` the weights belong to. It is left as it
                was.
            variables: Dict from weight key to `keras.Variable`.
            context: `Context`. Defaults to an empty one.

        Returns:
            Dict from weight key to an array of the variable's shape.
        """
        masks = masks_so_far(variables, context)
        return self.prepare(model, variables, context)(masks)

    def update(
        self,
        model: keras.Model,
        variables: types.Variables,
        masks: types.Masks,
        context: Context = Context(),
    ) -> dict[str, np.ndarray]:
        """Returns new values for the weights that stay, once others are gone.

        Args:
            model: The `keras.Model` the weights belong to.
            variables: Dict from weight key to `keras.Variable`, with their
                values before pruning.
            masks: Dict from weight key to boolean array, what is kept.
            context: `Context`.

        Returns:
            Dict from weight key to array; empty, as it is here, where the
            criterion leaves the weights as they are.
        """
        return {}

    def prepare_both(
        self, model: keras.Model, variables: types.Variables, context: Context
    ) -> tuple[Scorer, Scorer]:
        """Returns what `prepare` does, and `update` as a function of masks.

        Whatever is the same for both is done once, here or when one of them
        is called first: the model must be as it is now then.

        Args:
            model: The `keras.Model` the weights belong to.
            variables: Dict from weight key to `keras.Variable`.
            context: `Context`.

        Returns:
            Pair of callables. The second takes a dict from weight key to
            boolean array, the masks of some weights, and returns a dict from
            weight key to array.
        """
        return self.prepare(model, variables, context), lambda masks: (
            self.update(
                model, {key: variables[key] for key in masks}, masks, context
            )
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return configurations.of_arguments(self)


class WeightCriterion(Criterion):
    """A criterion that looks at each weight's own values and nothing else.

    Subclasses implement `score_weight(key, values)`.
    """

    def score_weight(self, key: str, values: np.ndarray) -> np.ndarray:
        """Returns the scores of one weight.

        Args:
            key: String, the weight key.
            values: Array of the weight's values; may be changed in place.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement `score_weight`."
        )

    def prepare(
        self, model: keras.Model, variables: types.Variables, context: Context
    ) -> Scorer:
        return lambda masks: {
            key: self.score_weight(key, _values(variable))
            for key, variable in variables.items()
        }


class FunctionCriterion(Criterion):
    """A criterion of the user's: a function of model and variables.

    Args:
        function: Callable that takes the model and a dict from weight key to
            variable, and returns a dict from weight key to array of scores.
            It sees the weights with what is pruned so far at zero.
    """

    def __init__(self, function: Function) -> None:
        checks.takes(
            "criterion", function, 2, "a callable of `(model, variables)`"
        )
        self.function = function
        self.name = getattr(
            function, "__qualname__", type(function).__qualname__
        )

    def prepare(
        self, model: keras.Model, variables: types.Variables, context: Context
    ) -> Scorer:
        def scores(masks):
            before = {k: _values(v) for k, v in variables.items()}
            try:
                for key, variable in variables.items():
                    if (before[key][~masks[key]] != 0).any():
                        variable.assign(np.where(masks[key], before[key], 0))
                return self.function(model, variables)
            finally:
                for key, variable in variables.items():
                    variable.assign(before[key])

        return scores


# What `tf_lottery.criteria.get` takes.
Identifier: TypeAlias = str | Criterion | type[Criterion] | Function


def _values(variable):
    """A variable's values, in memory of our own."""
    values = ops.convert_to_numpy(variable)
    return values if values.flags.owndata else np.array(values)
