"""Integer ids for channel units, and which of them are one and the same.

A tensor is described by an integer array with one axis per axis of the tensor
but the batch; an axis along which the ids do not vary has size 1, so that
unknown sizes cost nothing.
"""

import numpy as np


class Units:
    """A union-find over integers; the smallest id stands for its class.

    A class can be frozen, with a reason; a union with it freezes the rest.

    Example:

    >>> from tf_lottery.graph.units import Units
    >>> units = Units()
    >>> a, b = units.fresh(2), units.fresh(2)
    >>> units.union(a, b[::-1])
    >>> units.freeze(a[:1], "model output")
    >>> units.final(b)
    array([2, 0])
    """

    def __init__(self):
        self._parents = np.arange(64)
        # Of roots only.
        self._frozen = np.zeros(64, bool)
        self._reasons = {}
        self.joins = 0
        # Id 0 stands for all that is frozen.
        self.size = 1

    def fresh(self, count):
        """Returns an array of `count` new ids."""
        start, self.size = self.size, self.size + count
        if self.size > len(self._parents):
            parents = np.arange(2 * self.size)
            parents[: len(self._parents)] = self._parents
            frozen = np.zeros(len(parents), bool)
            frozen[: len(self._frozen)] = self._frozen
            self._parents, self._frozen = parents, frozen
        return np.arange(start, self.size)

    def constant(self, reason):
        """Returns a new id, a 0-dimensional array, that is frozen."""
        ids = self.fresh(1)
        self.freeze(ids, reason)
        return ids.reshape(())

    def find(self, ids):
        """Returns the smallest id of the class of every id."""
        roots = self._parents[ids]
        while True:
            above = self._parents[roots]
            if np.array_equal(above, roots):
                break
            roots = above
        self._parents[ids] = roots
        return roots

    def union(self, a, b):
        """Makes ids at the same position one class, broadcasting."""
        a, b = np.broadcast_arrays(self.find(a), self.find(b))
        different = a != b
        if not different.any():
            return
        pairs = np.unique(a[different] * self.size + b[different])
        for pair in pairs.tolist():
            self._join(*divmod(pair, self.size))

    def united(self, parts):
        """Makes ids of several arrays one class each; returns them broadcast.
        """
        ids, *others = parts
        for other in others:
            self.union(ids, other)
            ids = np.broadcast_arrays(ids, other)[0]
        return ids

    def tie(self, ids, axis=None):
        """Makes all ids along an axis (or all ids) one class."""
        first = ids.ravel()[:1] if axis is None else ids.take([0], axis)
        self.union(first, ids)

    def freeze(self, ids, reason):
        """Freezes the classes of ids; the first reason stays."""
        for root in np.unique(self.find(np.asarray(ids))).tolist():
            self._reasons.setdefault(root, reason)
            self._frozen[root] = True

    def reasons(self, ids):
        """Returns the list of the reasons of frozen ids, `None` if not."""
        return [self._reasons.get(root) for root in self.find(ids).tolist()]

    def final(self, ids):
        """Returns the class of every id, 0 if it is frozen."""
        roots = self.find(ids)
        return np.where(self._frozen[roots], 0, roots)

    def varies(self, ids, axis):
        """Whether ids are of different classes along an axis."""
        if ids.shape[axis] == 1:
            return False
        classes = self.final(ids)
        return bool((classes != classes.take([0], axis)).any())

    def varying(self, ids):
        """Returns the list of the axes along which ids vary."""
        return [axis for axis in range(ids.ndim) if self.varies(ids, axis)]

    def collapse(self, ids):
        """Returns ids with size 1 along the axes where they do not vary."""
        for axis in range(ids.ndim):
            if ids.shape[axis] > 1 and not self.varies(ids, axis):
                ids = ids.take([0], axis)
        return ids

    def _join(self, a, b):
        a, b = self._root(a), self._root(b)
        if a == b:
            return
        self.joins += 1
        a, b = min(a, b), max(a, b)
        self._parents[b] = a
        reason = self._reasons.pop(b, None)
        if reason is not None:
            self._reasons.setdefault(a, reason)
            self._frozen[a] = True

    def _root(self, id_):
        parents = self._parents
        while parents[id_] != id_:
            parents[id_] = parents[parents[id_]]
            id_ = int(parents[id_])
        return id_
