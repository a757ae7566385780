"""Channels: whole units are removed, so that shapes are smaller."""

import warnings

import numpy as np

from tf_lottery import structured
from tf_lottery import weights as weights_lib
from tf_lottery.copies import making
from tf_lottery.graph import tracing
from tf_lottery.search import measuring
from tf_lottery.structured import choosing
from tf_lottery.structured import planning
from tf_lottery.structured import plans
from tf_lottery.structured import randomising
from tf_lottery.structured import scores as scores_lib
from tf_lottery.structured import shrinking
from tf_lottery.structured import slices


class Channels:
    """The groups of channels that can be removed, in order of magnitudes.

    Args:
        model: A built `keras.Model` without masks, a copy that may change.

    Attributes:
        names: List of strings, the groups.
        sizes: List of integers, how many channels each has.
        skipped: Dict from layer to why its channels stay.
        readers: Dict from weight key to `keras.Variable`: what reads them.

    Raises:
        ValueError: If the model cannot be traced, or has no such channels.
    """

    def __init__(self, model, exclude):
        self._graph = graph = tracing.trace(model)
        scores = scores_lib.score(graph)
        pinned, self._excluded = planning.pinned_classes(
            graph, exclude, scores, "magnitude"
        )
        self._chooser = choosing.Chooser(graph, scores, "layer", 1, pinned)
        self.names = [group.name for group in graph.groups]
        self.sizes = list(map(len, graph.groups))
        self.skipped = {f.path: f.reason for f in graph.frozen} | {
            entry["path"]: entry["reason"] for entry in self._excluded
        }
        if not self._chooser.cells:
            raise ValueError(
                f"Model '{model.name}' has no channels that can be removed: "
                f"{self.skipped}. Expected: a target where zeros pay, such "
                "as 'size', or other layers."
            )
        self.readers = {
            b.key: b.variable for b in graph.bindings if b.kind == "in"
        }
        self._costs = structured.Costs(graph)
        self._twin = making.Twin(model, weights_lib.variables(model), {})

    def kept(self, levels):
        """Returns which classes of the graph stay, a boolean array."""
        return self._chooser.kept([measuring.RATIOS[level] for level in levels])

    def removed(self, kept):
        """Returns the fraction of each group that is gone."""
        return [
            1 - float(kept[group.classes].mean())
            for group in self._graph.groups
        ]

    def macs(self, kept):
        """Returns the multiply-accumulates of one sample."""
        return self._costs.count(kept)["macs"]

    def cut(self, kept):
        """Returns the `structured.slices.Cut` of all weights."""
        return slices.Cut.of(self._graph, kept)

    def read(self, kept):
        """Returns masks of what kernels read still, by weight key."""
        masks = {}
        for binding in self._graph.bindings:
            mask = kept[binding.ids]
            if binding.kind == "in" and not mask.all():
                shape = [1] * len(binding.variable.shape)
                shape[binding.axis] = -1
                before = masks.get(
                    binding.key, np.ones(tuple(binding.variable.shape), bool)
                )
                masks[binding.key] = before & mask.reshape(shape)
        return masks

    def zeroed(self, kept):
        """Returns the variables that `zero` changes."""
        found = randomising.left(self._graph, kept)
        return [self._twin.variables[key] for key in found]

    def zero(self, kept):
        """Zeroes what reads the channels that go."""
        randomising.zero_readers(self._twin, self._graph, kept)

    def shrunk(self, kept):
        """Returns the small model."""
        plan = plans.plan_of(
            self._graph, kept, self._costs.count(self._graph.kept()),
            self._costs.count(kept), {}, self._excluded,
        )
        with warnings.catch_warnings():
            # Training begins anew, if it does.
            warnings.filterwarnings("ignore", ".*exact trajectory")
            return structured.shrink(self._graph.model, plan)

    def keys(self, kept):
        """Returns what the weights of the small model are called, by key."""
        return shrinking.keys_of(self._graph, kept)
