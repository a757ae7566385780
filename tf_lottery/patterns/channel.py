"""Whole output units."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from tf_lottery.patterns import grid
from tf_lottery.patterns import layouts as layouts_lib
from tf_lottery.patterns import pattern
from tf_lottery.patterns import units as units_lib
from tf_lottery.utils import checks

_POOLS = {"relative": "mean", "mean": "mean", "l1": "sum", "l2": "l2"}


@dataclasses.dataclass(frozen=True)
class Channel(units_lib.UnitPattern):
    """All weights of an output unit are kept or pruned together.

    An output unit is a column of a Dense kernel, a filter of a convolution,
    a pair of input channel and multiplier of a depthwise one, one entry of
    one head of an attention projection, one column of one gate of a
    recurrent kernel.

    A unit's score is pooled over its surviving weights' scores: `"mean"` is
    their mean, `"l1"` their sum (the L1 norm of the filter when they are
    magnitudes: Li et al., "Pruning Filters for Efficient ConvNets",
    arXiv:1608.08710), `"l2"` the root of the sum of their squares. Compared
    over layers, those favour layers of large weights or of many inputs, and
    soon leave others a bottleneck; `"relative"` is the mean of the scores,
    each divided by the mean absolute score of its layer, as in DepGraph
    (Fang et al., arXiv:2301.12900). The number of weights kept is the one
    nearest to what is asked, the smaller of two equally near.

    Args:
        units: Dict of weight key to `(axes, ids)`: the axis (or axes) whose
            entries are units, and an integer array of their shape. Entries
            with the same id are one unit, in as many weights as there are;
            id 0 is never pruned, nor are keys that are not named. Ids are a
            model's own, so the string of the pattern leaves them out.
            Defaults to `None`: the outputs of each weight.
        readers: Dict of weight key to `(axes, ids)`, in the same way: the
            entries that read a unit. They are pruned with it, so that it can
            be removed without a trace, and count among the weights that are
            kept or not. Defaults to `None`: they stay.
        norm: String, `"relative"`, `"mean"`, `"l1"` or `"l2"`. Defaults to
            `"relative"`.

    Raises:
        ValueError: If `norm` is unknown or `units` is not such a dict.

    Example:

    >>> kernel = np.array([[1., 5., 2.], [4., 3., 1.]])
    >>> kept = tfl.masks.select({"fc/kernel": kernel}, 4, pattern="channel")
    >>> kept["fc/kernel"].astype(int).tolist()
    [[1, 1, 0], [1, 1, 0]]
    """

    units: Mapping | None = dataclasses.field(
        default=None, compare=False, repr=False
    )
    norm: str = "relative"
    readers: Mapping | None = dataclasses.field(
        default=None, compare=False, repr=False
    )

    name = "channel"
    forms = ("channel", "channel:mean", "channel:l1", "channel:l2")

    def __post_init__(self):
        checks.choice("norm", self.norm, _POOLS)
        for name in ("units", "readers"):
            given = getattr(self, name)
            checks.optional(checks.mapping, name, given)
            if given is not None:
                checked = {k: _check_ids(name, k, v) for k, v in given.items()}
                object.__setattr__(self, name, checked)

    @property
    def spec(self) -> str:
        """String such as `"channel"` or `"channel:l2"`."""
        return self.name + (
            "" if self.norm == "relative" else f":{self.norm}"
        )

    @classmethod
    def parse(cls, spec: str) -> "Channel | None":
        """See `Pattern`."""
        name, colon, norm = spec.partition(":")
        if name != cls.name:
            return None
        return cls(norm=norm) if colon else cls()

    def _units(self, scores, masks, layouts):
        if self.norm == "l2":
            _check_positive(scores, masks)
        if self.norm == "relative":
            scores = {
                key: _relative(score, masks[key])
                for key, score in scores.items()
            }
        shapes = {key: score.shape for key, score in scores.items()}
        found = layouts_lib.complete(layouts, shapes)
        if self.units is None:
            axes = {key: found[key].outputs for key in shapes}
            ids = None
        else:
            _check_coupling(self.units, shapes)
            # What is not named is one block of id 0.
            default = ((), np.zeros((), np.int64))
            pairs = {key: self.units.get(key, default) for key in shapes}
            axes = {key: pair[0] for key, pair in pairs.items()}
            ids = {key: pair[1] for key, pair in pairs.items()}
            _check_shapes(pairs, shapes)
        grids = {
            key: grid.Grid(shape, _slices(len(shape), axes[key]), None, 1)
            for key, shape in shapes.items()
        }
        made = units_lib.Units(scores, masks, grids, _POOLS[self.norm], ids)
        return _Read(made, masks, self) if self.readers else made


class _Read:
    """Units that go with what reads them, so that nothing does."""

    def __init__(self, units, masks, pattern):
        self._units, self._masks, self._pattern = units, masks, pattern

    def keep(self, number, allow_collapse):
        """Returns masks of the best units, nearly `number` weights together.

        What is asked of the units falls short by their readers, so the number
        asked for is bisected; the smaller of two equally near is taken.
        """
        low = min(self._units.fewest(allow_collapse), number)
        high = _count(self._masks)
        best = self._unread(low, allow_collapse)
        while low < high:
            middle = (low + high + 1) // 2
            found = self._unread(middle, allow_collapse)
            if abs(_count(found) - number) < abs(_count(best) - number):
                best = found
            if _count(found) > number:
                high = middle - 1
            else:
                low = middle
        return best

    def fewest(self, allow_collapse):
        """Returns the number of weights that the fewest units leave."""
        least = self._units.fewest(allow_collapse)
        return _count(self._unread(least, allow_collapse))

    def _unread(self, number, allow_collapse):
        """Masks of some units, without what reads the others."""
        masks = self._units.keep(number, allow_collapse)
        made = {k: v for k, v in self._pattern.units.items() if k in masks}
        alive = _joined(
            ids[masks[key].any(_others(masks[key].ndim, axes))]
            for key, (axes, ids) in made.items()
        )
        gone = np.setdiff1d(_joined(ids for _, ids in made.values()), alive)
        for key, (axes, ids) in self._pattern.readers.items():
            if key in masks:
                read = ~np.isin(ids, gone)
                others = _others(masks[key].ndim, axes)
                masks[key] = masks[key] & np.expand_dims(read, others)
        return masks


def _relative(score, mask):
    """Scores as multiples of their mean absolute value."""
    total = np.abs(score, where=mask, out=np.zeros(score.shape)).sum()
    if not total:
        return score
    return score * (np.count_nonzero(mask) / total)


def _count(masks):
    return sum(int(np.count_nonzero(mask)) for mask in masks.values())


def _joined(ids):
    """Ids of several arrays, and 0, which nothing prunes."""
    return np.concatenate([[0], *map(np.ravel, ids)])


def _others(ndim, axes):
    return tuple(axis for axis in range(ndim) if axis not in axes)


def _slices(ndim, axes):
    """The layout in which every entry of `axes` is an output."""
    return layouts_lib.Layout(_others(ndim, axes), axes)


def _check_ids(name, key, pair):
    try:
        axes, ids = pair
        axes = tuple(int(axis) for axis in np.atleast_1d(axes))
        ids = np.asarray(ids)
    except (TypeError, ValueError):
        axes, ids = (), np.zeros(0)
    right = np.issubdtype(ids.dtype, np.integer) and ids.ndim == len(axes)
    if not right or (ids < 0).any():
        raise ValueError(
            f"Argument `{name}` must be a dict from weight key to (axes, ids), "
            "ids an array of integers from 0 on with one dimension for each "
            f"axis. Received: {pair!r} for {key!r}"
        )
    return axes, ids


def _check_shapes(pairs, shapes):
    for key, (axes, ids) in pairs.items():
        shape = shapes[key]
        fits = all(0 <= axis < len(shape) for axis in axes)
        if not fits or ids.shape != tuple(shape[axis] for axis in axes):
            raise ValueError(
                f"Argument `units` does not fit {key!r} of shape {shape}. "
                f"Received: axes {axes} with ids of shape {ids.shape}"
            )


def _check_coupling(units, ranked):
    """Raises if a unit lies partly in weights that are not ranked now."""
    owner = {
        number: key
        for key in units if key not in ranked
        for number in np.unique(units[key][1]).tolist() if number
    }
    for key in ranked:
        for number in np.unique(units[key][1]) if key in units else ():
            if int(number) in owner:
                raise ValueError(
                    f"Unit {number} couples {key!r} with "
                    f"{owner[int(number)]!r}, so both must be ranked "
                    "together: with one rate, and scope 'global'. Or give "
                    "the unit id 0, then it is never pruned. Received: "
                    f"scores of {pattern.brief(ranked)}"
                )


def _check_positive(scores, masks):
    for key, score in scores.items():
        if ((score < 0) & masks[key]).any():
            raise ValueError(
                "Channels by norm 'l2' need scores that are not negative; "
                "use norm 'l1', the sum, or 'mean'. Received: a negative "
                f"score of {key!r}"
            )
