"""Criteria that look at the weights alone: LAMP and the supermask paper's."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tests.conftest import sequential
from tf_lottery import pruning
from tf_lottery import weights
from tf_lottery.criteria import deconstructed
from tf_lottery.criteria import magnitude
from tf_lottery.criteria.criterion import Context

few = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 10**6)


class Stub:
    """As much of a variable as these criteria need."""

    def __init__(self, values):
        self.values = np.asarray(values)
        self.shape = self.values.shape

    def __array__(self, dtype=None, copy=None):
        return self.values.astype(dtype or self.values.dtype)


def score(criterion, final, initial=None, mask=None):
    final = np.asarray(final, "float64")
    mask = np.ones(final.shape, bool) if mask is None else mask
    context = Context(snapshot=None if initial is None else {"k": initial})
    variables = {"k": Stub(final)}
    return criterion.prepare(None, variables, context)({"k": mask})["k"]


def kept(scores, number):
    """Positions of the best scores; of equal ones the first."""
    return set(np.argsort(-scores.ravel(), kind="stable")[:number].tolist())


def slow_lamp(values):
    """Equation 1 of the paper, one weight after the other.

    Of equal weights the first is the larger one.
    """
    flat = values.ravel().astype("float64")
    scores = np.zeros(flat.size)
    for u, w in enumerate(flat):
        rest = sum(
            x**2
            for v, x in enumerate(flat)
            if abs(x) > abs(w) or (abs(x) == abs(w) and v <= u)
        )
        scores[u] = w**2 / rest if w else 0
    return scores.reshape(values.shape)


@given(seed=seeds, rows=st.integers(1, 6), columns=st.integers(1, 6))
@few
def test_lamp_is_equation_1(seed, rows, columns):
    rng = np.random.default_rng(seed)
    # Few distinct values: ties.
    values = rng.integers(-3, 4, (rows, columns)) * rng.normal()
    values[0, 0] = 9
    scores = score(magnitude.LAMP(), values)
    assert scores.dtype == "float64"
    np.testing.assert_allclose(scores, slow_lamp(values), rtol=1e-12)


@given(seed=seeds, scale=st.sampled_from([1e-200, 1e-30, 1.0, 1e30, 1e200]))
@few
def test_lamp_s_best_is_exactly_1_and_alone(seed, scale):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(5, 7)) * scale
    scores = score(magnitude.LAMP(), values)
    assert scores.max() == 1 and (scores == 1).sum() == 1
    assert scores.argmax() == np.abs(values).argmax()
    order = np.argsort(np.abs(values), axis=None)
    assert (np.diff(scores.ravel()[order]) > 0).all()


def test_lamp_of_equal_weights_counts_down_by_index():
    scores = score(magnitude.LAMP(), np.full((2, 3), -0.25))
    assert scores.ravel().tolist() == [1 / n for n in range(1, 7)]


def test_lamp_looks_at_what_is_left():
    values = np.array([[5.0, 3.0], [4.0, 0.0]])
    mask = np.array([[False, True], [True, True]])
    scores = score(magnitude.LAMP(), values, mask=mask)
    assert scores[1, 0] == 1
    assert scores[0, 1] == pytest.approx(9 / 25)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_lamp_of_a_layer_of_zeros_keeps_the_first_left(dtype):
    mask = np.array([False, False, True, True])
    scores = score(magnitude.LAMP(), np.zeros(4, dtype), mask=mask)
    assert scores.tolist() == [0, 0, 1, 0]


@given(seed=seeds, extra=st.integers(0, 20))
@few
def test_lamp_empties_no_layer(seed, extra):
    rng = np.random.default_rng(seed)
    variables = {
        str(i): Stub(rng.normal(size=(4, i + 1)) * 10.0 ** rng.integers(-6, 6))
        for i in range(4)
    }
    masks = {key: np.ones(v.shape, bool) for key, v in variables.items()}
    scores = magnitude.LAMP().prepare(None, variables, Context())(masks)
    best = kept(np.concatenate([s.ravel() for s in scores.values()]), 4 + extra)
    start = 0
    for array in scores.values():
        assert best & set(range(start, start + array.size))
        start += array.size


def test_lamp_prunes_a_model_and_leaves_its_values():
    model = sequential()
    model.compile("sgd", "mse")
    model.layers[1].kernel.assign(model.layers[1].kernel * 1e-6)
    before = [v.numpy() for v in model.variables]
    masks = pruning.prune(
        model, 0.9, criterion=magnitude.LAMP(), collapse="error"
    )
    assert sum(m.sum() for m in masks.values()) == round(0.1 * 224)
    for key, variable in weights.prunable(model).items():
        survivors = variable.numpy()[masks[key]]
        assert survivors.size
        position = [v.path for v in model.variables].index(variable.path)
        np.testing.assert_array_equal(survivors, before[position][masks[key]])


FORMULAS = {
    "large_final": lambda i, f: abs(f),
    "small_final": lambda i, f: -abs(f),
    "large_init": lambda i, f: abs(i),
    "small_init": lambda i, f: -abs(i),
    "magnitude_increase": lambda i, f: abs(f) - abs(i),
    "movement": lambda i, f: abs(f - i),
}
BY_NAME = {c.name: c for c in deconstructed.ALL_DECONSTRUCTED}


@pytest.mark.parametrize("name", FORMULAS)
def test_scores_are_the_paper_s_formulas(name):
    rng = np.random.default_rng(0)
    initial, final = rng.normal(size=(2, 4, 6))
    np.testing.assert_array_equal(
        score(BY_NAME[name](), final, initial), FORMULAS[name](initial, final)
    )


def quadrant(initial, final, number):
    """The authors' search: one percentile that both values must reach."""
    for limit in range(initial.size + 1):
        both = [
            set(np.argsort(values, axis=None)[limit:].tolist())
            for values in (initial, final)
        ]
        if len(both[0] & both[1]) <= number:
            return both[0] & both[1]


@pytest.mark.parametrize("sign", [1, -1])
@given(seed=seeds, size=st.integers(2, 40))
@few
def test_both_are_cut_at_one_percentile(sign, seed, size):
    rng = np.random.default_rng(seed)
    initial, final = rng.normal(size=(2, size))
    final *= 30
    name = "large_init_large_final" if sign == 1 else "small_init_small_final"
    scores = score(BY_NAME[name](), final, initial)
    for number in range(1, size):
        expected = quadrant(sign * abs(initial), sign * abs(final), number)
        if len(expected) == number:  # not all numbers can be reached
            assert kept(scores, number) == expected


@given(seed=seeds, alpha=st.floats(0.01, 100))
@few
def test_the_aligned_magnitude_is_alpha_times_w_f(seed, alpha):
    """Where initial and final weights differ by a factor, it is alpha."""
    rng = np.random.default_rng(seed)
    initial = rng.normal(size=30)
    final = rng.permutation(initial) / alpha
    np.testing.assert_allclose(
        score(BY_NAME["large_init_large_final"](), final, initial),
        np.minimum(alpha * abs(final), abs(initial)),
    )
    np.testing.assert_allclose(
        score(BY_NAME["small_init_small_final"](), final, initial),
        -np.maximum(alpha * abs(final), abs(initial)),
    )


@pytest.mark.parametrize("name", BY_NAME)
def test_pruned_weights_are_left_out_of_the_ranks(name):
    rng = np.random.default_rng(1)
    initial, final = rng.normal(size=(2, 20))
    mask = rng.random(20) < 0.6
    scores = score(BY_NAME[name](), final * mask, initial, mask)
    alone = score(BY_NAME[name](), final[mask], initial[mask])
    np.testing.assert_array_equal(scores[mask], alone)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", BY_NAME)
def test_criteria_on_a_model(name, any_model):
    variables = weights.prunable(any_model)
    snapshot = {
        key: variable.numpy() + 1 for key, variable in variables.items()
    }
    before = [v.numpy() for v in any_model.variables]
    scores = BY_NAME[name]()(any_model, variables, Context(snapshot=snapshot))
    assert {k: s.shape for k, s in scores.items()} == {
        k: tuple(v.shape) for k, v in variables.items()
    }
    for variable, value in zip(any_model.variables, before):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert type(BY_NAME[name]())(**BY_NAME[name]().get_config())


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16", "float64"])
def test_every_dtype(policy):
    keras.config.set_dtype_policy(policy)
    model = sequential()
    variables = weights.prunable(model)
    snapshot = {k: np.ones(v.shape) for k, v in variables.items()}
    for criterion in (magnitude.LAMP, *deconstructed.ALL_DECONSTRUCTED):
        scores = criterion()(model, variables, Context(snapshot=snapshot))
        assert all(s.dtype == "float64" for s in scores.values())


def test_a_missing_snapshot_says_how_to_give_it():
    model = sequential()
    with pytest.raises(ValueError, match="'movement'.*`snapshot`") as error:
        deconstructed.Movement()(model, weights.prunable(model))
    assert "Received: snapshot=None" in str(error.value)


@pytest.mark.parametrize("wrong", ["absent", "shape"])
def test_a_snapshot_that_does_not_fit_names_the_weight(wrong):
    model = sequential()
    variables = weights.prunable(model)
    snapshot = {k: np.ones(v.shape) for k, v in variables.items()}
    snapshot["logits/kernel"] = np.ones((3, 3))
    if wrong == "absent":
        del snapshot["logits/kernel"]
    with pytest.raises(ValueError, match="'logits/kernel': expected") as error:
        deconstructed.LargeInit()(model, variables, Context(snapshot=snapshot))
    assert "fc1/kernel" in str(error.value) and "(16, 4)" in str(error.value)


@pytest.mark.parametrize("criterion", deconstructed.ALL_DECONSTRUCTED[:2])
def test_final_weights_alone_need_no_snapshot(criterion):
    model = sequential()
    criterion()(model, weights.prunable(model))
