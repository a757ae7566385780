import doctest
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tf_lottery import masks
from tf_lottery.patterns import selection


def stable(scores, keep, current=None):
    """The obviously right selection: a stable argsort of everything."""
    flat = np.concatenate(
        [np.asarray(s, np.float64).ravel() for s in scores.values()]
    )
    if current is None:
        alive = np.ones(flat.size, bool)
    else:
        alive = np.concatenate([current[key].ravel() for key in scores])
    candidates = np.flatnonzero(alive)
    order = np.argsort(-flat[candidates], kind="stable")
    kept = np.zeros(flat.size, bool)
    kept[candidates[order[:keep]]] = True
    pieces, start = {}, 0
    for key, score in scores.items():
        pieces[key] = kept[start : start + score.size].reshape(score.shape)
        start += score.size
    return pieces


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for key in expected:
        assert actual[key].dtype == bool
        np.testing.assert_array_equal(actual[key], expected[key])


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(selection, "_CHUNK", 100)
    monkeypatch.setattr(selection, "_SAMPLE", 64)
    monkeypatch.setattr(selection, "_STRIDE", 1)


def draw(kind, shape, rng):
    return {
        "random": lambda: rng.standard_normal(shape),
        "positive": lambda: rng.random(shape),
        "negative": lambda: -rng.random(shape) - 1,
        "tied": lambda: rng.integers(-2, 3, shape).astype(float),
        "two": lambda: (rng.random(shape) < 0.5).astype(float),
        "constant": lambda: np.full(shape, 0.25),
        "zeros": lambda: np.where(rng.random(shape) < 0.9, -0.0, 0.0),
        "mixed_zeros": lambda: np.round(rng.standard_normal(shape) / 3) * -1,
        "sorted": lambda: np.sort(rng.standard_normal(shape), axis=None)
        .reshape(shape),
        "wide": lambda: np.ldexp(
            rng.standard_normal(shape), rng.integers(-120, 120, shape)
        ),
        "subnormal": lambda: rng.integers(-9, 9, shape) * 1e-45,
    }[kind]()


KINDS = (
    "random positive negative tied two constant zeros mixed_zeros sorted wide "
    "subnormal"
).split()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_select_equals_stable_argsort(kind, dtype, small_pieces):
    rng = np.random.default_rng(KINDS.index(kind))
    shapes = {"a": (31, 17), "b": (1,), "c": (3, 3, 4, 8), "d": (250,)}
    scores = {
        key: draw(kind, shape, rng).astype(dtype)
        for key, shape in shapes.items()
    }
    total = masks.size(scores)
    current = {key: rng.random(shape) < 0.6 for key, shape in shapes.items()}
    alive = masks.count(current)
    for part in (0, 0.001, 0.1, 0.5, 0.77, 0.999, 1):
        keep = math.ceil(part * total)
        assert_same(
            masks.select(scores, keep, allow_collapse=True),
            stable(scores, keep),
        )
        keep = math.ceil(part * alive)
        assert_same(
            masks.select(scores, keep, current, allow_collapse=True),
            stable(scores, keep, current),
        )


def every_half(dtype):
    return np.arange(1 << 16).astype(np.uint16).view(dtype)


def finite(values):
    # NaNs of some bits raise a flag of the processor.
    with np.errstate(invalid="ignore"):
        return np.isfinite(values)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_every_half_precision_value_is_ranked(dtype, small_pieces):
    values = every_half(dtype)
    values = values[finite(values)]
    rng = np.random.default_rng(0)
    scores = {
        "a": rng.permutation(values), "b": rng.choice(values, (60, 70)),
        "c": np.array([], dtype),
    }
    current = {k: rng.random(v.shape) < 0.6 for k, v in scores.items()}
    for keep in (1, 5_000, 35_000):
        for before in (None, current):
            found = masks.select(scores, keep, before, allow_collapse=True)
            assert_same(found, stable(scores, keep, before))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_values_that_are_not_finite_are_found(dtype):
    values = every_half(dtype)
    found = selection.is_finite(values)
    np.testing.assert_array_equal(found, finite(values))
    with pytest.raises(ValueError, match="must be finite"):
        masks.select({"a": values}, 1)
    kept = masks.select({"a": values}, 1, {"a": found})
    assert values[kept["a"]] == values[found].max()


@pytest.mark.parametrize("kind", ["random", "tied", "constant", "zeros"])
def test_select_equals_stable_argsort_on_large_arrays(kind):
    rng = np.random.default_rng(0)
    scores = {
        "a": draw(kind, (700, 600), rng).astype(np.float32),
        "b": draw(kind, (100_000,), rng).astype(np.float32),
    }
    for keep in (2, 100_000, 519_999):
        chosen = masks.select(scores, keep, allow_collapse=True)
        assert_same(chosen, stable(scores, keep))


@pytest.mark.parametrize(
    "dtype",
    [
        np.float16,
        ml_dtypes.bfloat16,
        np.float32,
        np.float64,
        np.int8,
        np.int32,
        np.int64,
        np.uint8,
        bool,
    ],
)
def test_select_takes_every_real_dtype(dtype):
    rng = np.random.default_rng(3)
    scores = {"a": (rng.standard_normal((40, 30)) * 20).astype(dtype)}
    for keep in (1, 300, 1200):
        assert_same(masks.select(scores, keep), stable(scores, keep))


def test_select_ranks_different_dtypes_together():
    scores = {
        "a": np.array([1, 2, 3], np.float16),
        "b": np.array([1 + 1e-12, 2 - 1e-12], np.float64),
    }
    assert_same(masks.select(scores, 3), stable(scores, 3))


def test_select_takes_other_memory_orders():
    rng = np.random.default_rng(3)
    scores = {"a": np.asfortranarray(rng.standard_normal((20, 30)))}
    current = {"a": np.asfortranarray(rng.random((20, 30)) < 0.5)}
    chosen = masks.select(scores, 50, current)
    assert_same(chosen, stable(scores, 50, current))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([-2.5, -1.0, -0.0, 0.0, 1.0, 3.0]), min_size=2),
    st.data(),
)
def test_ties_are_kept_in_order(values, data):
    cut = data.draw(st.integers(0, len(values)))
    keep = data.draw(st.integers(0, len(values)))
    values = np.array(values, np.float32)
    scores = {"z": values[:cut], "a": values[cut:]}
    chosen = masks.select(scores, keep, allow_collapse=True)
    assert_same(chosen, stable(scores, keep))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1))
def test_masks_nest_and_counts_are_exact(seed, first, second):
    rng = np.random.default_rng(seed)
    scores = {"a": rng.standard_normal((9, 5)), "b": rng.random(20)}
    keep = 2 + int(first * 63)
    outer = masks.select(scores, keep)
    assert masks.count(outer) == keep
    fewer = 2 + int(second * (keep - 2))
    scores = {key: rng.standard_normal(s.shape) for key, s in scores.items()}
    inner = masks.select(scores, fewer, outer)
    assert masks.count(inner) == fewer
    assert masks.nested(inner, outer)
    assert_same(masks.select(scores, fewer, inner), inner)


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(30)), st.integers(1, 30))
def test_select_follows_a_permutation(order, keep):
    scores = np.random.default_rng(0).standard_normal(30)
    order = np.array(order)
    plain = masks.select({"a": scores}, keep)["a"]
    permuted = masks.select({"a": scores[order]}, keep)["a"]
    np.testing.assert_array_equal(plain[order], permuted)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 200))
def test_at_least_one_weight_of_each_key_stays(seed, keep):
    rng = np.random.default_rng(seed)
    scores = {
        "good": rng.random(150) + 9,
        "bad": rng.random(30),
        "worse": rng.random((4, 4)) - 9,
        "one": np.array([-99.0]),
        "gone": np.array([5.0, 5.0, 5.0]),
    }
    current = masks.ones({key: s.shape for key, s in scores.items()})
    current["gone"][:] = False
    keep = min(keep, 197)
    chosen = masks.select(scores, keep, current)
    assert masks.count(chosen) == keep
    assert all(chosen[key].any() for key in scores if key != "gone")
    assert not chosen["gone"].any()
    for key in ("good", "bad", "worse"):
        assert chosen[key].flat[scores[key].argmax()]


def test_reserved_weight_is_the_first_of_the_best():
    scores = {"a": np.ones(5), "b": np.array([-3.0, -1.0, -1.0])}
    chosen = masks.select(scores, 3)
    assert chosen["a"].tolist() == [True, True, False, False, False]
    assert chosen["b"].tolist() == [False, True, False]


def test_layers_collapse_only_if_allowed():
    scores = {"a": np.ones(5), "b": np.zeros(3)}
    chosen = masks.select(scores, 1, allow_collapse=True)
    assert masks.count(chosen) == 1 and not chosen["b"].any()
    assert masks.count(masks.select(scores, 0, allow_collapse=True)) == 0
    with pytest.raises(ValueError, match="at least 2.*'a', 'b'.*keep=1"):
        masks.select(scores, 1)


def test_groups_are_ranked_apart():
    scores = {"a": np.arange(4), "b": np.arange(6) + 9, "c": np.arange(3.0)}
    chosen = masks.select(scores, [2, 3], groups=[["a"], ["c", "b"]])
    assert {key: int(m.sum()) for key, m in chosen.items()} == {
        "a": 2,
        "b": 2,
        "c": 1,
    }
    chosen = masks.select(scores, 1, groups=[["b"]])
    assert masks.count(chosen) == 1 + 4 + 3


def test_select_changes_nothing_it_was_given():
    scores = {"a": np.array([3.0, -0.0, 1.0]), "b": np.array([-9.0])}
    current = {"a": np.array([True, True, False]), "b": np.array([True])}
    before = {key: mask.copy() for key, mask in current.items()}
    chosen = masks.select(scores, 2, current)
    chosen["a"][:] = True
    assert_same(current, before)
    assert scores["a"].tolist() == [3.0, 0.0, 1.0]
    untouched = masks.select(scores, 1, current, groups=[["b"]])
    assert not np.shares_memory(untouched["a"], current["a"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_non_finite_scores_are_refused_by_name(value, dtype):
    scores = {"fc/kernel": np.ones(9, dtype), "out/kernel": np.ones(9, dtype)}
    scores["out/kernel"][4] = value
    with pytest.raises(ValueError, match="finite.*'out/kernel'"):
        masks.select(scores, 5)
    current = masks.ones({key: (9,) for key in scores})
    current["out/kernel"][4] = False
    assert masks.count(masks.select(scores, 5, current)) == 5


@pytest.mark.parametrize("keep", [-1, 6, 2.0, True, "2", None, [1, 2], []])
def test_wrong_keep_is_refused(keep):
    with pytest.raises(ValueError, match="`keep`"):
        masks.select({"a": np.arange(9.0)}, keep, {"a": np.arange(9) < 5})


def test_wrong_arguments_are_refused():
    scores = {"a": np.arange(4.0), "b": np.arange(4.0)}
    with pytest.raises(ValueError, match=r"same keys.*\['b'\]"):
        masks.select(scores, 2, {"a": np.ones(4, bool)})
    with pytest.raises(ValueError, match=r"shapes.*\(4,\).*\(5,\).*'b'"):
        masks.select(scores, 2, masks.ones({"a": (4,), "b": (5,)}))
    with pytest.raises(ValueError, match="'c' which has no scores"):
        masks.select(scores, 2, groups=[["a", "c"]])
    with pytest.raises(ValueError, match="'a' twice"):
        masks.select(scores, [1, 1], groups=[["a"], ["a"]])
    with pytest.raises(ValueError, match="real numbers.*complex"):
        masks.select({"a": np.ones(3, complex)}, 2)


def test_get_pattern():
    pattern = masks.get_pattern("unstructured")
    assert pattern == masks.Unstructured()
    assert masks.get_pattern(pattern) is pattern
    for wrong in ("blocks", None, masks.Unstructured, 3):
        with pytest.raises(ValueError, match=r"`pattern`.*'unstructured'"):
            masks.get_pattern(wrong)


def test_counts_and_densities():
    some = {
        "a": np.array([[True, False], [False, False]]), "b": np.ones(4, bool)
    }
    assert (masks.count(some), masks.size(some)) == (5, 8)
    assert masks.density(some) == 5 / 8
    assert masks.densities(some) == {"a": 0.25, "b": 1.0}
    assert masks.density({}) == 1.0
    assert masks.density(masks.ones({"a": (2, 3), "b": ()})) == 1.0


def test_overlap_and_nested():
    a = {"x": np.array([True, True, False, False])}
    b = {"x": np.array([True, False, True, False])}
    none = {"x": np.zeros(4, bool)}
    assert masks.overlap(a, b) == pytest.approx(1 / 3)
    assert masks.overlap(a, a) == masks.overlap(none, none) == 1.0
    assert masks.overlap(a, none) == 0.0
    assert masks.nested(none, a) and masks.nested(a, a)
    assert not masks.nested(a, b)
    with pytest.raises(ValueError, match="same keys"):
        masks.overlap(a, {})
    with pytest.raises(ValueError, match="same shapes"):
        masks.nested(a, {"x": np.zeros((2, 2), bool)})


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 7), max_size=4).map(tuple), st.integers(0, 99)
)
def test_pack_round_trip(shape, seed):
    mask = np.random.default_rng(seed).random(shape) < 0.5
    data = masks.pack(mask)
    assert len(data) == (mask.size + 7) // 8
    restored = masks.unpack(data, shape)
    assert restored.shape == shape and restored.dtype == bool
    np.testing.assert_array_equal(restored, mask)
    restored[...] = False  # writable


def test_packed_form_is_little_bit_order():
    mask = np.array([[1, 0, 0, 0, 0], [0, 0, 0, 1, 0]], bool)
    assert masks.pack(mask) == b"\x01\x01"


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0", b"\0\xff"])
def test_unpack_refuses_other_data(data):
    with pytest.raises(ValueError, match=r"`data`.*\(3, 3\).*Received"):
        masks.unpack(data, (3, 3))


def test_shuffle_keeps_counts_and_is_seeded():
    rng = np.random.default_rng(0)
    some = {"a": rng.random((30, 20)) < 0.3, "b": rng.random(600) < 0.3}
    some["c"], some["d"] = np.ones(5, bool), np.zeros((2, 2), bool)
    new = masks.shuffle(some, seed=7)
    for key, mask in some.items():
        assert new[key].shape == mask.shape and new[key].sum() == mask.sum()
    assert_same(masks.shuffle(some, seed=7), new)
    assert masks.overlap({"a": new["a"]}, {"a": some["a"]}) < 0.5
    other = masks.shuffle(some, seed=8)
    assert (other["a"] != new["a"]).any()
    assert (new["a"].ravel() != new["b"]).any()
    alone = masks.shuffle({"b": some["b"]}, seed=7)
    np.testing.assert_array_equal(alone["b"], new["b"])


def test_examples():
    assert doctest.testmod(masks).failed == 0
