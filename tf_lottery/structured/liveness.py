"""Liveness of units under unstructured masks.

A unit is read if some weight that is kept leads from it to a unit that is
read, or to the output. A unit varies if some weight that is kept leads to it
from a unit that varies, or from the input.
"""

import collections

import numpy as np

from tf_lottery.criteria import units

_READS, _MAKES = ("in", "zero"), ("out", "zero")


class Liveness:
    """The kept weights of a model as ways between its classes."""

    def __init__(self, graph, masks):
        self.graph = graph
        self.masks = masks
        self._axes = collections.defaultdict(list)
        for binding in graph.bindings:
            self._axes[binding.key].append(binding)
        self._makers = [
            b for b in graph.bindings
            if b.kind in _MAKES and not units.is_bias(b)
        ]

    def read(self, removed):
        """Returns which classes are read, where those removed read nothing."""
        readers = [b for b in self.graph.bindings if b.kind in _READS]
        # A mean square reads without a weight.
        found = self.graph.cleared.copy()
        found[0] = True

        def step(binding):
            return self.weights_of(binding, found & ~removed)

        return _spread(found, readers[::-1], step)

    def varying(self):
        """Returns which classes vary with the input, likewise."""
        found = np.zeros(self.graph.size, bool)
        found[0] = True
        found[self._without_kernel()] = True

        def step(binding):
            return self.weights_of(binding, found, ("in",))

        return _spread(found, self._makers, step)

    def weights_of(self, binding, ends, kinds=_MAKES):
        """Returns which slices have a kept weight that leads to `ends`.

        These are the units that count on the other side, where the weight is
        bound in one of some kinds.
        """
        shape = tuple(binding.variable.shape)
        mask = self.masks.get(binding.key)
        mask = np.ones(shape, bool) if mask is None else np.asarray(mask)
        for other in self._axes[binding.key]:
            if other.axis != binding.axis and other.kind in kinds:
                mask = np.compress(ends[other.ids], mask, other.axis)
        rest = tuple(i for i in range(mask.ndim) if i != binding.axis)
        return mask.any(axis=rest)

    def _without_kernel(self):
        """Classes that some producer makes without a kernel."""
        producers = np.zeros(self.graph.size, int)
        for producer in self.graph.producers:
            producers[np.unique(producer.ids)] += 1
        kernels = np.zeros(self.graph.size, int)
        for binding in self._makers:
            kernels[np.unique(binding.ids)] += 1
        return producers > kernels


def _spread(found, bindings, step):
    """Adds what bindings reach to `found` until nothing is added."""
    while True:
        before = np.count_nonzero(found)
        for binding in bindings:
            reached = np.asarray(binding.ids)[step(binding)]
            found[reached] = True
        if np.count_nonzero(found) == before:
            return found
