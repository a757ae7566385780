"""Masks as arrays of booleans, True where the weight is kept.

Selection is exact: keeping k of n weights keeps k, ties go to the lower
index, and what is already pruned stays pruned. This module knows arrays
only; which weights a model has, and what their scores mean, is decided
elsewhere.
"""

import math
import zlib
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from tf_lottery.patterns import Pattern as Pattern
from tf_lottery.patterns import Unstructured as Unstructured
from tf_lottery.patterns import get_pattern as get_pattern
from tf_lottery.patterns import selection
from tf_lottery.patterns.layouts import Layout as Layout
from tf_lottery.patterns.pattern import brief
from tf_lottery.utils import checks


def select(
    scores: Mapping[str, np.ndarray],
    keep: int | Sequence[int],
    masks: Mapping[str, np.ndarray] | None = None,
    groups: Sequence[Sequence[str]] | None = None,
    pattern: str | Pattern = Unstructured(),
    allow_collapse: bool = False,
    layouts: Mapping[str, Layout] | None = None,
) -> dict[str, np.ndarray]:
    """Keeps the weights with the highest scores, exactly `keep` of them.

    A pattern that prunes several weights at once comes as near as it can.
    Equal scores are kept in order: keys as in `scores`, then the flat index.
    Integer scores are compared as float64.

    Args:
        scores: Dict of key to array of any shape, higher = keep. May be
            negative.
        keep: Integer, number of weights to keep; with several groups a
            sequence of integers, one for each group.
        masks: Dict of key to boolean array with the shapes of `scores`, the
            masks so far. Only what they keep can be kept. Defaults to
            `None`: nothing is pruned yet.
        groups: List of lists of keys, each ranked together. Keys in no group
            keep their masks. Defaults to `None`: one group of all keys.
        pattern: String or pattern, see `tf_lottery.patterns`. Defaults to
            `"unstructured"`.
        allow_collapse: Boolean, whether a key may lose all its weights. If
            not, the best survivor of every key stays. Defaults to `False`.
        layouts: Dict of key to `tf_lottery.masks.Layout`, which axes of a
            weight are inputs and outputs; only patterns ask. Defaults to
            `None`: the last axis is the output, the last but one the input.

    Returns:
        Dict of key to new boolean array, True = kept.

    Raises:
        ValueError: If a survivor's score is NaN or infinite, `keep`,
            `masks`, `groups` or `layouts` do not fit `scores`, or the
            pattern cannot keep so few.

    Example:

    >>> kept = select({"fc/kernel": np.array([0.3, -2.0, 0.9])}, keep=2)
    >>> kept["fc/kernel"].tolist()
    [True, False, True]
    """
    pattern = get_pattern(pattern)
    checks.flag("allow_collapse", allow_collapse)
    checks.optional(checks.mapping, "masks", masks)
    checks.optional(checks.mapping, "layouts", layouts, "weight key to layout")
    for layout in (layouts or {}).values():
        checks.kind("layouts", layout, Layout, "a dict of `Layout`s")
    checks.mapping("scores", scores)
    scores = {key: np.asarray(score) for key, score in scores.items()}
    masks = _check_masks(scores, masks)
    groups = _check_groups(scores, groups)
    keep = _check_keep(keep, groups, masks)
    kept = {}
    for group, number in zip(groups, keep):
        inside = {key: scores[key] for key in scores if key in group}
        _check_scores(inside, masks)
        within = {key: masks[key] for key in inside}
        kept |= pattern.select(inside, within, number, allow_collapse, layouts)
    return {
        key: kept[key] if key in kept else np.array(masks[key])
        for key in scores
    }


def ones(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """Returns masks that keep everything, for a dict of key to shape."""
    checks.mapping("shapes", shapes, "weight key to shape")
    for shape in shapes.values():
        checks.shape("shapes", shape)
    return {key: np.ones(tuple(shape), bool) for key, shape in shapes.items()}


def count(masks: Mapping[str, np.ndarray]) -> int:
    """Returns the number of weights kept."""
    return sum(
        int(np.count_nonzero(mask)) for mask in _arrays(masks).values()
    )


def size(masks: Mapping[str, np.ndarray]) -> int:
    """Returns the number of weights, kept or not."""
    checks.mapping("masks", masks)
    for mask in masks.values():
        if np.asarray(mask).dtype == object:
            checks.refuse("masks", masks, "a dict from weight key to array")
    return sum(int(np.size(mask)) for mask in masks.values())


def density(masks: Mapping[str, np.ndarray]) -> float:
    """Returns the fraction of all weights kept; 1.0 if there are none."""
    return count(masks) / size(masks) if size(masks) else 1.0


def densities(masks: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns the fraction of weights kept, for each key."""
    masks = _arrays(masks)
    return {key: density({key: mask}) for key, mask in masks.items()}


def overlap(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> float:
    """Returns the Jaccard index: kept by both / kept by either.

    Two masks that keep nothing are equal, their overlap is 1.0.

    Raises:
        ValueError: If keys or shapes differ.
    """
    a, b = _alike(a, b)
    either = sum(int(np.count_nonzero(a[key] | b[key])) for key in a)
    both = sum(int(np.count_nonzero(a[key] & b[key])) for key in a)
    return both / either if either else 1.0


def distance(
    a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]
) -> float:
    """Returns the fraction of weights kept by one and pruned by the other.

    The Hamming distance, divided by the number of weights.

    Raises:
        ValueError: If keys or shapes differ.
    """
    a, b = _alike(a, b)
    differing = sum(int(np.count_nonzero(a[key] != b[key])) for key in a)
    return differing / size(a) if size(a) else 0.0


def nested(
    inner: Mapping[str, np.ndarray], outer: Mapping[str, np.ndarray]
) -> bool:
    """Returns whether `outer` keeps everything that `inner` keeps.

    Raises:
        ValueError: If keys or shapes differ.
    """
    inner, outer = _alike(inner, outer, "inner", "outer")
    return all(bool((inner[key] <= outer[key]).all()) for key in inner)


def pack(mask: np.ndarray) -> bytes:
    """Returns the mask in flat order with eight weights in a byte.

    The first weight is the lowest bit; the last byte is filled with zeros.
    """
    mask = _array("mask", mask)
    return np.packbits(mask, bitorder="little").tobytes()


def unpack(data: bytes, shape: Sequence[int]) -> np.ndarray:
    """Returns the mask of `shape` that `pack()` made `data` of.

    Raises:
        ValueError: If `data` does not have the length of such a mask, or
            bits are set behind its end.
    """
    checks.kind("data", data, (bytes, bytearray, memoryview), "bytes")
    checks.shape("shape", shape)
    number = math.prod(shape)
    expected = (number + 7) // 8
    if len(data) != expected:
        raise ValueError(
            f"Argument `data` must have {expected} bytes for a mask of shape "
            f"{tuple(shape)}. Received: {len(data)} bytes"
        )
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    if bits[number:].any():
        raise ValueError(
            f"Argument `data` must have no bit set behind the {number} "
            f"weights of a mask of shape {tuple(shape)}. Received: last byte "
            f"{data[-1]:#04x}"
        )
    return bits[:number].reshape(tuple(shape)).astype(bool)


def shuffle(
    masks: Mapping[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """Returns random masks that keep as many weights of each key.

    Args:
        masks: Dict of key to boolean array.
        seed: Non-negative integer. A key's new mask depends on `seed`, the
            key and its own mask's shape and count, not on the other keys.
    """
    checks.seed("seed", seed)
    shuffled = {}
    for key, mask in _arrays(masks).items():
        rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
        chosen = np.arange(mask.size) < np.count_nonzero(mask)
        rng.shuffle(chosen)
        shuffled[key] = chosen.reshape(mask.shape)
    return shuffled


def _arrays(masks, name="masks"):
    """The masks as boolean arrays; raises where there is something else."""
    checks.mapping(name, masks, "weight key to boolean array")
    return {key: _array(name, mask) for key, mask in masks.items()}


def _array(name, mask):
    mask = np.asarray(mask)
    if mask.dtype != bool:
        raise ValueError(
            f"Argument `{name}` must hold boolean arrays, `True` = kept. "
            f"Received: an array of dtype {mask.dtype}"
        )
    return mask


def _alike(a, b, first="a", second="b"):
    a, b = _arrays(a, first), _arrays(b, second)
    _check_alike(a, b, first, second)
    return a, b


def _check_scores(scores, masks):
    for key, score in scores.items():
        if not np.can_cast(score.dtype, np.float64):
            raise ValueError(
                "Argument `scores` must hold real numbers. Received: dtype "
                f"{score.dtype} for {key!r}"
            )
        for values, alive in selection.pieces(score, masks[key]):
            wrong = ~selection.is_finite(values) & alive
            if wrong.any():
                raise selection.SelectionError(
                    "Argument `scores` must be finite. Received: "
                    f"{values[wrong][0]} among the scores of {key!r}"
                )


def _check_masks(scores, masks):
    if masks is None:
        # One array serves all the keys.
        kept = np.ones(max((s.size for s in scores.values()), default=0), bool)
        return {k: kept[: s.size].reshape(s.shape) for k, s in scores.items()}
    _check_alike(scores, masks, "scores", "masks")
    return {key: _array("masks", masks[key]) for key in scores}


def _check_alike(a, b, first="a", second="b"):
    if a.keys() != b.keys():
        raise ValueError(
            f"Arguments `{first}` and `{second}` must have the same keys. "
            f"Received: only one has {sorted(a.keys() ^ b.keys())}"
        )
    for key in a:
        if np.shape(a[key]) != np.shape(b[key]):
            raise ValueError(
                f"Arguments `{first}` and `{second}` must have the same "
                f"shapes. Received: {np.shape(a[key])} and "
                f"{np.shape(b[key])} for {key!r}"
            )


def _check_groups(scores, groups):
    if groups is None:
        return [list(scores)]
    if not isinstance(groups, (list, tuple)) or not all(
        isinstance(group, (list, tuple)) for group in groups
    ):
        checks.refuse("groups", groups, "a list of lists of keys")
    groups = [list(group) for group in groups]
    seen = set()
    for key in (key for group in groups for key in group):
        if key not in scores or key in seen:
            problem = "twice" if key in seen else "which has no scores"
            raise ValueError(
                "Argument `groups` must name keys of `scores`, each at most "
                f"once. Received: {key!r} {problem}; the keys are "
                f"{sorted(scores)}"
            )
        seen.add(key)
    return groups


def _check_keep(
    keep: int | Sequence[int],
    groups: Sequence[Sequence[str]],
    masks: Mapping[str, np.ndarray],
) -> list[int]:
    numbers = list(keep) if np.iterable(keep) else [keep]
    if len(numbers) != len(groups):
        raise ValueError(
            f"Argument `keep` must have one number for each of {len(groups)} "
            f"groups. Received: keep={keep}"
        )
    for number, group in zip(numbers, groups):
        survivors = count({key: masks[key] for key in group})
        checks.whole("keep", number, 0)
        if number > survivors:
            raise ValueError(
                f"Argument `keep` must be an integer in [0, {survivors}], the "
                f"number of survivors of {brief(group)}. Received: "
                f"keep={keep}"
            )
    return [int(number) for number in numbers]
