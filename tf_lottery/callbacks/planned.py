"""Groups of units that plans take away between two rounds."""

import functools
import warnings
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import TypeAlias

import keras
import numpy as np

from tf_lottery import constraints
from tf_lottery import graph as graph_lib
from tf_lottery import schedules
from tf_lottery import structured
from tf_lottery.callbacks import pruner
from tf_lottery.pruning import rules
from tf_lottery.structured import planning
from tf_lottery.structured import plans
from tf_lottery.utils import checks

Planner: TypeAlias = Callable[[keras.Model, Any], structured.Plan]


class Planned:
    """The weights that plans prune, as `pruning.prunable.Prunable` has them.

    The first plan is made at once, so that what is wrong with it shows before
    training. `variables` are all that belong to units that can go, biases and
    normalisation as well; `how` says in plain values how plans are made.
    """

    def __init__(
        self, model: keras.Model, planner: Planner, rate: Any
    ) -> None:
        self.model, self._planner, self._rate = model, planner, rate
        self._graph = graph = graph_lib.trace(model)
        first = self._plan(1, {})
        first.kept(graph)
        self.variables = plans.variables_of(graph)
        if not self.variables:
            raise ValueError(
                f"Model '{model.name}' has no units that a plan can remove:\n"
                f"{first.report()}"
            )
        # That of a budget depends on the weights.
        self.how = {**first.arguments}
        self.how.pop("reached_ratio", None)

    def masks(self) -> dict[str, np.ndarray]:
        return constraints.current_masks(self.variables)

    def next_masks(
        self,
        masks: Mapping[str, np.ndarray],
        round: int,
        first: Mapping[str, np.ndarray],
    ) -> dict[str, np.ndarray]:
        """Returns masks without what is to be gone in a round, too, or warns.

        `first` are those of round 0.
        """
        fewer = self._plan(round, first).masks(self.model)
        found = {
            key: mask & fewer.get(key, True) for key, mask in masks.items()
        }
        if all(np.array_equal(found[key], masks[key]) for key in masks):
            warnings.warn(
                f"Round {round} trains what round {round - 1} did: `plan` "
                "removes no more units. More may have to go at once (`rate`), "
                "or `plan` does not follow its argument `ratio`.",
                stacklevel=2,
            )
        return found

    def _plan(self, round, first):
        ratio = _ratio(
            self._rate, round, functools.partial(_share, self._graph, first)
        )
        plan = self._planner(self.model, ratio)
        checks.kind(
            "plan", plan, structured.Plan,
            "a callable that returns a `tf_lottery.structured.Plan`",
        )
        return plan


def check(plan, rate, criterion, rule):
    """Raises unless arguments of `IterativeMagnitudePruning` fit a plan."""
    checks.takes("plan", plan, 2, "a callable `f(model, ratio)`")
    if callable(rate):
        checks.refuse("rate", rate, "a float or a dict where `plan` is given")
    given = {"criterion": pruner.name_of(criterion), **rule.to_dict()}
    usual = {"criterion": "magnitude", **rules.Rule().to_dict()}
    others = {k: v for k, v in given.items() if v != usual[k]}
    if others:
        raise ValueError(
            "Argument `plan` says what is scored, ranked together and left "
            "alone, so these are arguments of `tf_lottery.structured.plan` "
            f"instead. Received, beside `plan`: {others}"
        )


def name_of(planner):
    """Returns the name of a callable, also of one with arguments bound."""
    return pruner.name_of(getattr(planner, "func", planner))


def _ratio(rate, round, gone):
    """The part of the units, by pattern, that is gone after so many rounds."""
    if not isinstance(rate, Mapping):
        return 1 - (1 - gone("*")) * (1 - rate) ** round
    return {
        key: 1 - (1 - gone(key)) * (1 - value) ** round
        for key, value in rate.items()
    }


def _share(graph, masks, pattern):
    """The part of the units of some groups that masks have taken."""
    if not masks:
        return 0
    gone = planning.gone(graph, masks)
    groups = [
        gone[group.classes] for group in graph.groups
        if schedules.matches(pattern, f"{group.name}/units")
    ]
    return np.concatenate(groups).mean().item() if groups else 0
