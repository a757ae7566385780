"""Distributions of a total density over the weights of a model.

`"global"` shares nothing out: all weights are ranked together. The others
fix how many weights each key keeps, before any score is looked at.
"""

import math
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from tf_lottery.utils import checks

SCOPES = ("global", "layer", "uniform+", "erk", "er")
_LAST_LAYER = 0.2


def check_scope(scope: str) -> None:
    """Raises a `ValueError` unless `scope` is one of `SCOPES`."""
    checks.choice("scope", scope, SCOPES)


def distribute(
    shapes: Mapping[str, Sequence[int]],
    keep: int,
    how: str,
    masks: Mapping[str, np.ndarray] | None = None,
) -> dict[str, int]:
    """Returns how many weights each key keeps, together exactly `keep`.

    - `"layer"`: all keys have the same density.
    - `"erk"` (Erdos-Renyi-Kernel, Evci et al., "Rigging the Lottery",
      arXiv:1911.11134): the density is proportional to `sum(shape) /
      prod(shape)`. Keys that would be above 1 are dense, the others share
      what is left.
    - `"er"` (Mocanu et al., arXiv:1707.04780): the same of the last two axes,
      `(n_in + n_out) / (n_in * n_out)`.
    - `"uniform+"` (Gale et al., arXiv:1902.09574; this form is that of the
      code of Lee et al., arXiv:2010.07611): the first key is dense if it is
      a 2-D convolution (4 axes), the last keeps at least 20 % of its size,
      the rest have the same density.

    No key gets more than it has survivors nor less than one; what that takes
    or leaves, the other keys share. Fractions of a weight are settled by the
    largest remainder, the first of equal keys first.

    Args:
        shapes: Dict of weight key to shape, in the order of the model.
        keep: Integer, number of weights to keep in all.
        how: String, one of `SCOPES` but not `"global"`.
        masks: Dict of weight key to boolean array, the masks so far.
            Defaults to `None`: nothing is pruned yet.

    Returns:
        Dict of weight key to integer.

    Raises:
        ValueError: If `how` is unknown or `"global"`, or `keep` cannot be
            shared out like that.

    Example:

    >>> distribute({"a": (100, 10), "b": (10, 10)}, keep=130, how="erk")
    {'a': 110, 'b': 20}
    """
    # "global" shares nothing out: all weights are ranked together.
    checks.choice("how", how, SCOPES[1:])
    checks.mapping("shapes", shapes, "weight key to shape")
    for shape in shapes.values():
        checks.shape("shapes", shape)
    checks.optional(checks.mapping, "masks", masks)
    shapes = {key: tuple(shape) for key, shape in shapes.items()}
    most = _survivors(shapes, masks)
    least = np.minimum(most, 1)
    if how == "uniform+" and shapes:
        least = _uniform_plus(shapes, least, most)
    _check_keep(keep, how, least, most)
    if not shapes:
        return {}
    weight = np.array([_weight(shape, how) for shape in shapes.values()])
    shares = _fill(np.where(most > 0, weight, 1.0), least, most, keep)
    return dict(zip(shapes, _round(shares, most, keep)))


def share(
    wanted: Sequence[float], most: Sequence[int], keep: int
) -> list[int]:
    """Returns whole numbers in proportion to others, together `keep`.

    Args:
        wanted: List of floats.
        most: List of integers, what each may be at most; 1 at least, if so
            many.

    Example:

    >>> share([10.0, 30.0], [100, 25], keep=40)
    [15, 25]
    """
    limits = np.array(most)
    weight = np.where(limits > 0, np.maximum(wanted, 1e-9), 1.0)
    shares = _fill(weight, np.minimum(limits, 1), limits, keep)
    return _round(shares, limits, keep)


def _survivors(shapes, masks):
    if masks is None:
        numbers = [math.prod(shape) for shape in shapes.values()]
        return np.array(numbers, np.int64)
    for key, shape in shapes.items():
        if key not in masks or np.shape(masks[key]) != shape:
            found = np.shape(masks[key]) if key in masks else "none"
            raise ValueError(
                f"Argument `masks` must have a mask of shape {shape} for "
                f"{key!r}. Received: {found}"
            )
    numbers = [int(np.count_nonzero(masks[key])) for key in shapes]
    return np.array(numbers, np.int64)


def _weight(shape, how):
    """How many weights a key keeps, up to a factor all keys share."""
    size = math.prod(shape)
    if how == "erk":
        return float(sum(shape))
    if how == "er":
        return size * sum(shape[-2:]) / max(math.prod(shape[-2:]), 1)
    return float(size)


def _uniform_plus(shapes, least, most):
    sizes = list(shapes.values())
    least = least.copy()
    lowest = round(_LAST_LAYER * math.prod(sizes[-1]))
    least[-1] = min(max(least[-1], lowest), most[-1])
    if len(sizes[0]) == 4:
        least[0] = most[0]
    return least


def _check_keep(keep, how, least, most):
    checks.whole("keep", keep, 0)
    low, high = int(least.sum()), int(most.sum())
    if low <= keep <= high:
        return
    why = (
        "a dense first convolution, a fifth of the last weight and one of "
        "each other"
        if how == "uniform+"
        else "one of each"
    )
    raise ValueError(
        f"Argument `keep` must be an integer in [{low}, {high}] for scope "
        f"{how!r}: at least {why}, at most what survives. "
        f"Received: keep={keep!r}"
    )


def _fill(weight, least, most, keep):
    """Shares `level * weight` within bounds, at the level that fits `keep`.

    The sum grows with the level in straight lines between the levels at which
    a share meets one of its bounds.
    """

    def shares(level):
        return np.clip(level * weight, least, most)

    levels = np.unique(np.concatenate([least / weight, most / weight]))
    sums = np.array([shares(level).sum() for level in levels])
    right = int(np.clip(np.searchsorted(sums, keep), 1, len(levels) - 1))
    if len(levels) == 1 or sums[right] == sums[right - 1]:
        return shares(levels[0])
    part = (keep - sums[right - 1]) / (sums[right] - sums[right - 1])
    left = levels[right - 1]
    return shares(left + part * (levels[right] - left))


def _round(shares, most, keep):
    """Whole numbers near `shares` with the sum `keep`, none above `most`."""
    whole = np.minimum(np.floor(shares).astype(np.int64), most)
    missing = keep - int(whole.sum())
    remainder = np.where(whole < most, shares - whole, -1.0)
    whole[np.argsort(-remainder, kind="stable")[:missing]] += 1
    return whole.tolist()
