"""Compaction: what is dead, by brute force, and that nothing is lost."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from keras import layers
from keras import ops

import tf_lottery as tfl
from tf_lottery import structured
from tf_lottery import weights


def dense(activation="relu"):
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(10, activation, name="a"),
            layers.Dense(8, activation, name="b"),
            layers.Dense(3, name="logits"),
        ]
    )


def convolutional(padding="same", bias=True):
    inputs = keras.Input((10, 10, 3))
    x = layers.Conv2D(8, 3, padding=padding, use_bias=bias, name="c1")(inputs)
    x = layers.BatchNormalization(name="n1")(x)
    x = layers.Activation("sigmoid", name="s1")(x)
    x = layers.Conv2D(8, 3, padding=padding, use_bias=bias, name="c2")(x)
    x = layers.BatchNormalization(name="n2")(x)
    x = layers.ReLU(name="r2")(x)
    x = layers.Flatten(name="flat")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def random_weights(model, seed=0):
    rng = np.random.default_rng(seed)
    for key, variable in weights.variables(model).items():
        name = key.rsplit("/", 1)[-1]
        if name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        else:
            variable.assign(rng.normal(0, 0.5, variable.shape))


def masks_of(model, density, seed=0):
    rng = np.random.default_rng(seed)
    return {
        key: rng.random(tuple(v.shape)) < density
        for key, v in weights.prunable(model).items()
    }


def outputs_of(model, masks=None, seed=3):
    """Outputs of the model with masked weights at zero."""
    variables = weights.variables(model)
    old = {key: np.array(variables[key]) for key in masks or {}}
    for key, mask in (masks or {}).items():
        variables[key].assign(np.where(mask, old[key], 0))
    x = np.random.default_rng(seed).normal(size=(8, *model.input_shape[1:]))
    found = np.asarray(ops.convert_to_numpy(model(x, training=False)))
    for key, value in old.items():
        variables[key].assign(value)
    return found


def alive_by_brute_force(masks):
    """Units of `dense` on a way from an input to an output, one by one."""
    a, b, c = (masks[f"{n}/kernel"] for n in ("a", "b", "logits"))
    alive_a = [
        any(a[:, i]) and any(b[i, j] and any(c[j]) for j in range(8))
        for i in range(10)
    ]
    alive_b = [
        any(c[j]) and any(b[i, j] and any(a[:, i]) for i in range(10))
        for j in range(8)
    ]
    return sum(alive_a), sum(alive_b)


@pytest.mark.slow
@given(density=st.floats(0.03, 0.5), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_dense_networks_against_brute_force(density, seed):
    model = dense()
    random_weights(model, seed)
    masks = masks_of(model, density, seed)
    masks["logits/kernel"].flat[0] = True
    small = structured.compact(model, masks)
    found = small.get_layer("a").units, small.get_layer("b").units
    expected = alive_by_brute_force(masks)
    assert found == tuple(max(n, 1) for n in expected)
    np.testing.assert_allclose(
        outputs_of(small), outputs_of(model, masks), atol=1e-5
    )
    report = structured.report_of(small)
    assert report.unread + report.constant == 18 - sum(found)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu"])
def test_constants_go_into_the_next_bias(activation):
    model = dense(activation)
    random_weights(model)
    masks = {key: np.ones_like(m) for key, m in masks_of(model, 1).items()}
    masks["a/kernel"][:, :4] = False
    masks["b/kernel"][4:, :2] = False  # reads constants only: constant, too
    small = structured.compact(model, masks)
    report = structured.report_of(small)
    assert (report.constant, report.unread) == (6, 0)
    assert small.get_layer("a").units == 6
    assert small.get_layer("b").units == 6
    np.testing.assert_allclose(
        outputs_of(small), outputs_of(model, masks), atol=1e-5
    )


@pytest.mark.parametrize(
    "padding, bias, filters",
    [("valid", True, 5), ("valid", False, 8), ("same", True, 8)],
)
def test_constants_stay_where_they_cannot_be_taken_up(padding, bias, filters):
    model = convolutional(padding, bias)
    random_weights(model)
    mask = np.ones((3, 3, 3, 8), bool)
    mask[..., :3] = False
    masks = {"c1/kernel": mask}
    small = structured.compact(model, masks)
    assert small.get_layer("c1").filters == filters
    np.testing.assert_allclose(
        outputs_of(small), outputs_of(model, masks), atol=1e-5
    )


def test_zero_at_inference_goes_in_spite_of_padding():
    model = convolutional("same", bias=False)
    random_weights(model)
    norm = model.get_layer("n2")
    # The constant behind ReLU: beta - gamma * mean / sqrt(variance + eps).
    norm.moving_mean.assign(np.full(8, 1.0))
    norm.beta.assign([-1.0, 5, -1, 5, 0, 0, 0, 0])
    mask = np.ones((3, 3, 8, 8), bool)
    mask[..., :4] = False
    masks = {"c2/kernel": mask}
    small = structured.compact(model, masks)
    # Two are negative before ReLU, so zero; two go into the dense bias.
    assert small.get_layer("c2").filters == 4
    assert structured.report_of(small).constant == 4
    np.testing.assert_allclose(
        outputs_of(small), outputs_of(model, masks), rtol=1e-5, atol=1e-5
    )


def test_a_dead_layer_keeps_one_unit():
    model = dense()
    random_weights(model)
    masks = {key: np.ones_like(m) for key, m in masks_of(model, 1).items()}
    masks["b/kernel"][:] = False
    small = structured.compact(model, masks)
    assert small.get_layer("a").units == small.get_layer("b").units == 1
    np.testing.assert_allclose(
        outputs_of(small), outputs_of(model, masks), atol=1e-5
    )


def test_residual_streams_go_as_a_whole():
    inputs = keras.Input((6,))
    x = layers.Dense(8, name="one")(inputs)
    y = layers.Dense(8, name="two")(inputs)
    z = layers.Add(name="add")([x, y])
    model = keras.Model(inputs, layers.Dense(3, name="logits")(z))
    random_weights(model)
    one, two = np.ones((6, 8), bool), np.ones((6, 8), bool)
    one[:, :4] = False
    two[:, 2:6] = False
    masks = {"one/kernel": one, "two/kernel": two}
    small = structured.compact(model, masks)
    # Only units 2 and 3 are constant in both.
    assert small.get_layer("one").units == 6
    np.testing.assert_allclose(
        outputs_of(small), outputs_of(model, masks), atol=1e-5
    )


def test_recurrent_units_that_read_only_themselves_are_dead():
    model = keras.Sequential(
        [
            keras.Input((5, 4)),
            layers.SimpleRNN(6, name="rnn"),
            layers.Dense(3, name="logits"),
        ]
    )
    random_weights(model)
    out = np.ones((6, 3), bool)
    out[:2] = False
    own = np.ones((6, 6), bool)
    own[:2, 2:] = False
    masks = {"logits/kernel": out, "rnn/recurrent_kernel": own}
    masks = {k: masks.get(k, np.ones_like(m))
             for k, m in masks_of(model, 1).items()
             if k in masks or k.endswith("kernel")}
    key = next(k for k in masks if k.endswith("recurrent_kernel"))
    masks[key] = own
    small = structured.compact(model, masks)
    assert small.get_layer("rnn").units == 4
    np.testing.assert_allclose(
        outputs_of(small), outputs_of(model, masks), atol=1e-5
    )


def trained(model, density=0.15):
    x = np.random.default_rng(0).normal(size=(64, *model.input_shape[1:]))
    y = np.random.default_rng(1).integers(0, 3, 64)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    snapshot = tfl.holding.capture(model, step=0)
    model.fit(x, y, epochs=1, verbose=0)
    masks = tfl.prune(model, 1 - density)
    model.fit(x, y, epochs=2, verbose=0)
    return x, y, tfl.Ticket(masks, snapshot)


@pytest.mark.slow
@pytest.mark.some(1)
@pytest.mark.parametrize(
    "make, density", [(dense, 0.15), (convolutional, 0.04)]
)
def test_a_ticket_is_compacted_rewound_and_trained(make, density):
    model = make()
    random_weights(model)
    x, y, ticket = trained(model, density)
    small = structured.compact(model)
    small_ticket = structured.compact_ticket(ticket, model)
    assert small.count_params() < model.count_params()
    np.testing.assert_allclose(outputs_of(small), outputs_of(model), atol=1e-5)
    small_ticket.apply(small)
    ticket.apply(model)
    np.testing.assert_allclose(outputs_of(small), outputs_of(model), atol=1e-5)
    held = tfl.masks_of(small)
    small.fit(x, y, epochs=1, verbose=0)
    for key, mask in held.items():
        value = ops.convert_to_numpy(weights.variables(small)[key])
        assert not value[~mask].any()


@pytest.mark.slow
def test_unread_units_leave_the_trajectory_alone():
    model = dense()
    random_weights(model)
    x, y, _ = trained(model, density=0.9)
    masks = tfl.masks_of(model)
    masks["b/kernel"][:5] = False
    tfl.hold(model, masks)
    small = structured.compact(model)
    assert small.get_layer("a").units == 5
    for _ in range(20):
        model.train_on_batch(x, y)
        small.train_on_batch(x, y)
    np.testing.assert_allclose(outputs_of(small), outputs_of(model), rtol=1e-4)


def test_zeros_count_where_no_mask_is_held():
    model = dense()
    random_weights(model)
    kernel = np.array(ops.convert_to_numpy(model.get_layer("b").kernel))
    kernel[:4] = 0
    model.get_layer("b").kernel.assign(kernel)
    assert structured.compact(model).get_layer("a").units == 6


@pytest.mark.slow
def test_twice_finds_nothing_and_dense_is_the_identity():
    model = convolutional()
    random_weights(model)
    masks = masks_of(model, 0.03)
    small = structured.compact(model, masks)
    again = structured.compact(small)
    report = structured.report_of(again)
    assert (report.unread, report.constant, report.layers) == (0, 0, {})
    same = structured.compact(convolutional())
    assert same.count_params() == convolutional().count_params()


def test_the_report_counts_what_is_gone():
    model = dense()
    random_weights(model)
    masks = {key: np.ones_like(m) for key, m in masks_of(model, 1).items()}
    masks["logits/kernel"][:3] = False
    small = structured.compact(model, masks)
    report = structured.report_of(small)
    assert report.layers == {
        "b": {"units": 3, "params": 33, "macs": 30},
        "logits": {"units": 0, "params": 9, "macs": 9},
    }
    gone = sum(of["params"] for of in report.layers.values())
    assert model.count_params() - small.count_params() == gone
    assert "3 units that nothing reads" in str(report)
    assert structured.proof_of(small).error < 1e-12
    with pytest.raises(ValueError, match="no report"):
        structured.report_of(model)


def test_masks_must_fit():
    with pytest.raises(ValueError, match="no weight"):
        structured.compact(dense(), {"nowhere/kernel": np.ones((2, 2), bool)})
