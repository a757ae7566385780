"""From scores and a ratio to the classes that are kept."""

import collections
import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """Classes of a group that all its producers hold alike.

    Attributes:
        group: Integer, index of the group.
        ids: Integer array of class ids, best first.
        counts: Integer array, the numbers of classes that may be kept.
    """

    group: int
    ids: np.ndarray
    counts: np.ndarray

    def nearest(self, wanted):
        """Returns the allowed number next to `wanted`, the larger of two."""
        distance = np.abs(self.counts - wanted)
        return int(self.counts[np.flatnonzero(distance == distance.min())[-1]])


class Chooser:
    """Keeps the best classes of every group, whatever the ratio.

    Every producer keeps at least `round_to` units of its own, or all it has:
    a group that is ranked as a whole could empty one of them.

    Args:
        graph: `tf_lottery.graph.Graph`.
        scores: Float array over ids, see `scores.score`.
        scope: `"global"` or `"layer"`.
        round_to: Integer, the kept units of every producer are a multiple of
            it, or all.
        pinned: Set of class ids that are kept in any case.
    """

    def __init__(self, graph, scores, scope, round_to, pinned):
        self.graph = graph
        self.round_to = round_to
        self.pinned = pinned
        self.scores = _normalised(graph, scores, pinned)
        self.scope = scope
        self.cells = [
            cell
            for index, group in enumerate(graph.groups)
            for cell in self._cells(index, group)
        ]
        free = [cell.ids for cell in self.cells]
        self.order = np.concatenate(free) if free else np.zeros(0, int)
        # Stable, so that ties stay with the first unit of the first group.
        worst = np.argsort(-self.scores[self.order], kind="stable")
        self.order = self.order[worst]

    def kept(self, ratio):
        """Returns the boolean array over ids, `True` = kept.

        Args:
            ratio: Float in [0, 1), the fraction of classes to remove, of each
                group or of all together; for `"layer"` also a list of such,
                one for each group of the graph.
        """
        wanted = self._wanted(ratio)
        kept = np.ones(self.graph.size, bool)
        touched = {c.group for c in self.cells if not wanted[c.ids].all()}
        for cell in self.cells:
            if cell.group in touched:
                count = cell.nearest(np.count_nonzero(wanted[cell.ids]))
                kept[cell.ids[count:]] = False
        for group in self.graph.groups:
            if not all(self._is_round(p, kept) for p in group.producers):
                kept[group.classes] = True
        return kept

    def _wanted(self, ratio):
        """The best classes at a ratio, before anything is rounded."""
        wanted = np.zeros(self.graph.size, bool)
        if self.scope == "global":
            wanted[self.order[: _remaining(len(self.order), ratio)]] = True
            return wanted
        of_group = collections.defaultdict(list)
        for cell in self.cells:
            of_group[cell.group].append(cell.ids)
        ratios = np.broadcast_to(ratio, len(self.graph.groups)).tolist()
        for index, parts in of_group.items():
            ids = np.concatenate(parts)
            ids = ids[np.argsort(-self.scores[ids], kind="stable")]
            wanted[ids[: _remaining(len(ids), ratios[index])]] = True
        return wanted

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
            ids = np.array(ids)
            ids = ids[np.argsort(-self.scores[ids], kind="stable")]
            steps = [
                self.round_to // math.gcd(self.round_to, n) for n in held if n
            ]
            step = math.lcm(*steps)
            rounded = np.arange(step, len(ids) + 1, step)
            if alone or not len(rounded):
                rounded = np.unique([*rounded, len(ids)])
            yield Cell(index, ids, rounded)


def _remaining(size, ratio):
    return size - round(ratio * size)


def _normalised(graph, scores, pinned):
    """Scores divided by the mean of their group, to be compared globally."""
    scores = scores.copy()
    for group in graph.groups:
        ids = [i for i in group.classes.tolist() if i not in pinned]
        mean = scores[ids].mean() if ids else 0
        if mean > 0:
            scores[ids] /= mean
    return scores
