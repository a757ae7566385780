"""Cutting weights, masks and optimizer slots along the same slices."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Cut:
    """What is cut out of every weight of a model, by weight key.

    Attributes:
        slices: Lists of `(axis, mask)`, the mask `True` = kept.
        scales: Floats that weights are multiplied by, with `shifts` added to
            them before, and taken away after.
        weights: Boolean arrays: what is left of such weights is a vector.
        others: See `rebuilding.rebuild`.
    """

    slices: dict
    scales: dict
    shifts: dict
    weights: dict = dataclasses.field(default_factory=dict)
    others: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, graph, kept):
        """Returns the cut that keeps some classes of a graph."""
        return cls(graph.slices(kept), graph.scales(kept), graph.shifts)

    def array(self, key, array):
        """Returns what is left of an array shaped like a weight."""
        if key in self.weights:
            return array[self.weights[key]]
        for axis, mask in self.slices.get(key, ()):
            array = np.compress(mask, array, axis)
        return array

    def cuts(self, key):
        """Whether less than all of a weight is left."""
        return key in self.slices or key in self.weights

    def put(self, key, whole, part):
        """Writes what `array` returned back to where it was taken from."""
        if key in self.weights:
            whole[self.weights[key]] = part
            return
        kept = [np.ones(size, bool) for size in whole.shape]
        for axis, mask in self.slices.get(key, ()):
            kept[axis] = kept[axis] & mask
        whole[np.ix_(*kept) if kept else ...] = part

    def value(self, key, array):
        """Returns what the weight of the small model is, exactly.

        Where it is scaled that takes float64.
        """
        array = self.array(key, array)
        if key not in self.scales:
            return array
        shift = self.shifts[key]
        return (array.astype("float64") + shift) * self.scales[key] - shift

    def values(self, arrays):
        """Returns what the weights of the small model are, by key."""
        return {key: self.value(key, a) for key, a in arrays.items()}

    def without_axis(self, key, array, lost, rank):
        """Returns what is left of an array that lacks one axis of a weight."""
        axes = [axis for axis in range(rank) if axis != lost]
        for axis, mask in self.slices.get(key, ()):
            if axis != lost:
                array = np.compress(mask, array, axes.index(axis))
        return array


def optimizer_arrays(arrays, names, cut):
    """Cuts the variables of an optimizer as the weights `labels` tell."""
    found = []
    for array, label in zip(arrays, names, strict=True):
        if label is None:
            found.append(array)
            continue
        key, _, lost, rank = label
        if lost is None:
            found.append(cut.array(key, array))
        else:
            found.append(cut.without_axis(key, array, lost, rank))
    return found
