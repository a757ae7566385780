"""Searching: units are kept by what the outputs of a model lose."""

import functools

from keras import ops

from tf_lottery import weights as weights_lib
from tf_lottery.criteria import batches as batches_lib
from tf_lottery.search import allocation
from tf_lottery.search import measuring
from tf_lottery.search import samples as samples_lib
from tf_lottery.structured import randomising

SCOPE = "search"
# The last one leaves what has to stay.
_RATIOS = (*measuring.RATIOS, 0.999)
# Examples that outputs are compared on.
_SAMPLES = 256


class Searcher:
    """A chooser that gives every group a ratio of its own.

    Each group is narrowed by itself to several ratios. What the outputs
    change by is taken to add up, and the ratios that add up to the least are
    found by dynamic programming (SPDY, Frantar and Alistarh 2022, algorithm
    1, https://arxiv.org/abs/2201.13096).

    Args:
        chooser: `choosing.Chooser` of scope `"layer"`.
        costs: `costs.Costs`.
        name: String, what is to be less: a budget, of which
            `"latency_ms"` counts multiply-accumulates.
        data: Data to compare outputs on; labels are not looked at.
    """

    def __init__(self, chooser, costs, name, data):
        self.graph, self._chooser = chooser.graph, chooser
        self._costs = costs
        self._name = {"latency_ms": "macs"}.get(name, name)
        inputs = samples_lib.inputs_of(
            batches_lib.labelled(data), _SAMPLES
        )
        samples_lib.check(self.graph.model, data=inputs)
        self._allocator = allocation.Allocator(
            self._errors(inputs), self._cost
        )

    def kept(self, ratio):
        """Returns the classes kept, see `choosing.Chooser.kept`.

        Args:
            ratio: Float in [0, 1), the fraction of the cost to remove.
        """
        return self._kept(self._allocator.within(
            (1 - ratio) * self._allocator.whole
        ))

    def _kept(self, levels):
        return self._chooser.kept([_RATIOS[level] for level in levels])

    def _cost(self, levels):
        kept = self._kept(levels)
        if self._name == "ratio":
            return sum(
                int(kept[cell.ids].sum()) for cell in self._chooser.cells
            )
        return self._costs.count(kept)[self._name]

    def _errors(self, inputs):
        distance = measuring.Distance(self.graph.model, inputs)
        variables = weights_lib.variables(self.graph.model)
        number = len(self.graph.groups)

        def left(group, level):
            levels = [0] * number
            levels[group] = level
            return randomising.left(self.graph, self._kept(levels))

        def measure(group, level):
            masks = left(group, level)
            changed = [variables[key] for key in masks]
            with measuring.restored(changed, [
                ops.convert_to_numpy(variable) * mask
                for variable, mask in zip(changed, masks.values())
            ]):
                return distance()

        readers = [
            [variables[key] for key in left(group, len(_RATIOS) - 1)]
            for group in range(number)
        ]
        found = [None] * number
        for group in sorted(
            range(number), key=lambda g: distance.first(readers[g])
        ):
            distance.start_at(readers[group])
            found[group] = measuring.curve(
                len(_RATIOS), functools.partial(measure, group)
            )
        return found
