"""Exact selection: the best k of the scores in many arrays.

A radix search on the bits of the scores, which never joins or copies the
arrays: sorting or partitioning them takes several times their memory and
still does not say which of many equal scores to keep.
"""

import math

import numpy as np

# Working in chunks keeps temporaries in the processor's cache, and their size
# independent of the arrays'.
_CHUNK = 1 << 17
_SAMPLE, _STRIDE = 1 << 17, 64
# All its bits are set where a value is not finite. NumPy is slow to look.
_EXPONENTS = {"float16": np.int16(0x7C00), "bfloat16": np.int16(0x7F80)}


class SelectionError(ValueError):
    """No masks can be chosen: scores that are not finite, nothing left."""


def keep_best(scores, masks, keep, out=None):
    """Returns masks of exactly the `keep` best survivors of all arrays.

    Equal scores are kept in the order of the keys, then of the flat index. They
    are written to `out`, C-contiguous boolean arrays, maybe `masks`.
    """
    out = out or {key: np.empty(np.shape(masks[key]), bool) for key in scores}
    threshold, ties, spare = _threshold(scores, masks, keep)
    compare = np.greater if spare else np.greater_equal
    for values, alive, kept in chunks(scores, masks, out):
        equal = []
        if spare and ties:
            equal = np.flatnonzero((values == threshold) & alive)[:ties]
            ties -= len(equal)
        np.logical_and(compare(values, threshold), alive, out=kept)
        kept[equal] = True
    return out


def best(score, mask):
    """Flat index of the best survivor, the first among equals."""
    highest, index, start = -math.inf, None, 0
    for values, alive in chunks({"": score}, {"": mask}):
        place = int(np.where(alive, values, -math.inf).argmax())
        if alive[place] and values[place] > highest:
            highest, index = values[place], start + place
        start += len(values)
    return index


def chunks(scores, *masks, step=1):
    """Yields flat pieces of every score, in one dtype, and of its masks.

    Of float16, which NumPy converts slowly, ranks are yielded instead.
    """
    dtypes = {score.dtype for score in scores.values()}
    all_halves = dtypes == {np.dtype(np.float16)}
    dtype = _common_dtype(scores)
    for key, score in scores.items():
        for values, *others in pieces(
            score, *(m[key] for m in masks), step=step
        ):
            if all_halves:
                values = _ranks(values)
            yield values.astype(dtype, copy=False), *others


def pieces(*arrays, step=1):
    """Yields flat pieces of arrays of one shape, side by side."""
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, _CHUNK):
        yield tuple(array[start : start + _CHUNK : step] for array in flat)


def is_finite(values):
    """Says of each value whether it is neither NaN nor infinite."""
    exponent = _EXPONENTS.get(values.dtype.name)
    if exponent is None or not values.dtype.isnative:
        return np.isfinite(values)
    return values.view(np.int16) & exponent != exponent


def _threshold(scores, masks, keep):
    """The `keep`-th best score, how many equal to it to keep, and not to."""
    if not keep:
        return math.inf, 0, 0
    low, high = _bracket(scores, masks, keep)
    if low == high:
        above = _count(scores, masks, np.greater, low)
        equal = _count(scores, masks, np.equal, low)
        if above < keep <= above + equal:
            return low, keep - above, equal - (keep - above)
    above, between = _sift(scores, masks, low, high)
    rank = keep - above
    if between is None or not 0 < rank <= len(between):
        return _radix_search(scores, masks, keep)
    between = np.partition(between, -rank)
    threshold = between[-rank]
    equal = np.count_nonzero(between == threshold)
    ties = rank - np.count_nonzero(between > threshold)
    return threshold, ties, equal - ties


def _count(scores, masks, compare, bound):
    return sum(
        np.count_nonzero(compare(values, bound) & alive)
        for values, alive in chunks(scores, masks)
    )


def _sift(scores, masks, low, high):
    """Counts survivors above `high`; collects those in [low, high].

    Gives up on collecting, with `None`, where they are many.
    """
    room = sum(score.size for score in scores.values()) // 16 + _SAMPLE
    above, found = 0, []
    for values, alive in chunks(scores, masks):
        over = (values > high) & alive
        above += np.count_nonzero(over)
        inside = values >= low
        inside &= alive
        inside ^= over
        found.append(values[inside])
        room -= len(found[-1])
        if room < 0:
            return 0, None
    return above, np.concatenate(found)


def _radix_search(scores, masks, rank):
    """Fixes the score of `rank`, 16 bits at a time."""
    dtype = _common_dtype(scores)
    found = 0
    for shift in range(8 * dtype.itemsize - 16, -1, -16):
        histogram = np.zeros(1 << 16, np.int64)
        for values, alive in chunks(scores, masks):
            bits = _to_bits(values[alive]) >> shift
            digits = bits[(bits >> 16) == found].astype(np.uint16)
            histogram += np.bincount(digits, minlength=1 << 16)
        from_top = np.cumsum(histogram[::-1])
        place = int(np.searchsorted(from_top, rank))
        digit = len(histogram) - 1 - place
        rank -= int(from_top[place] - histogram[digit])
        found = found << 16 | digit
    return _from_bits(found, dtype), rank, int(histogram[digit]) - rank


def _bracket(scores, masks, keep):
    """Two scores that probably enclose the `keep`-th best, from a sample.

    A wrong guess costs time only. The stride is odd so that it visits every
    channel: there is mostly an even number of them.
    """
    size = sum(score.size for score in scores.values())
    stride = max(size // _SAMPLE, _STRIDE) | 1
    sample = [
        values[alive] for values, alive in chunks(scores, masks, step=stride)
    ]
    sample = np.sort(np.concatenate(sample))
    if not len(sample):
        return -math.inf, math.inf
    survivors = sum(np.count_nonzero(masks[key]) for key in scores)
    place = len(sample) * (1 - keep / survivors)
    margin = 2 * math.sqrt(len(sample))  # at least four standard deviations
    low, high = math.floor(place - margin), math.ceil(place + margin)
    return (
        sample[low] if low >= 0 else -math.inf,
        sample[high] if high < len(sample) else math.inf,
    )


def _common_dtype(scores):
    single = all(np.can_cast(s.dtype, np.float32) for s in scores.values())
    return np.dtype(np.float32 if single else np.float64)


def _ranks(halves):
    """Integers in the order of float16's values; -0.0 equals 0.0."""
    bits = halves.view(np.int16)
    sign = bits >> 15
    return ((bits & 0x7FFF) ^ sign) - sign


def _to_bits(values):
    """Unsigned integers in the order of the floats; -0.0 equals 0.0."""
    bits = values.view(f"u{values.itemsize}")
    top = bits.dtype.type(1 << (8 * values.itemsize - 1))
    return np.where(values < 0, ~bits, bits | top)


def _from_bits(bits, dtype):
    top = 1 << (8 * dtype.itemsize - 1)
    bits = bits ^ top if bits & top else bits ^ (2 * top - 1)
    return np.array(bits, f"u{dtype.itemsize}").view(dtype)[()]
