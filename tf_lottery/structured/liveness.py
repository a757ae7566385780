"""Liveness of units under unstructured masks.

A unit is read if some weight that is kept leads from it to a unit that is
read, or to the output. A unit varies if some weight that is kept leads to it
from a unit that varies, or from the input.
"""

import collections

import numpy as np

from tf_lottery.criteria import units


class Liveness:
    """The kept weights of a model as ways between its classes."""

    def __init__(self, graph, masks):
        self.graph = graph
        self.masks = masks
        self._axes = collections.defaultdict(list)
        for binding in graph.bindings:
            self._axes[binding.key].append(binding)

    def read(self, removed):
        """Returns which classes are read, where those removed read nothing."""
        readers = [b for b in self.graph.bindings if _reads(b)]
        # A mean square reads without a weight.
        found = self.graph.cleared.copy()
        found[0] = True

        def step(binding):
            return self._reaching(binding, found & ~removed, _makes)

        return _spread(found, readers[::-1], step)

    def varying(self):
        """Returns which classes vary with the input, likewise."""
        found = np.zeros(self.graph.size, bool)
        found[0] = True
        found[self._without_kernel()] = True
        makers = [
            b
            for b in self.graph.bindings
            if _makes(b) and not units.is_bias(b)
        ]

        def step(binding):
            return self._reaching(binding, found, _reads_other)

        return _spread(found, makers, step)

    def weights_of(self, binding, ids):
        """Returns whether a weight that is kept reads each of some ids.

        `ids` are the units that count on the other side.
        """
        return self._reaching(binding, ids, _makes)

    def _reaching(self, binding, ends, is_end):
        """Which slices have a kept weight that ends where `ends` is true."""
        shape = tuple(binding.variable.shape)
        mask = self.masks.get(binding.key)
        mask = np.ones(shape, bool) if mask is None else np.asarray(mask)
        for other in self._axes[binding.key]:
            if other.axis != binding.axis and is_end(other):
                mask = np.compress(ends[other.ids], mask, other.axis)
        rest = tuple(i for i in range(mask.ndim) if i != binding.axis)
        return mask.any(axis=rest)

    def _without_kernel(self):
        """Classes that some producer makes without a kernel."""
        producers = np.zeros(self.graph.size, int)
        for producer in self.graph.producers:
            producers[np.unique(producer.ids)] += 1
        kernels = np.zeros(self.graph.size, int)
        for binding in self.graph.bindings:
            if _makes(binding) and not units.is_bias(binding):
                kernels[np.unique(binding.ids)] += 1
        return producers > kernels


def _reads(binding):
    return binding.kind in ("in", "zero")


def _makes(binding):
    return binding.kind in ("out", "zero")


def _reads_other(binding):
    return binding.kind == "in"


def _spread(found, bindings, step):
    """Adds what bindings reach to `found` until nothing is added."""
    while True:
        before = np.count_nonzero(found)
        for binding in bindings:
            reached = np.asarray(binding.ids)[step(binding)]
            found[reached] = True
        if np.count_nonzero(found) == before:
            return found
