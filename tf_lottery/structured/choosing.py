"""From scores and a ratio to the classes that are kept."""

import collections
import dataclasses
import math

import numpy as np

from tf_lottery import schedules
from tf_lottery.structured import equal_widths
from tf_lottery.structured import plans


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """Classes of a group that all its producers hold alike, best first.

    `counts` are the numbers of them that may be kept.
    """

    group: int
    ids: np.ndarray
    counts: np.ndarray

    def nearest(self, wanted, least):
        """Returns the allowed number next to `wanted`, the larger of two.

        Where none is at least `least`, all are kept.
        """
        counts = self.counts[self.counts >= least]
        if not len(counts):
            return len(self.ids)
        distance = np.abs(counts - wanted)
        return int(counts[np.flatnonzero(distance == distance.min())[-1]])


class Chooser:
    """Keeps the best classes of every group, whatever the ratio.

    Every producer keeps at least `round_to` units of its own, or all it has:
    a group that is ranked as a whole could empty one of them. Pinned classes
    are kept in any case; those that masks have taken already go first.
    """

    def __init__(
        self, graph, scores, scope, round_to, pinned, max_ratio=1.0, gone=None
    ):
        gone = np.zeros(graph.size, bool) if gone is None else gone
        self.graph = graph
        self.round_to = round_to
        self.pinned = pinned
        self.scope = scope
        if scope == "global":
            scores = _normalised(graph, scores, pinned, gone)
        self.scores = np.where(gone, -np.inf, scores)
        # Those that stay at any ratio.
        self._first = np.zeros(graph.size, bool)
        self.cells = [
            cell
            for index, group in enumerate(graph.groups)
            for cell in self._cells(index, group)
        ]
        of_group = collections.defaultdict(list)
        for cell in self.cells:
            of_group[cell.group].append(cell.ids)
        # Ids of every group that is not pinned whole, best first.
        self._ids = {
            index: self._sorted(np.concatenate(parts))
            for index, parts in of_group.items()
        }
        most = self.per_group(max_ratio, "max_ratio", default=1.0)
        for index, ids in self._ids.items():
            least = len(ids) - math.floor(most[index] * len(ids) + 1e-9)
            self._first[ids[:least]] = True
        self._pools = self._pooled()

    def per_group(self, values, name, default=0.0):
        """Returns a list of the number that every group is given.

        By a float for all, a dict by pattern of their names, or that list.
        """
        if np.ndim(values) == 1:
            return list(values)
        names = [f"{group.name}/units" for group in self.graph.groups]
        found = schedules.match(values, names, default, name) if names else {}
        return [found[name] for name in names]

    def kept(self, ratio):
        """Returns the boolean array over ids, `True` = kept.

        The ratio is the fraction of classes to remove, of each group, of all
        together or of all that are alike; a dict or list gives it by group.
        """
        wanted = self._wanted(ratio)
        kept = np.ones(self.graph.size, bool)
        touched = {c.group for c in self.cells if not wanted[c.ids].all()}
        for cell in self.cells:
            if cell.group in touched:
                count = cell.nearest(
                    np.count_nonzero(wanted[cell.ids]),
                    np.count_nonzero(self._first[cell.ids]),
                )
                kept[cell.ids[count:]] = False
        for group in self.graph.groups:
            if not all(self._is_round(p, kept) for p in group.producers):
                kept[group.classes] = True
        equal_widths.equalise(self.graph, kept, self._sorted)
        return kept

    def _wanted(self, ratio):
        """The best classes at a ratio, before anything is rounded."""
        wanted = np.zeros(self.graph.size, bool)
        ratios = self.per_group(ratio, "ratio")
        for index, ids in self._pools:
            remaining = len(ids) - round(ratios[index] * len(ids))
            wanted[ids[:remaining]] = True
        return wanted | self._first

    def _pooled(self):
        """Pairs of the first group, and the ids, of what is ranked as one."""
        pools = {}
        for index, ids in self._ids.items():
            key = index
            if self.scope == "global":
                key = None
            elif self.scope == "isomorphic":
                key = _shape(self.graph, self.graph.groups[index])
            pools.setdefault(key, []).append((index, ids))
        return [
            (parts[0][0], self._sorted(np.concatenate([i for _, i in parts])))
            for parts in pools.values()
        ]

    def _sorted(self, ids):
        """Ids with the best first; ties stay with the first unit."""
        return ids[np.lexsort((-self.scores[ids], ~self._first[ids]))]

    def _is_round(self, producer, kept):
        mask = kept[producer.ids]
        return bool(mask.all()) or mask.sum() % self.round_to == 0

    def _cells(self, index, group):
        """Splits a group by how often each producer holds a class."""
        counts = [collections.Counter(p.ids.tolist()) for p in group.producers]
        members = collections.defaultdict(list)
        for id_ in group.classes.tolist():
            if id_ not in self.pinned:
                members[tuple(c[id_] for c in counts)].append(id_)
        alone = len(members) == 1
        for held, ids in members.items():
            ids = self._sorted(np.array(ids))
            steps = [
                self.round_to // math.gcd(self.round_to, n) for n in held if n
            ]
            step = math.lcm(*steps)
            rounded = np.arange(step, len(ids) + 1, step)
            if alone or not len(rounded):
                rounded = np.unique([*rounded, len(ids)])
            yield Cell(index, ids, rounded)


def _shape(graph, group):
    """What groups have in common that are the same place in like blocks."""
    return len(group), tuple(sorted(
        (
            type(binding.layer).__name__, binding.index, binding.axis,
            binding.kind, tuple(binding.variable.shape),
        )
        for binding in plans.bindings_of(graph, group)
    ))


def _normalised(graph, scores, pinned, gone):
    """Scores divided by the mean of their group, to be compared globally."""
    scores = scores.copy()
    for group in graph.groups:
        ids = [
            i for i in group.classes.tolist()
            if i not in pinned and not gone[i]
        ]
        mean = scores[ids].mean() if ids else 0
        if mean > 0:
            scores[ids] /= mean
    return scores
