"""Channels: whole units are removed, where smaller shapes are what counts."""

import numpy as np

from tf_lottery import criteria
from tf_lottery import structured
from tf_lottery import weights as weights_lib
from tf_lottery.compression import measuring
from tf_lottery.copies import making
from tf_lottery.criteria import batches as batches_lib
from tf_lottery.criteria import layer_inputs
from tf_lottery.criteria import obc
from tf_lottery.graph import tracing
from tf_lottery.structured import choosing
from tf_lottery.structured import planning
from tf_lottery.structured import plans
from tf_lottery.structured import randomising
from tf_lottery.structured import scores as scores_lib

# Fractions of a group that go.
RATIOS = (0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.8125, 0.875, 0.9375)


class Channels:
    """Every group of channels at every width: what goes, what that does.

    Channels go in the order of their magnitudes. What reads them is refit by
    least squares to make up for them, where `criteria.OBC` knows the layer
    (He et al. 2017, section 3.1, https://arxiv.org/abs/1707.06168).

    Args:
        model: See `weights.Weights`.
        inputs: See `weights.Weights`.
        exclude: See `structured.plan`.

    Attributes:
        names: List of strings, the groups.
        errors: See `weights.Weights`.
        cost: Function from a list of levels to an integer,
            multiply-accumulates of one sample.
        skipped: Dict from layer to why its channels stay.
    """

    unit = "channels"

    def __init__(self, model, inputs, exclude):
        self._model, self._inputs = model, inputs
        self._graph = graph = tracing.trace(model)
        scores = scores_lib.score(graph)
        pinned, excluded = planning.pinned_classes(
            graph, exclude, scores, "magnitude"
        )
        self._chooser = choosing.Chooser(graph, scores, "layer", 1, pinned)
        self._excluded = excluded
        self.names = [group.name for group in graph.groups]
        self.skipped = {f.path: f.reason for f in graph.frozen} | {
            entry["path"]: entry["reason"] for entry in excluded
        }
        if not self._chooser.cells:
            raise ValueError(
                f"Model '{model.name}' has no channels that can be removed: "
                f"{self.skipped}. Expected: a target where zeros pay, such "
                "as 'size', or other layers."
            )
        self._costs = structured.Costs(graph)
        self._variables = weights_lib.variables(model)
        self._twin = making.Twin(model, self._variables, {})
        self._problems = None

    def measure(self, say):
        """Finds what the outputs lose with each group at each width."""
        distance, errors = measuring.Distance(self._model, self._inputs), []
        levels = [0] * len(self.names)
        for index, name in enumerate(self.names):
            say(f"measuring {name}")
            errors.append([0.0])
            for level in range(1, len(RATIOS)):
                kept = self._kept(
                    [*levels[:index], level, *levels[index + 1:]]
                )
                with measuring.restored(self._variables.values()):
                    self._remove(kept)
                    errors[-1].append(distance())
        return {"names": self.names, "errors": errors}, {}

    def use(self, tables, gone):
        """Takes what `measure` returned."""
        self.errors = [np.array(e, float) for e in tables["errors"]]

    def cost(self, levels):
        return self._costs.count(self._kept(levels))["macs"]

    def sizes(self):
        """Returns the number of channels of each part."""
        return list(map(len, self._graph.groups))

    def removed(self, levels):
        """Returns the fraction of each part that is gone at its level."""
        kept = self._kept(levels)
        return [
            1 - float(kept[group.classes].mean())
            for group in self._graph.groups
        ]

    def model_at(self, levels):
        """Returns a smaller model, with what stays refit."""
        kept = self._kept(levels)
        with measuring.restored(self._variables.values()):
            self._remove(kept)
            return structured.shrink(self._model, plans.plan_of(
                self._graph, kept, self._costs.count(self._graph.kept()),
                self._costs.count(kept), {}, self._excluded,
            ))

    empty_at = model_at

    def _kept(self, levels):
        return self._chooser.kept([RATIOS[level] for level in levels])

    def _remove(self, kept):
        """Zeroes what reads the channels that go, and refits it."""
        masks = {}
        for binding in self._graph.bindings:
            mask = kept[binding.ids]
            if binding.kind == "in" and not mask.all():
                shape = [1] * len(binding.variable.shape)
                shape[binding.axis] = -1
                masks[binding.key] = masks.get(binding.key, True) & (
                    np.broadcast_to(
                        mask.reshape(shape), binding.variable.shape
                    )
                )
        problems = self._least_squares()
        values = {
            key: problems[key].refit(mask) for key, mask in masks.items()
            if key in problems
        }
        randomising.zero_readers(self._twin, self._graph, kept)
        for key, value in values.items():
            self._variables[key].assign(value)

    def _least_squares(self):
        if self._problems is None:
            readers = {
                b.key: b.variable for b in self._graph.bindings
                if b.kind == "in"
            }
            known = layer_inputs.known_maps(self._model, readers)
            number = batches_lib.len_of(self._inputs)
            self._problems = known and dict(obc.Problems(
                criteria.OBC(), self._model,
                {key: readers[key] for key in known},
                criteria.Context(data=(self._inputs, np.zeros(number))),
            ))
        return self._problems
