"""N of every M consecutive weights."""

import dataclasses
import math
import re
from collections.abc import Mapping

import numpy as np

from tf_lottery.patterns import grid
from tf_lottery.patterns import layouts as layouts_lib
from tf_lottery.patterns import pattern
from tf_lottery.patterns import selection
from tf_lottery.utils import checks

_AXES = ("input", "output")
_PIECE = 1 << 17


@dataclasses.dataclass(frozen=True)
class NM(pattern.Pattern):
    """At most N of every M consecutive weights are kept, the best ones.

    2:4 along the reduction dimension is what sparse tensor cores run: Mishra
    et al., "Accelerating Sparse Deep Neural Networks", arXiv:2104.08378.
    Groups start anew at every position of a kernel. Where the dimension does
    not divide by M, its last group is shorter and keeps N all the same, or
    all it has; so the density is N/M or somewhat more. Ties go to the lower
    index. Groups that have lost weights before keep their best N survivors.

    The pattern fixes the density; less is refused, whether layers may
    collapse or not. On the way there, over rounds of iterative pruning, no
    group falls below N: the best N of each group stay, and the best of all
    others fill up the number to keep, until none are left; from then on
    nothing changes. To keep N/M means the pattern, also where short groups
    make that a few weights more.

    Args:
        n: Integer, weights kept in a group. Defaults to `2`.
        m: Integer, size of a group. Defaults to `4`.
        axis: String, `"input"` groups along the reduction dimension,
            `"output"` along the outputs. Defaults to `"input"`.

    Raises:
        ValueError: Unless 1 <= n < m and `axis` is known.

    Example:

    >>> kernel = np.array([[1.], [5.], [2.], [3.], [0.], [1.]])
    >>> kept = tfl.masks.select({"fc/kernel": kernel}, 4, pattern="2:4")
    >>> kept["fc/kernel"][:, 0].astype(int).tolist()
    [0, 1, 0, 1, 1, 1]
    """

    n: int = 2
    m: int = 4
    axis: str = "input"

    name = "n:m"
    forms = ("2:4", "2:4:output")

    def __post_init__(self):
        checks.whole("n", self.n)
        checks.whole("m", self.m)
        if self.n >= self.m:
            raise ValueError(
                "An N:M pattern needs integers 1 <= n < m. "
                f"Received: n={self.n!r}, m={self.m!r}"
            )
        checks.choice("axis", self.axis, _AXES)

    @property
    def spec(self) -> str:
        """String such as `"2:4"` or `"1:4:output"`."""
        axis = "" if self.axis == "input" else f":{self.axis}"
        return f"{self.n}:{self.m}{axis}"

    @classmethod
    def parse(cls, spec: str) -> "NM | None":
        """See `Pattern`."""
        found = re.fullmatch(r"([0-9]+):([0-9]+)(?::([a-z]+))?", spec)
        if not found:
            return None
        return cls(int(found[1]), int(found[2]), found[3] or "input")

    def _select(self, scores, masks, keep, allow_collapse, layouts):
        found = self._layouts(masks, layouts)
        best = {
            key: self._best(scores[key], masks[key], found[key])
            for key in scores
        }
        least = sum(int(np.count_nonzero(mask)) for mask in best.values())
        size = sum(mask.size for mask in best.values())
        if keep < math.floor(size * self.n / self.m) and keep < least:
            self._refuse(keep, least, size)
        if keep > least:
            rest = {key: masks[key] & ~best[key] for key in scores}
            selection.keep_best(scores, rest, keep - least, out=rest)
            for key in scores:
                best[key] |= rest[key]
        return best

    def _fewest(self, scores, masks, allow_collapse, layouts):
        found = self._layouts({key: masks[key] for key in scores}, layouts)
        least = 0
        for key, layout in found.items():
            groups = grid.Grid(masks[key].shape, layout, self.m, 1)
            least += int(np.minimum(groups.count(masks[key]), self.n).sum())
        return least

    def one_step(
        self,
        keep: int,
        masks: Mapping[str, np.ndarray],
        layouts: Mapping[str, layouts_lib.Layout] | None = None,
    ) -> int:
        """Returns how many weights the pattern leaves; see `Pattern`.

        Raises:
            ValueError: If `keep` is neither that nor N/M of all weights.
        """
        least = self.fewest(masks, masks, layouts)
        size = sum(mask.size for mask in masks.values())
        usual = size * self.n / self.m
        if abs(keep - usual) >= 1 and not usual <= keep <= least:
            self._refuse(keep, least, size)
        return least

    def _refuse(self, keep, least, size):
        raise ValueError(
            f"Pattern '{self}' fixes the density: it keeps {self.n} of every "
            f"{self.m} weights, density {self.n / self.m:g}, sparsity "
            f"{1 - self.n / self.m:g}; here that leaves {least} of {size} "
            f"weights, density {least / size:.6g}. Received: keep={keep}, "
            f"density {keep / size:.6g}. Ask for sparsity "
            f"{1 - self.n / self.m:g}, or choose another N:M."
        )

    def _layouts(self, arrays, layouts):
        shapes = {key: array.shape for key, array in arrays.items()}
        found = layouts_lib.complete(layouts, shapes)
        if self.axis == "output":
            found = {key: found[key].swapped() for key in found}
        return found

    def _best(self, score, mask, layout):
        kept = [
            _best_of_groups(values, alive, self.n, self.m)
            for values, alive in zip(
                layout.to_matrix(score), layout.to_matrix(mask)
            )
        ]
        return layout.from_matrix(np.array(kept, bool), mask.shape)


def _best_of_groups(values, alive, n, m):
    """The best `n` survivors of every `m` rows, in each column."""
    kept = np.zeros(values.shape, bool)
    rows, columns = values.shape
    step = m * max(_PIECE // max(m * columns, 1), 1)
    dtype = np.result_type(values.dtype, np.float32)
    for start in range(0, rows, step):
        piece = slice(start, start + step)
        # Ascending, so that a stable sort puts the lower index first.
        losses = np.where(alive[piece], -values[piece].astype(dtype), np.inf)
        short = -len(losses) % m
        if short:
            losses = np.pad(
                losses, ((0, short), (0, 0)), constant_values=np.inf
            )
        losses = losses.reshape(len(losses) // m, m, columns)
        order = np.argsort(losses, axis=1, kind="stable")[:, :n]
        best = np.zeros(losses.shape, bool)
        np.put_along_axis(best, order, True, axis=1)
        best = best.reshape(len(best) * m, columns)[: rows - start]
        np.logical_and(best, alive[piece], out=kept[piece])
    return kept
