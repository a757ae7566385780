"""Units: weights that are kept or pruned together, in one or many arrays.

Block and channel patterns differ only in what a unit is. Its score pools the
scores of its surviving weights, its size is their number.
"""

import abc

import numpy as np

from tf_lottery.patterns import pattern


class UnitPattern(pattern.Pattern):
    """Base of patterns that differ in what a unit is, and in nothing else.

    The fewest that are kept are the best unit of each key.
    """

    @abc.abstractmethod
    def _units(self, scores, masks, layouts):
        """Returns the `Units` of some weights; arguments as of `select`."""

    def _select(self, scores, masks, keep, allow_collapse, layouts):
        return self._units(scores, masks, layouts).keep(keep, allow_collapse)

    def _fewest(self, scores, masks, allow_collapse, layouts):
        return self._units(scores, masks, layouts).fewest(allow_collapse)


class Units:
    """The units of some weights, with their scores and sizes.

    Args:
        grids: Dict of key to `Grid`; a block belongs to one unit.
        pool: String, `"sum"`, `"mean"`, `"l2"` or `"max"`.
        ids: Dict of key to the number of each block's unit, which several
            blocks may share; those of number 0 are never pruned. Defaults to
            `None`: every block is a unit.
    """

    def __init__(self, scores, masks, grids, pool, ids=None):
        self._masks, self._grids = masks, grids
        self._counts = {k: g.count(masks[k]) for k, g in grids.items()}
        self._numbers, self._fixed = _number(grids, ids)
        self._size = np.zeros(len(self._fixed), np.int32)
        for key, count in self._counts.items():
            np.add.at(self._size, self._numbers[key], count)
        self._order = self._rank(scores, pool)

    def keep(self, number, allow_collapse=False):
        """Returns masks of the best units, about `number` weights together.

        The number of units is the one that comes nearest, the smaller of two
        equally near. Equal scores are kept in order of the units.
        """
        if not len(self._order):
            self._check_fixed(number)
        chosen = self._choose(number, self._fixed)
        if not allow_collapse and self._collapsed(chosen):
            always = self._fixed | self._best()
            alive = [k for k, count in self._counts.items() if count.any()]
            self._check_fixed(number)
            pattern.check_room(number, self._sum(always), alive, "unit")
            chosen = self._choose(number, always)
        return {
            key: grid.spread(chosen[self._numbers[key]]) & self._masks[key]
            for key, grid in self._grids.items()
        }

    def _check_fixed(self, number):
        fixed = self._sum(self._fixed)
        if number < fixed:
            raise ValueError(
                f"{fixed:,} of the weights lie in units that cannot be pruned "
                "(of outputs, or mixed by a layer such as "
                "LayerNormalization; `tf_lottery.structured.plan(model, "
                "ratio=0).report()` lists them with the reason), so no fewer "
                f"can be kept. Received: keep={number}"
            )

    def fewest(self, allow_collapse=False):
        """Returns the number of weights in the best unit of each key.

        With `allow_collapse` that of the units that cannot be pruned.
        """
        if allow_collapse:
            return self._sum(self._fixed)
        return self._sum(self._fixed | self._best())

    def _rank(self, scores, pool):
        """Units that may be pruned, the best first."""
        pooled = np.full(len(self._size), -np.inf if pool == "max" else 0.0)
        for key, grid in self._grids.items():
            given = scores[key], self._masks[key]
            if pool == "max":
                ufunc, values = np.maximum, grid.highest(*given)
            else:
                ufunc, values = np.add, grid.total(*given, pool == "l2")
            ufunc.at(pooled, self._numbers[key], values)
        if pool == "mean":
            pooled /= np.maximum(self._size, 1)
        elif pool == "l2":
            np.sqrt(pooled, out=pooled)
        out = (self._size == 0) | self._fixed
        np.negative(pooled, out=pooled)
        pooled[out] = np.inf
        order = np.argsort(pooled, kind="stable")
        return order[: len(order) - np.count_nonzero(out)]

    def _choose(self, number, always):
        order = self._order
        if always.any():
            order = order[~always[order]]
        reached = np.cumsum(self._size[order], dtype=np.int64)
        units = _nearest(reached, number - self._sum(always))
        chosen = always.copy()
        chosen[order[:units]] = True
        return chosen

    def _collapsed(self, chosen):
        return any(
            count.any() and not count[chosen[self._numbers[key]]].any()
            for key, count in self._counts.items()
        )

    def _best(self):
        """The best unit of each key that could lose all its weights."""
        place = np.full(len(self._size), len(self._order))
        place[self._order] = np.arange(len(self._order))
        best = np.zeros(len(self._size), bool)
        for key, count in self._counts.items():
            numbers = np.arange(len(best))[self._numbers[key]][count > 0]
            if len(numbers) and not self._fixed[numbers].any():
                best[self._order[place[numbers].min()]] = True
        return best

    def _sum(self, chosen):
        return int(self._size[chosen].sum(dtype=np.int64))


def _number(grids, ids):
    """Indices of every key's blocks among the units, and which are fixed."""
    ends = np.cumsum([0, *(len(grid) for grid in grids.values())]).tolist()
    if ids is None:
        slices = map(slice, ends, ends[1:])
        return dict(zip(grids, slices)), np.zeros(ends[-1], bool)
    joined = np.concatenate([[], *(np.ravel(ids[key]) for key in grids)])
    found, place = np.unique(joined, return_inverse=True)
    pieces = np.split(place.reshape(-1), ends[1:-1])
    return dict(zip(grids, pieces)), found == 0


def _nearest(reached, number):
    """How many units come nearest to `number` weights."""
    units = int(np.searchsorted(reached, number))
    below = int(reached[units - 1]) if units else 0
    if units == len(reached) or number <= below:
        return units
    return units + (int(reached[units]) - number < number - below)
