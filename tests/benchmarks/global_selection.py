"""Exact selection of the k largest of n: time and memory.

    python -m tests.benchmarks.global_selection [--quick] [--json PATH]

Keeps 20 % of float32 scores by `tf_lottery.masks.select`, in CPU time as a
multiple of one `np.abs` pass over them (interleaved, medians of paired
ratios) and in extra memory as a multiple of their bytes (tracemalloc). The
peer is `np.partition` and `>=`, which is not exact where scores are equal.
Scores of half precision are measured against the same of float32.
"""

import functools
import tracemalloc

import ml_dtypes
import numpy as np

from tests.benchmarks import harness
from tf_lottery import masks


def main():
    args = harness.parser(__doc__).parse_args()
    repetitions = 5 if args.quick else 15
    rows = [exactness(), *halves(repetitions)]
    for size in (10_000_000, 25_165_824):
        for arrays in (1, 24):
            rows += measure(size, arrays, repetitions)
    harness.report("Exact selection", rows, args.json)


def measure(size, arrays, repetitions):
    """Returns the rows for `size` scores in so many arrays."""
    scores = _scores(size, arrays)
    joined = np.concatenate(list(scores.values()))
    out = np.empty_like(joined)
    keep = size // 5
    half = masks.select(scores, size // 2)
    calls = {
        "np.abs": lambda: np.abs(joined, out=out),
        "select": lambda: masks.select(scores, keep),
        "select with masks": lambda: masks.select(scores, keep, half),
        "np.partition": lambda: _partition(joined, keep),
    }
    times = _times(calls, repetitions)
    where = f"{size / 1e6:.0f} M in {arrays}"
    rows = []
    for name in list(calls)[1:]:
        ours = name != "np.partition"
        rows.append(
            harness.ratio_row(
                times, name, "np.abs", 10 if ours else None,
                what=f"{where}: {name}, time / np.abs",
            )
        )
        rows.append(
            harness.Row(
                f"{where}: {name}, memory / scores",
                _extra(calls[name]) / joined.nbytes,
                0.6 if ours else None, "x",
            )
        )
    return rows


def halves(repetitions):
    """Returns the rows for scores of half precision."""
    scores = _scores(10_000_000, 24)
    calls = {
        name: functools.partial(
            masks.select, {k: v.astype(d) for k, v in scores.items()},
            2_000_000,
        )
        for name, d in (
            ("float32", "float32"), ("float32 again", "float32"),
            ("float16", "float16"), ("bfloat16", ml_dtypes.bfloat16),
        )
    }
    times = _times(calls, repetitions)
    return [
        harness.ratio_row(
            times, name, "float32", None if "again" in name else 1.5,
            f"10 M in 24: {name} / float32",
        )
        for name in list(calls)[1:]
    ]


def _times(calls, repetitions):
    return harness.interleaved(
        {k: functools.partial(lambda f: f, f) for k, f in calls.items()},
        1, repetitions,
    )


def exactness():
    """Compares the selection with a stable sort, where scores are equal."""
    rng = np.random.default_rng(0)
    wrong = 0
    for case in (
        rng.integers(0, 5, 1_000_000).astype("float32"),
        np.zeros(1_000_000, "float32"),
        np.abs(rng.standard_normal(1_000_000).astype("float16")),
        np.where(rng.random(1_000_000) < 0.9, -0.0, 0.0).astype("float32"),
    ):
        parts = {str(i): p for i, p in enumerate(np.array_split(case, 7))}
        found = masks.select(parts, 200_000, allow_collapse=True)
        order = np.argsort(-case.astype("float64"), kind="stable")
        expected = np.zeros(case.size, bool)
        expected[order[:200_000]] = True
        got = np.concatenate(list(found.values()))
        wrong += int(np.count_nonzero(got != expected))
    return harness.Row(
        "weights chosen otherwise than by a stable sort", wrong, 0,
        note="4 cases of a million scores, many of them equal",
    )


def _scores(size, arrays):
    rng = np.random.default_rng(0)
    parts = np.array_split(rng.standard_normal(size, "float32"), arrays)
    return {f"layer{i}/kernel": np.abs(part) for i, part in enumerate(parts)}


def _partition(values, keep):
    return values >= np.partition(values, -keep)[-keep]


def _extra(function):
    """Returns the peak of memory that a function takes, in bytes."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


if __name__ == "__main__":
    main()
