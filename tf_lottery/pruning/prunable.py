"""The weights of a model that can be pruned, and the rule for them."""

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_lottery import constraints
from tf_lottery import criteria
from tf_lottery import graph
from tf_lottery import masks as masks_lib
from tf_lottery import schedules
from tf_lottery import weights as weights_lib
from tf_lottery.patterns import Channel
from tf_lottery.patterns import layouts
from tf_lottery.patterns.pattern import brief
from tf_lottery.pruning import allocation
from tf_lottery.pruning import collapse
from tf_lottery.pruning import rules
from tf_lottery.utils import types


class Prunable:
    """What pruning has to know of a model, found in one walk through it.

    Attributes:
        model: The model.
        weights: List of `tf_lottery.weights.Weight`, all of the model's.
        variables: Dict from weight key to `keras.Variable`, the prunable
            ones.
        owners: Dict from weight key to variable and layer, of `weights`.
        layouts: Dict from weight key to `tf_lottery.masks.Layout`.
        rule: The rule, with a pattern that knows which channels of the model
            go together.

    Raises:
        ValueError: If there is nothing to prune.
    """

    def __init__(self, model: keras.Model, rule: rules.Rule) -> None:
        self.model = model
        self.weights = weights_lib.inspect(model, rule.exclude, rule.include)
        self.variables = weights_lib.prunable_of(model, self.weights)
        self.owners = {w.key: (w.variable, w.layer) for w in self.weights}
        self.layouts = layouts.layouts_of(self.weights)
        self.rule = dataclasses.replace(
            rule, pattern=bind(rule.pattern, model, self.variables)
        )

    def masks(self) -> dict[str, np.ndarray]:
        """Returns the masks that the weights hold, by key."""
        return constraints.current_masks(self.variables)

    def rates(
        self,
        rate: types.Fraction,
        name: str = "rate",
        allow_zero: bool = False,
    ) -> dict[str, float]:
        """Returns the rate of each weight; 0 where no pattern fits."""
        schedules.validate_rate(rate, name, allow_zero)
        patterns = rate if isinstance(rate, dict) else {"*": rate}
        matched = weights_lib.resolve(self.weights, patterns, name)
        return {key: matched.get(key, 0.0) for key in self.variables}

    def allocate(
        self,
        rates: Mapping[str, float],
        masks: Mapping[str, np.ndarray],
        count: Callable[..., Any],
    ) -> tuple[list[list[str]], list[int]]:
        """Returns which weights are ranked together, and how many stay.

        Args:
            count: `allocation.at_sparsity`, `after_rate` or `at_most`.

        Returns:
            Pair of a list of lists of keys, and a list of integers.
        """
        return allocation.allocate(
            rates, masks, self.rule.scope,
            allocation.counted(count, rates, masks, self.rule.allows_collapse),
        )

    def select(
        self,
        scores: Mapping[str, np.ndarray],
        keep: Sequence[int],
        masks: Mapping[str, np.ndarray],
        groups: Sequence[Sequence[str]],
    ) -> dict[str, np.ndarray]:
        """Returns the masks that keep so many of each group, or raises."""
        return masks_lib.select(
            scores, keep, masks, groups, self.rule.pattern,
            self.rule.allows_collapse, self.layouts,
        )

    def select_feasible(
        self,
        scores: Mapping[str, np.ndarray],
        keep: Sequence[int],
        masks: Mapping[str, np.ndarray],
        groups: Sequence[Sequence[str]],
    ) -> dict[str, np.ndarray]:
        """Returns them with no fewer than the pattern allows."""
        return allocation.select_feasible(
            scores, keep, masks, groups, self.rule, self.layouts
        )

    def next_masks(
        self,
        scores: Mapping[str, np.ndarray],
        masks: Mapping[str, np.ndarray],
        rates: Mapping[str, float],
    ) -> dict[str, np.ndarray]:
        """Returns the masks after a round, see `allocation.next_masks`."""
        return allocation.next_masks(
            scores, masks, rates, self.rule, self.layouts
        )

    def update(
        self,
        criterion: criteria.Criterion,
        masks: Mapping[str, np.ndarray],
        context: criteria.Context,
    ) -> None:
        """Gives the weights that stay what a criterion makes of them."""
        values = criterion.update(self.model, self.variables, masks, context)
        for key, value in values.items():
            self.variables[key].assign(value)

    def report(
        self, masks: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray]
    ) -> None:
        """Tells of collapse, as the rule says; see `collapse.report`."""
        collapse.report(
            self.model, masks, self.rule.collapse, before, self.layouts
        )


def bind(pattern, model, variables):
    """Returns a pattern that knows which channels of a model go together.

    Raises:
        ValueError: If no channel of these weights can be removed.
    """
    if not isinstance(pattern, Channel) or pattern.units is not None:
        return pattern
    units = graph.channel_units(model, list(variables))
    if not any(np.any(ids) for _, ids in units.values()):
        _raise_no_channel(model, pattern, variables)
    readers = graph.channel_readers(model, list(variables))
    return dataclasses.replace(pattern, units=units, readers=readers)


def _raise_no_channel(model, pattern, variables):
    traced = graph.trace(model)
    kept = "; ".join(f"{f.path}: {f.reason}" for f in traced.frozen)
    raise ValueError(
        f"Pattern '{pattern}' has nothing to remove: none of the channels of "
        f"{brief(variables)} in model '{model.name}' can go. Cannot be "
        f"removed: {kept or 'channels of other weights'}. Received: "
        f"pattern={pattern.spec!r}. Expected: a layer before the last whose "
        "channels nothing else needs, or pattern 'unstructured'."
    )
