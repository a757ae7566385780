"""Controls take the masks or the weights of a ticket away."""

import keras
import numpy as np
import pytest
from keras import layers

import tf_lottery as tfl
from tests import conftest
from tests.conftest import loss
from tf_lottery import controls
from tf_lottery import holding


def sequential(*stack, shape=(6,)):
    return keras.Sequential([keras.Input(shape), *stack])


def ticket_of(model, step=0, **kwargs):
    """A ticket with weights that no initializer would draw."""
    masks = conftest.random_masks(model, 0.4)
    snapshot = holding.capture(model, step)
    weights = {
        key: array if "seed" in key else np.full_like(array, 7)
        for key, array in snapshot.weights.items()
    }
    snapshot = tfl.weights.snapshots.Snapshot(step, weights, snapshot.optimizer)
    return tfl.Ticket(masks, snapshot, **kwargs)


def weights_of(ticket):
    return ticket.snapshot.weights


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


@pytest.fixture
def ticket(compiled):
    return ticket_of(
        compiled, step=5, round=4, metrics={"loss": 1.0},
        provenance={"keras": "3"},
    )


def test_random_masks_keep_the_counts(ticket):
    control = controls.random_masks(ticket, seed=1)
    assert control.masks.keys() == ticket.masks.keys()
    for key, mask in control.masks.items():
        assert mask.dtype == bool and mask.shape == ticket.masks[key].shape
        assert mask.sum() == ticket.masks[key].sum()
        assert (mask != ticket.masks[key]).any()
    # All else is the ticket's.
    assert control.snapshot is ticket.snapshot
    assert control.round == 4 and control.metrics == {}
    assert control.provenance == {
        "keras": "3", "control": "random_masks", "seed": 1
    }
    assert ticket.provenance == {"keras": "3"}


def test_random_masks_are_independent_of_the_old_ones():
    model = sequential(layers.Dense(2000), shape=(100,))
    mask = np.zeros((100, 2000), bool)
    mask[:25] = True
    ticket = tfl.Ticket.of(model, {"dense/kernel": mask})
    control = controls.random_masks(ticket).masks["dense/kernel"]
    assert control.sum() == mask.sum() == 50_000
    # A quarter of the new mask lies in every quarter of the rows.
    quarters = control.reshape(4, -1).mean(1)
    np.testing.assert_allclose(quarters, 0.25, atol=0.01)
    overlap = tfl.masks.overlap({"": control}, {"": mask})
    assert overlap == pytest.approx(0.25 / 1.75, abs=0.01)


@pytest.mark.parametrize(
    "make",
    [
        controls.random_masks,
        lambda ticket, seed: controls.random_reinitialize(
            ticket, conftest.functional(), seed
        ),
    ],
    ids=["random_masks", "random_reinitialize"],
)
def test_seeds(make, ticket):
    def drawn(seed):
        control = make(ticket, seed)
        return control.masks | {
            f"weight/{key}": value
            for key, value in weights_of(control).items()
        }

    assert_equal(drawn(3), drawn(3))
    keras.utils.set_random_seed(99)
    first, second = drawn(3), drawn(4)
    assert_equal(first, drawn(3))
    changed = [k for k in first if (first[k] != second[k]).any()]
    assert len(changed) == 3


def test_every_weight_has_a_stream_of_its_own():
    model = sequential(layers.Dense(6, name="a"), layers.Dense(6, name="b"))
    ticket = ticket_of(model)
    ticket.masks["b/kernel"][...] = ticket.masks["a/kernel"]
    masks = controls.random_masks(ticket).masks
    assert (masks["a/kernel"] != masks["b/kernel"]).any()
    weights = weights_of(controls.random_reinitialize(ticket, model))
    assert (weights["a/kernel"] != weights["b/kernel"]).all()


def test_reinitialized_ticket(ticket, compiled):
    before = [np.array(v) for v in compiled.variables]
    control = controls.random_reinitialize(ticket, compiled, seed=2)
    for variable, value in zip(compiled.variables, before):
        np.testing.assert_array_equal(np.array(variable), value)
    assert tfl.masks_of(compiled) == {}
    assert (weights_of(ticket)["fc1/kernel"] == 7).all()
    assert control.masks is ticket.masks
    assert control.snapshot.step == 0 and control.snapshot.optimizer == []
    assert control.round == 4 and control.metrics == {}
    assert control.provenance["control"] == "random_reinitialize"
    assert control.provenance["seed"] == 2


def test_reinitialized_weights_and_statistics(ticket, compiled):
    weights = weights_of(controls.random_reinitialize(ticket, compiled))
    fresh = tfl.weights.variables(conftest.functional())
    assert list(weights) == list(fresh)
    for key, value in weights.items():
        assert value.shape == tuple(fresh[key].shape), key
        assert value.dtype == np.array(fresh[key]).dtype, key
        if "kernel" in key:
            limit = np.sqrt(6 / sum(value.shape))
            assert np.abs(value).max() <= limit
            assert value.std() == pytest.approx(limit / 3**0.5, rel=0.2)
        else:
            expected = fresh[key]
            if "seed" in key:
                expected = weights_of(ticket)[key]
            np.testing.assert_array_equal(value, np.array(expected), key)


KERNELS = {
    "glorot_uniform": (1 / 550) ** 0.5,
    "glorot_normal": (1 / 550) ** 0.5,
    "he_normal": (2 / 1000) ** 0.5,
    "lecun_uniform": (1 / 1000) ** 0.5,
    "orthogonal": (1 / 1000) ** 0.5,
    "zeros": 0.0,
    "random": 0.3,
    "function": 1.0,
}


@pytest.mark.parametrize("name", KERNELS)
def test_the_scale_is_that_of_the_initializer(name):
    initializer = {
        "random": keras.initializers.RandomNormal(1.0, 0.3, seed=1),
        "function": lambda shape, dtype: np.ones(shape, dtype) * 2,
    }.get(name, name)
    model = sequential(
        layers.Dense(100, kernel_initializer=initializer), shape=(1000,)
    )
    weights = weights_of(
        controls.random_reinitialize(ticket_of(model), model)
    )
    kernel = weights["dense/kernel"]
    mean = 1 if name in ("random", "function") else 0
    scale = np.sqrt(np.mean((kernel - mean) ** 2))
    assert scale == pytest.approx(KERNELS[name], rel=0.03)
    if name == "orthogonal":
        np.testing.assert_allclose(kernel.T @ kernel, np.eye(100), atol=1e-4)
    if name == "random":
        # The seed of the user's initializer makes way for the control's.
        assert (np.array(initializer((1000, 100))) != kernel).all()


STACKS = {
    "lstm": (lambda: layers.LSTM(5), (4, 6)),
    "gru": (lambda: layers.GRU(5), (4, 6)),
    "bidirectional": (lambda: layers.Bidirectional(layers.LSTM(5)), (4, 6)),
    "convlstm": (lambda: layers.ConvLSTM1D(5, 2), (3, 4, 6)),
    "no forget": (
        lambda: layers.LSTM(5, unit_forget_bias=False), (4, 6)
    ),
    "depthwise": (lambda: layers.DepthwiseConv2D(2), (4, 4, 6)),
    "separable": (lambda: layers.SeparableConv2D(3, 2), (4, 4, 6)),
    "transposed": (lambda: layers.Conv2DTranspose(3, 2), (4, 4, 6)),
    "embedding": (lambda: layers.Embedding(9, 5), (4,)),
    "prelu": (lambda: layers.PReLU(), (6,)),
    "einsum": (
        lambda: layers.EinsumDense("ab,bc->ac", 3, bias_axes="c"), (6,)
    ),
    "norms": (
        lambda: keras.Sequential(
            [layers.BatchNormalization(), layers.LayerNormalization(),
             layers.GroupNormalization(3)]
        ),
        (6,),
    ),
}


@pytest.mark.parametrize("name", STACKS)
def test_layers_are_drawn_as_when_they_are_made(name):
    make, shape = STACKS[name]
    model = sequential(make(), shape=shape)
    before = {k: np.array(v) for k, v in tfl.weights.variables(model).items()}
    snapshot = tfl.weights.snapshots.Snapshot(
        0, {k: np.full_like(v, 7) for k, v in before.items()}
    )
    ticket = tfl.Ticket({}, snapshot)
    drawn = weights_of(controls.random_reinitialize(ticket, model))
    assert list(drawn) == list(before)
    for key, value in drawn.items():
        made = before[key]
        assert value.dtype == made.dtype and value.shape == made.shape
        if "seed" in key:
            assert (value == 7).all()
        elif len(np.unique(made)) <= 2:
            # Biases, with that of the forget gate, gamma, statistics.
            np.testing.assert_array_equal(value, made, key)
        else:
            assert (value != made).mean() > 0.9
            assert value.std() == pytest.approx(made.std(), rel=0.5)
    model.set_weights([drawn[k] for k in before if "seed" not in k])


def test_attention():
    inputs = keras.Input((4, 6))
    model = keras.Model(
        inputs, layers.MultiHeadAttention(4, 16)(inputs, inputs)
    )
    model.compile("sgd", "mse")
    ticket = ticket_of(model)
    weights = weights_of(controls.random_reinitialize(ticket, model))
    for part in ("query", "key", "value", "attention_output"):
        kernel = weights[f"multi_head_attention/{part}/kernel"]
        made = tfl.weights.variables(model)[
            f"multi_head_attention/{part}/kernel"
        ]
        assert kernel.std() == pytest.approx(np.std(made), rel=0.3)
        bias = weights[f"multi_head_attention/{part}/bias"]
        assert not np.count_nonzero(bias)


def test_frozen_layers_and_data_statistics_stay():
    scale = layers.Normalization(name="scale")
    scale.adapt(np.arange(12.0).reshape(2, 6))
    model = sequential(
        scale,
        layers.Dense(6, name="base"),
        layers.SpectralNormalization(layers.Dense(4), name="norm"),
    )
    model.get_layer("base").trainable = False
    ticket = ticket_of(model)
    weights = weights_of(controls.random_reinitialize(ticket, model))
    changed = {
        k for k in weights if (weights[k] != weights_of(ticket)[k]).any()
    }
    assert changed == {"norm/dense/kernel", "norm/dense/bias"}


def test_an_unknown_initializer():
    class Odd(layers.Layer):
        def build(self, shape):
            self.table = self.add_weight(
                shape=(shape[-1], 3), name="table", initializer="ones"
            )

        def call(self, inputs):
            return inputs @ self.table

    class Known(Odd):
        table_initializer = "ones"

    for kind in (Odd, Known):
        model = sequential(kind(name="odd"), layers.Dense(2))
        ticket = ticket_of(model)
        if kind is Known:
            control = controls.random_reinitialize(ticket, model)
            assert (weights_of(control)["odd/table"] == 1).all()
        else:
            with pytest.raises(ValueError, match="'table_initializer'.*Keep"):
                controls.random_reinitialize(ticket, model)


def test_another_model_is_refused(ticket):
    with pytest.raises(ValueError, match="another architecture"):
        controls.random_reinitialize(ticket, conftest.sequential())
    with pytest.raises(ValueError, match="is not built"):
        controls.random_reinitialize(
            ticket, keras.Sequential([layers.Dense(3)])
        )


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed_bfloat16", "float64"])
def test_precision(dtype):
    keras.config.set_dtype_policy(dtype)
    model = conftest.sequential()
    weights = weights_of(
        controls.random_reinitialize(ticket_of(model), model)
    )
    stored = np.array(model.layers[0].kernel).dtype
    assert weights["fc1/kernel"].dtype == stored


@pytest.mark.some(1)
@pytest.mark.parametrize("control", ["random_masks", "random_reinitialize"])
def test_controls_are_tickets(control, ticket, compiled, data, tmp_path):
    made = (
        controls.random_masks(ticket) if control == "random_masks"
        else controls.random_reinitialize(ticket, compiled)
    )
    made.save(tmp_path / "control.ticket")
    compiled.fit(*data, verbose=0)
    tfl.Ticket.load(tmp_path / "control.ticket").apply(compiled)
    step = 5 if control == "random_masks" else 0
    assert int(compiled.optimizer.iterations) == step
    assert_equal(tfl.masks_of(compiled), made.masks)
    kernel = np.array(compiled.get_layer("fc1").kernel)
    mask = made.masks["fc1/kernel"]
    np.testing.assert_array_equal(
        kernel, np.where(mask, weights_of(made)["fc1/kernel"], 0)
    )
    ends = conftest.BatchEnds()
    compiled.compile("sgd", loss())
    compiled.fit(*data, verbose=0, callbacks=[ends])
    assert ends.revived == 0 and ends.seen > 0


def initial_ticket(dtype="float32", step=0, zeroed=False):
    """A ticket with known values: 900 of 3000 weights are kept."""
    keras.config.set_dtype_policy(dtype)
    model = sequential(layers.Dense(50, name="fc"), shape=(60,))
    model.compile("adam", "mse")
    rng = np.random.default_rng(1)
    mask = np.zeros((60, 50), bool)
    mask[:18] = True
    snapshot = holding.capture(model, step)
    like = snapshot.weights["fc/kernel"]
    value = rng.normal(0.1, 1, (60, 50)).astype(like.dtype)
    value[0, 0] = 0
    if zeroed:
        value *= mask
    weights = {**snapshot.weights, "fc/kernel": value}
    weights["fc/bias"] = np.arange(50).astype(like.dtype)
    snapshot = tfl.weights.snapshots.Snapshot(
        step, weights, [np.ones(3)], "adam"
    )
    return tfl.Ticket({"fc/kernel": mask}, snapshot, provenance={"a": 1})


SIGNED = {
    "reshuffle": controls.reshuffle,
    "constant": controls.constant,
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_reshuffle_permutes_the_survivors_of_a_weight(dtype):
    ticket = initial_ticket(dtype)
    mask = ticket.masks["fc/kernel"]
    old = weights_of(ticket)["fc/kernel"]
    new = weights_of(controls.reshuffle(ticket, seed=2))["fc/kernel"]
    assert new.dtype == old.dtype
    np.testing.assert_array_equal(new[~mask], old[~mask])
    np.testing.assert_array_equal(np.sort(new[mask]), np.sort(old[mask]))
    assert (new[mask] != old[mask]).mean() > 0.9
    assert (np.sign(new[mask]) != np.sign(old[mask])).mean() > 0.3


def test_reshuffle_with_signs_permutes_magnitudes():
    ticket = initial_ticket()
    mask = ticket.masks["fc/kernel"]
    old = weights_of(ticket)["fc/kernel"][mask]
    control = controls.reshuffle(ticket, seed=2, signed=True)
    new = weights_of(control)["fc/kernel"][mask]
    assert (new[old < 0] <= 0).all() and (new[old > 0] >= 0).all()
    # Where the sign is that of zero, a magnitude is lost: at one place.
    left = np.sort(np.abs(new))[1:]
    known = np.sort(np.abs(old))
    assert np.isin(left, known).all()
    assert (np.abs(new) != np.abs(old)).mean() > 0.9


@pytest.mark.parametrize("zeroed", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_constants_are_the_deviation_of_the_layer(signed, zeroed):
    ticket = initial_ticket(zeroed=zeroed)
    mask = ticket.masks["fc/kernel"]
    old = weights_of(ticket)["fc/kernel"]
    control = controls.constant(ticket, seed=2, signed=signed)
    new = weights_of(control)["fc/kernel"]
    known = mask if zeroed else np.ones_like(mask)
    alpha = np.sqrt(np.mean((old[known] - old[known].mean()) ** 2))
    # A weight that is zero has no sign, as in the authors' code.
    assert np.count_nonzero(new[known] == 0) == 1
    np.testing.assert_allclose(np.max(np.abs(new)), alpha, rtol=1e-5)
    assert len(np.unique(np.abs(new[known]))) == 2
    # As many of each sign as there were.
    assert (new[known] > 0).sum() == (old[known] > 0).sum()
    same = (np.sign(new) == np.sign(old))[known].mean()
    assert same == 1 if signed else 0.4 < same < 0.6


def test_reinitialization_with_signs():
    model = sequential(
        layers.Dense(50, name="fc", bias_initializer="ones"), shape=(60,)
    )
    ticket = initial_ticket()
    plain = weights_of(controls.random_reinitialize(ticket, model, 4))
    control = controls.random_reinitialize(ticket, model, 4, signed=True)
    new, old = weights_of(control)["fc/kernel"], weights_of(ticket)["fc/kernel"]
    np.testing.assert_array_equal(np.sign(new), np.sign(old))
    nonzero = old != 0
    np.testing.assert_array_equal(
        np.abs(new[nonzero]), np.abs(plain["fc/kernel"][nonzero])
    )
    assert (weights_of(control)["fc/bias"] == 1).all()
    assert control.provenance["control"] == "signed_reinitialize"


@pytest.mark.parametrize("step", [0, 7])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", SIGNED)
def test_controls_of_values(name, signed, step):
    ticket = initial_ticket(step=step)
    before = {key: value.copy() for key, value in weights_of(ticket).items()}
    control = SIGNED[name](ticket, seed=5, signed=signed)
    again = SIGNED[name](ticket, seed=5, signed=signed)
    other = SIGNED[name](ticket, seed=6, signed=signed)
    assert_equal(weights_of(control), weights_of(again))
    differs = (
        weights_of(control)["fc/kernel"] != weights_of(other)["fc/kernel"]
    ).any()
    assert differs == (name == "reshuffle" or not signed)
    # All else is the ticket's, and the ticket is as it was.
    assert_equal(weights_of(ticket), before)
    assert control.masks is ticket.masks
    np.testing.assert_array_equal(
        weights_of(control)["fc/bias"], before["fc/bias"]
    )
    assert control.snapshot.step == step
    assert len(control.snapshot.optimizer) == (0 if step else 1)
    assert control.provenance == {
        "a": 1, "seed": 5, "control": f"signed_{name}" if signed else name
    }


@pytest.mark.parametrize("name", SIGNED)
def test_streams_of_values_differ_by_key(name):
    model = sequential(layers.Dense(6, name="a"), layers.Dense(6, name="b"))
    masks = {f"{key}/kernel": np.ones((6, 6), bool) for key in "ab"}
    weights = weights_of(tfl.Ticket.of(model, masks))
    weights["b/kernel"] = weights["a/kernel"]
    ticket = tfl.Ticket(masks, tfl.weights.snapshots.Snapshot(0, weights))
    new = weights_of(SIGNED[name](ticket, signed=False))
    assert (new["a/kernel"] != new["b/kernel"]).any()


def test_nothing_kept_is_nothing_to_change():
    model = sequential(layers.Dense(6, name="a"))
    ticket = tfl.Ticket.of(model, {"a/kernel": np.zeros((6, 6), bool)})
    zeros = dict(weights_of(ticket), **{"a/kernel": np.zeros((6, 6))})
    ticket = tfl.Ticket(ticket.masks, tfl.weights.snapshots.Snapshot(0, zeros))
    for control in SIGNED.values():
        assert not weights_of(control(ticket))["a/kernel"].any()


def test_shuffled_masks_are_random_ones(ticket):
    shuffled = controls.shuffle_masks(ticket, seed=1)
    assert_equal(shuffled.masks, controls.random_masks(ticket, seed=1).masks)
    assert shuffled.provenance["control"] == "shuffle_masks"


def test_random_masks_have_no_pattern(compiled):
    ticket = ticket_of(compiled, pattern="2:4")
    assert controls.random_masks(ticket).pattern == "unstructured"
    assert controls.shuffle_masks(ticket).pattern == "unstructured"
    assert controls.reshuffle(ticket).pattern == "2:4"


@pytest.mark.parametrize("name", SIGNED)
def test_controls_of_values_train(name, ticket, compiled, data, tmp_path):
    SIGNED[name](ticket, signed=True).save(tmp_path / "control.ticket")
    tfl.Ticket.load(tmp_path / "control.ticket").apply(compiled)
    assert int(compiled.optimizer.iterations) == 5
    ends = conftest.BatchEnds()
    compiled.fit(*data, verbose=0, callbacks=[ends])
    assert ends.revived == 0 and ends.seen > 0
