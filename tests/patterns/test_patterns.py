"""Patterns against slow, obviously right versions, for every layout."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tf_lottery import masks
from tf_lottery import patterns
from tf_lottery.patterns import grid
from tf_lottery.patterns import n_m
from tf_lottery.patterns.layouts import Layout
from tf_lottery.patterns.layouts import complete

# Shapes with the layouts of Dense, convolutions (plain, transposed,
# depthwise) and attention (query, output).
WEIGHTS = {
    "dense": ((9, 5), None),
    "conv": ((3, 2, 6, 4), None),
    "transposed": ((2, 2, 5, 7), Layout((3,), (2,))),
    "depthwise": ((3, 3, 4, 2), Layout((0, 1), (2, 3))),
    "query": ((10, 2, 3), Layout((0,), (1, 2))),
    "out": ((2, 3, 5), Layout((0, 1), (2,))),
    "vector": ((7,), None),
}
LAYOUTS = complete(
    {k: layout for k, (_, layout) in WEIGHTS.items() if layout},
    {k: shape for k, (shape, _) in WEIGHTS.items()},
)
SPECS = [
    "unstructured", "block", "block:1x16", "block:2x2:max", "block:3x1",
    "block:2x3", "2:4", "1:4", "3:5", "2:4:output", "channel", "channel:l1",
    "channel:l2", "channel:mean",
]
POOLED = [s for s in SPECS if s.startswith(("block", "channel"))]
NM = [s for s in SPECS if s[0] in "123"]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(grid, "_PIECE", 16)
    monkeypatch.setattr(n_m, "_PIECE", 32)


@st.composite
def problems(draw, positive=True):
    """Scores of some weights, many of them equal, and masks so far."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    keys = draw(
        st.lists(st.sampled_from(list(WEIGHTS)), min_size=1, max_size=3,
                 unique=True)
    )
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64, int]))
    low = 0 if positive else -9
    kept = draw(st.sampled_from([1.0, 0.7, 0.2]))
    scores = {k: rng.integers(low, 20, WEIGHTS[k][0]) for k in keys}
    scores = {k: s.astype(dtype) for k, s in scores.items()}
    current = {k: rng.random(s.shape) < kept for k, s in scores.items()}
    return scores, current


def numbering(shape, layout):
    """(position, input, output) of every entry, by counting."""
    used = layout.inputs + layout.outputs
    others = tuple(a for a in range(len(shape)) if a not in used)
    place = np.empty((*shape, 3), int)
    for index in np.ndindex(*shape):
        for i, axes in enumerate((others, layout.inputs, layout.outputs)):
            number = 0
            for axis in axes:
                number = number * shape[axis] + index[axis]
            place[index][i] = number
    return place


def unit_of(pattern, key, place):
    position, row, column = map(int, place)
    if isinstance(pattern, patterns.Channel):
        return column
    return position, row // pattern.inputs, column // pattern.outputs


def members(pattern, scores):
    """Dict from unit, in order, to its entries (key, index)."""
    found = {}
    for key, score in scores.items():
        places = numbering(score.shape, LAYOUTS[key])
        units = {}
        for index in np.ndindex(*score.shape):
            unit = unit_of(pattern, key, places[index])
            units.setdefault(unit, []).append((key, index))
        for unit in sorted(units):
            found[key, unit] = units[unit]
    return found


def pooled(pattern, values):
    how = getattr(pattern, "pool", None) or pattern.norm
    return {
        "mean": lambda: math.fsum(values) / len(values),
        "relative": lambda: math.fsum(values) / len(values),
        "max": lambda: max(values),
        "l1": lambda: math.fsum(values),
        "l2": lambda: math.sqrt(math.fsum(v * v for v in values)),
    }[how]()


def relative(pattern, scores, current):
    """Scores as multiples of the mean absolute one of their key."""
    if getattr(pattern, "norm", None) != "relative":
        return scores
    found = {}
    for key, score in scores.items():
        alive = [abs(float(v)) for v in score[current[key]]]
        total = math.fsum(alive)
        # In float16 the product would round units into each other's place.
        exact = score.astype("float64")
        found[key] = exact * (len(alive) / total) if total else exact
    return found


def slow_units(pattern, scores, current, keep, allow_collapse):
    """Units by score, as many as come nearest to `keep` weights."""
    scores = relative(pattern, scores, current)
    units = {}
    for unit, entries in members(pattern, scores).items():
        alive = [(k, i) for k, i in entries if current[k][i]]
        if alive:
            units[unit] = alive
    score = {
        unit: pooled(pattern, [float(scores[k][i]) for k, i in entries])
        for unit, entries in units.items()
    }
    order = sorted(units, key=lambda unit: -score[unit])

    def nearest(always):
        rest = [unit for unit in order if unit not in always]
        first = sum(len(units[unit]) for unit in always)
        totals = [first]
        for unit in rest:
            totals.append(totals[-1] + len(units[unit]))
        number = min(range(len(totals)), key=lambda n: abs(totals[n] - keep))
        return set(always) | set(rest[:number])

    chosen = nearest([])
    best = [
        next(unit for unit in order if unit[0] == key)
        for key in scores if current[key].any()
    ]
    if not allow_collapse and not all(
        any(unit[0] == one[0] for unit in chosen) for one in best
    ):
        if keep < sum(len(units[unit]) for unit in best):
            return None
        chosen = nearest(best)
    kept = {k: np.zeros(s.shape, bool) for k, s in scores.items()}
    for unit in chosen:
        for key, index in units[unit]:
            kept[key][index] = True
    return kept


def slow_best_of_groups(pattern, scores, current):
    """The best N survivors of every group, one group after another."""
    kept = {k: np.zeros(s.shape, bool) for k, s in scores.items()}
    for key, score in scores.items():
        places = numbering(score.shape, LAYOUTS[key])
        groups = {}
        for index in np.ndindex(*score.shape):
            position, row, column = map(int, places[index])
            if pattern.axis == "output":
                row, column = column, row
            if current[key][index]:
                group = groups.setdefault((position, row // pattern.m,
                                           column), [])
                group.append((-float(score[index]), row, index))
        for group in groups.values():
            for _, _, index in sorted(group)[: pattern.n]:
                kept[key][index] = True
    return kept


def select(scores, keep, current, spec, **kwargs):
    return masks.select(
        scores, keep, current, pattern=spec, layouts=LAYOUTS, **kwargs
    )


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for key in expected:
        assert actual[key].dtype == bool
        np.testing.assert_array_equal(actual[key], expected[key])


@pytest.mark.some(3)
@pytest.mark.parametrize("spec", POOLED)
@settings(max_examples=40, deadline=None)
@given(problem=problems(), part=st.floats(0, 1), allow=st.booleans())
def test_blocks_and_channels_equal_the_slow_version(spec, problem, part, allow):
    scores, current = problem
    keep = round(part * masks.count(current))
    pattern = patterns.get_pattern(spec)
    expected = slow_units(pattern, scores, current, keep, allow)
    if expected is None:
        with pytest.raises(ValueError, match="`keep` must be at least"):
            select(scores, keep, current, spec)
        return
    found = select(scores, keep, current, spec, allow_collapse=allow)
    assert_same(found, expected)


@pytest.mark.parametrize("spec", NM)
@settings(max_examples=40, deadline=None)
@given(problem=problems(positive=False), part=st.floats(0, 1))
def test_n_m_equals_the_slow_version(spec, problem, part):
    scores, current = problem
    pattern = patterns.get_pattern(spec)
    best = slow_best_of_groups(pattern, scores, current)
    least = pattern.fewest(scores, current, LAYOUTS)
    assert least == masks.count(best)
    assert_same(select(scores, least, current, spec), best)
    alive = masks.count(current)
    keep = least + round(part * (alive - least))
    found = select(scores, keep, current, spec)
    assert masks.count(found) == keep
    assert masks.nested(best, found)
    rest = {k: current[k] & ~best[k] for k in scores}
    expected = masks.select(scores, keep - least, rest, allow_collapse=True)
    assert_same(found, {k: best[k] | expected[k] for k in scores})


@pytest.mark.covering
@pytest.mark.parametrize("spec", SPECS)
@settings(max_examples=25, deadline=None)
@given(problem=problems(), data=st.data())
def test_rounds_are_nested_and_idempotent(spec, problem, data):
    scores, current = problem
    pattern = patterns.get_pattern(spec)
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    for _ in range(6):
        alive = masks.count(current)
        assert_same(select(scores, alive, current, spec), current)
        keep = alive - round(data.draw(st.floats(0, 0.6)) * alive)
        keep = max(keep, pattern.fewest(scores, current, LAYOUTS))
        before = {key: mask.copy() for key, mask in current.items()}
        kept = select(scores, keep, current, spec)
        assert_same(current, before)
        assert masks.nested(kept, current)
        assert all(kept[k].any() for k in kept if current[k].any())
        again = select(scores, masks.count(kept), kept, spec)
        assert_same(again, kept)
        current = kept
        scores = {k: rng.random(s.shape) for k, s in scores.items()}


@pytest.mark.parametrize("spec", SPECS)
@settings(max_examples=25, deadline=None)
@given(problem=problems())
def test_fewest_is_the_least_that_can_be_kept(spec, problem):
    scores, current = problem
    least = patterns.get_pattern(spec).fewest(scores, current, LAYOUTS)
    kept = select(scores, least, current, spec)
    assert all(kept[k].any() for k in kept if current[k].any())
    # Whole units may come nearer from above.
    assert masks.count(kept) >= least
    if spec not in POOLED:
        assert masks.count(kept) == least


@pytest.mark.parametrize("spec", NM)
def test_iterative_pruning_converges_to_n_m(spec):
    rng = np.random.default_rng(1)
    scores = {k: rng.random(shape) for k, (shape, _) in WEIGHTS.items()}
    current = masks.ones({k: s.shape for k, s in scores.items()})
    pattern = patterns.get_pattern(spec)
    for _ in range(20):
        keep = round(0.8 * masks.count(current))
        keep = max(keep, pattern.fewest(scores, current, LAYOUTS))
        current = select(scores, keep, current, spec)
    everything = masks.ones({k: s.shape for k, s in scores.items()})
    assert_same(current, slow_best_of_groups(pattern, scores, everything))


@pytest.mark.parametrize("n, m", [(2, 4), (1, 2), (1, 4), (4, 8)])
def test_n_m_of_tied_scores_keeps_the_first(n, m):
    pattern = patterns.NM(n, m)
    kept = masks.select(
        {"a": np.zeros((2 * m, 3))}, 6 * n, pattern=pattern
    )["a"]
    expected = np.tile(np.arange(m) < n, 2)
    np.testing.assert_array_equal(kept, np.tile(expected[:, None], 3))


def test_n_m_groups_of_a_convolution_lie_along_its_inputs():
    rng = np.random.default_rng(0)
    score = rng.standard_normal((3, 3, 8, 5))
    kept = masks.select({"a": score}, 180, pattern="2:4")["a"]
    assert (kept.reshape(9, 2, 4, 5).sum(2) == 2).all()
    kept = masks.select({"a": score[..., :4]}, 144, pattern="2:4:output")["a"]
    assert (kept.reshape(-1, 4).sum(1) == 2).all()


def test_n_m_keeps_short_groups_in_proportion_or_above():
    kept = masks.select({"a": np.arange(10.0)[:, None]}, 5, pattern="2:4")
    assert np.flatnonzero(kept["a"]).tolist() == [2, 3, 6, 7, 8, 9]
    kept = masks.select({"a": np.ones((3, 3, 1, 4))}, 18, pattern="2:4")
    assert kept["a"].all()


def test_n_m_refuses_other_densities_and_says_which_it_has():
    scores = {"a": np.ones((10, 3))}
    with pytest.raises(
        ValueError, match="'2:4'.*density 0.5, sparsity 0.5.*18 of 30.*keep=14"
    ):
        masks.select(scores, 14, pattern="2:4")
    pattern = patterns.NM(2, 4)
    everything = masks.ones({"a": (10, 3)})
    assert pattern.one_step(15, everything) == 18
    assert pattern.one_step(18, everything) == 18
    for keep in (13, 20, 25, 30):
        with pytest.raises(ValueError, match=f"sparsity 0.5.*keep={keep}"):
            pattern.one_step(keep, everything)
    # An odd number of weights: sparsity 0.5 rounds either way.
    everything = masks.ones({"a": (5, 5)})
    assert pattern.one_step(12, everything) == 15
    assert pattern.one_step(13, everything) == 15
    sparse = {"a": np.eye(8, dtype=bool)}
    assert pattern.one_step(32, sparse) == 8


@pytest.mark.parametrize("spec", ["unstructured", "block", "channel"])
def test_other_patterns_take_every_density(spec):
    everything = masks.ones({"a": (8, 3)})
    assert patterns.get_pattern(spec).one_step(7, everything) == 7


def toolkit_block_mask(kernel, sparsity, rows, columns, pool):
    """Block masks, and the number of blocks, as the TensorFlow toolkit does.

    It pools |w| over blocks, keeps round(n (1 - s)) of n, and expands.
    """
    blocks = np.abs(kernel).reshape(
        kernel.shape[0] // rows, rows, kernel.shape[1] // columns, columns
    )
    scores = blocks.mean((1, 3)) if pool == "mean" else blocks.max((1, 3))
    number = max(round(scores.size * (1 - sparsity)), 1)
    threshold = np.sort(scores.ravel())[-number]
    mask = np.kron(scores >= threshold, np.ones((rows, columns)))
    return mask.astype(bool), number


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("rows, columns", [(4, 1), (16, 1), (1, 4), (2, 2)])
def test_blocks_are_those_of_the_toolkit(rows, columns, sparsity, pool):
    kernel = np.random.default_rng(rows).standard_normal((48, 32))
    expected, number = toolkit_block_mask(
        kernel, sparsity, rows, columns, pool
    )
    pattern = patterns.Block(rows, columns, pool)
    keep = number * rows * columns
    kept = masks.select({"a": np.abs(kernel)}, keep, pattern=pattern)["a"]
    np.testing.assert_array_equal(kept, expected)


def test_one_by_one_blocks_are_unstructured():
    rng = np.random.default_rng(0)
    scores = {k: rng.random(shape) for k, (shape, _) in WEIGHTS.items()}
    keep = masks.size(scores) // 3
    assert_same(
        select(scores, keep, None, "block:1x1"),
        select(scores, keep, None, "unstructured"),
    )


def test_blocks_count_and_pool_survivors_only():
    score = np.array([[1.0, 9.0, 3.0], [9.0, 1.0, 3.0]])
    current = np.array([[True, False, True], [True, False, True]])
    kept = masks.select({"a": score}, 2, {"a": current}, pattern="block:1x2")
    assert kept["a"].astype(int).tolist() == [[1, 0, 0], [1, 0, 0]]


def test_nearest_number_of_units():
    score = np.repeat(np.arange(6.0), 10).reshape(6, 10).T
    for keep, units in ((10, 1), (14, 1), (15, 1), (16, 2), (25, 2), (60, 6)):
        kept = masks.select({"a": score}, keep, pattern="channel")["a"]
        assert kept.all(0).sum() == units == kept.any(0).sum()
    with pytest.raises(ValueError, match="at least 10, one unit.*'a'.*keep=5"):
        masks.select({"a": score}, 5, pattern="channel")
    empty = masks.select(
        {"a": score}, 5, pattern="channel", allow_collapse=True
    )
    assert not empty["a"].any()


COUPLED = {
    "a": (1, np.array([1, 2, 3, 0])),
    "b": (3, np.array([1, 2, 3, 0])),
    "c": ((0, 1), np.array([[4, 5], [5, 6]])),
}


def coupled_scores(rng):
    return {
        "a": rng.random((5, 4)),
        "b": rng.random((3, 3, 2, 4)),
        "c": rng.random((2, 2, 7)),
        "d": rng.random((3, 3)),
    }


def slow_coupled(scores, current, keep, norm):
    """Number of every entry's unit, then whole units by score."""
    number = {"d": np.zeros((3, 3), int)}
    number["a"] = np.broadcast_to(COUPLED["a"][1], (5, 4))
    number["b"] = np.broadcast_to(COUPLED["b"][1], (3, 3, 2, 4))
    number["c"] = np.broadcast_to(COUPLED["c"][1][..., None], (2, 2, 7))
    pool = patterns.Channel(norm=norm)
    scores = relative(pool, scores, current)
    values = {u: [] for u in range(7)}
    for key in scores:
        for unit in values:
            inside = (number[key] == unit) & current[key]
            values[unit] += scores[key][inside].tolist()
    alive = [u for u in range(1, 7) if values[u]]
    order = sorted(alive, key=lambda u: -pooled(pool, values[u]))
    totals = [len(values[0])]
    for unit in order:
        totals.append(totals[-1] + len(values[unit]))
    best = min(range(len(totals)), key=lambda n: abs(totals[n] - keep))
    chosen = [0, *order[:best]]
    return {k: np.isin(number[k], chosen) & current[k] for k in scores}


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 999),
    st.floats(0, 1),
    st.sampled_from(["relative", "l1", "l2", "mean"]),
    st.sampled_from([1.0, 0.6]),
)
def test_coupled_channels_go_everywhere_at_once(seed, part, norm, kept):
    rng = np.random.default_rng(seed)
    scores = coupled_scores(rng)
    current = {k: rng.random(s.shape) < kept for k, s in scores.items()}
    pattern = patterns.Channel(COUPLED, norm)
    keep = round(part * masks.count(current))
    found = masks.select(
        scores, keep, current, pattern=pattern, allow_collapse=True
    )
    assert_same(found, slow_coupled(scores, current, keep, norm))


def test_coupled_channels_leave_one_unit_of_every_key():
    scores = coupled_scores(np.random.default_rng(0))
    scores["c"] /= 1000
    pattern = patterns.Channel(COUPLED, "l1")
    least = pattern.fewest(scores, masks.ones(
        {k: s.shape for k, s in scores.items()}
    ))
    # Id 0: 5 + 18 + 9; units 4 and 6 have 7 weights each, 5 has 14.
    assert least == 32 + 14
    kept = masks.select(scores, least, pattern=pattern)
    assert kept["c"].sum() == 14 and kept["d"].all()
    assert kept["c"][0, 1].all() and kept["c"][1, 0].all()
    with pytest.raises(ValueError, match="at least 46, one unit"):
        masks.select(scores, 45, pattern=pattern)


def test_coupled_channels_must_be_ranked_together():
    scores = coupled_scores(np.random.default_rng(0))
    pattern = patterns.Channel(COUPLED, "l1")
    with pytest.raises(ValueError, match="Unit 1 couples 'a' with 'b'.*scope"):
        masks.select(scores, 10, groups=[["a", "c"]], pattern=pattern)
    kept = masks.select(scores, 14, groups=[["c"]], pattern=pattern)
    assert kept["a"].all() and kept["c"].sum() == 14


@pytest.mark.parametrize(
    "units, match",
    [
        ({"a": (0, np.array([0.5, 1.0]))}, "integers from 0.*'a'"),
        ({"a": (0, np.array([[1], [2]]))}, "one dimension for each axis"),
        ({"a": (0, np.array([-1, 2]))}, "from 0 on"),
        ({"a": 3}, "`units`.*'a'"),
        ({"a": (0, np.array([1, 2]))}, r"not fit 'a' of shape \(5, 4\)"),
        ({"a": (2, np.array([1, 2]))}, r"not fit 'a' of shape \(5, 4\)"),
    ],
)
def test_wrong_units_are_refused(units, match):
    with pytest.raises(ValueError, match=match):
        masks.select(
            {"a": np.ones((5, 4))}, 10, pattern=patterns.Channel(units)
        )


def test_channels_of_signed_scores():
    score = np.array([[-3.0, 1.0], [2.0, -1.5]])
    kept = masks.select({"a": score}, 2, pattern="channel")["a"]
    assert kept.tolist() == [[False, True], [False, True]]
    with pytest.raises(ValueError, match="'l2'.*negative.*'a'"):
        masks.select({"a": score}, 2, pattern="channel:l2")
    current = {"a": score > 0}
    assert masks.count(
        masks.select({"a": score}, 1, current, pattern="channel:l2")
    ) == 1


def test_l2_does_not_overflow_in_half_precision():
    score = np.array([[300.0, 299.0], [300.0, 301.5]], np.float16)
    kept = masks.select({"a": score}, 2, pattern="channel:l2")["a"]
    assert kept.tolist() == [[False, True], [False, True]]


@pytest.mark.parametrize("spec", SPECS)
def test_scores_that_are_not_finite_are_refused(spec):
    scores = {"fc/kernel": np.array([[1.0, np.nan], [1.0, 1.0]])}
    with pytest.raises(ValueError, match="finite.*nan.*'fc/kernel'"):
        masks.select(scores, 2, pattern=spec)


@pytest.mark.parametrize("spec", SPECS)
def test_empty_weights_and_weights_without_survivors(spec):
    scores = {"a": np.zeros((0, 3)), "b": np.ones((8, 4)), "c": np.ones(())}
    current = masks.ones({k: s.shape for k, s in scores.items()})
    current["b"][:] = False
    kept = masks.select(scores, 1, current, pattern=spec)
    assert_same(kept, current)


@pytest.mark.parametrize("spec", SPECS)
def test_strings_round_trip(spec):
    pattern = patterns.get_pattern(spec)
    assert patterns.get_pattern(pattern.spec) == pattern
    assert str(pattern) == pattern.spec
    assert hash(patterns.get_pattern(pattern.spec)) == hash(pattern)
    assert patterns.get_pattern(pattern) is pattern
    assert masks.get_pattern is patterns.get_pattern


def test_what_strings_mean():
    found = {spec: patterns.get_pattern(spec) for spec in SPECS}
    assert found["block"] == patterns.Block(inputs=4, outputs=1, pool="mean")
    assert found["block"].spec == "block:1x4"
    assert found["block:2x3"] == patterns.Block(inputs=3, outputs=2)
    assert found["block:2x2:max"] == patterns.Block(2, 2, "max")
    assert found["2:4:output"] == patterns.NM(2, 4, "output")
    assert found["channel"] == patterns.Channel(norm="relative")
    assert found["channel:l1"] == patterns.Channel(norm="l1")
    assert found["channel:l2"] == patterns.Channel(norm="l2")
    coupled = patterns.Channel(COUPLED)
    assert coupled.spec == "channel" and coupled == patterns.Channel()


@pytest.mark.parametrize(
    "wrong",
    ["blocks", "block:4", "block:0x4", "block:1x4:min", "4:2", "0:4", "2:2",
     "2:4:both", "channel:l3", "channel:", "", "unstructured:1", None, 3, "1x4",
     patterns.Block],
)
def test_wrong_patterns_are_refused(wrong):
    with pytest.raises(ValueError, match="Received"):
        patterns.get_pattern(wrong)


def test_unknown_patterns_list_the_valid_ones():
    with pytest.raises(ValueError) as error:
        patterns.get_pattern("random")
    for form in ("unstructured", "block:1x4", "2:4", "channel"):
        assert repr(form) in str(error.value)


@pytest.mark.parametrize("sizes", [(4.0, 1), (True, 1), (4, -1)])
def test_wrong_block_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="`(in|out)puts`"):
        patterns.Block(*sizes)


def test_layouts_that_do_not_fit_are_refused():
    scores = {"a": np.ones((4, 4))}
    with pytest.raises(ValueError, match="`layouts`.*'a'"):
        masks.select(
            scores, 4, pattern="block", layouts={"a": Layout((2,), (3,))}
        )


def test_groups_are_ranked_apart():
    scores = {"a": np.arange(16.0).reshape(4, 4), "b": np.ones((8, 2))}
    kept = masks.select(
        scores, [8, 4], groups=[["a"], ["b"]], pattern="block"
    )
    assert {k: int(m.sum()) for k, m in kept.items()} == {"a": 8, "b": 4}
