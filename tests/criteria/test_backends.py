"""Criteria give the same scores whatever backend Keras runs on.

The references are NumPy: a network of two dense layers without activation
between them has gradients that can be written down.
"""

import keras
import numpy as np
import pytest

import tf_lottery as tfl

EXAMPLES, INPUTS, HIDDEN, CLASSES = 7, 5, 4, 3


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    return {
        "fc/kernel": rng.normal(size=(INPUTS, HIDDEN)),
        "fc/bias": rng.normal(size=HIDDEN),
        "out/kernel": rng.normal(size=(HIDDEN, CLASSES)),
        "out/bias": rng.normal(size=CLASSES),
    }


@pytest.fixture
def examples():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(EXAMPLES, INPUTS)).astype("float32")
    return x, rng.integers(0, CLASSES, EXAMPLES)


def network(values, head=None):
    """A model of these values, and the loss that fits its output."""
    ends = {
        None: [keras.layers.Dense(CLASSES, name="out")],
        "activation": [keras.layers.Dense(CLASSES, "softmax", name="out")],
        "layer": [
            keras.layers.Dense(CLASSES, name="out"), keras.layers.Softmax(),
        ],
    }
    model = keras.Sequential(
        [
            keras.Input((INPUTS,)),
            keras.layers.Dense(HIDDEN, name="fc"),
            *ends[head],
        ]
    )
    for key, variable in tfl.weights.variables(model).items():
        variable.assign(values[key])
    return model, keras.losses.SparseCategoricalCrossentropy(
        from_logits=head is None
    )


def sample_gradients(values, x, y, temperature=1.0):
    """The gradient of the loss of each example, by each kernel."""
    hidden = x @ values["fc/kernel"] + values["fc/bias"]
    logits = hidden @ values["out/kernel"] + values["out/bias"]
    logits = (logits - logits.max(1, keepdims=True)) / temperature
    error = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error[np.arange(len(y)), y] -= 1
    error /= temperature
    back = error @ values["out/kernel"].T
    return {
        "fc/kernel": x[:, :, None] * back[:, None, :],
        "out/kernel": hidden[:, :, None] * error[:, None, :],
    }


def mean_gradients(values, x, y, temperature=1.0):
    found = sample_gradients(values, x, y, temperature)
    return {key: gradient.mean(0) for key, gradient in found.items()}


def assert_close(found, expected, rtol=2e-5):
    assert found.keys() == expected.keys()
    for key, scores in expected.items():
        scale = np.abs(scores).max()
        np.testing.assert_allclose(found[key], scores, rtol, rtol * scale)


@pytest.mark.parametrize("head", [None, "activation", "layer"])
@pytest.mark.parametrize("batch_size", [128, 3])
def test_snip_and_taylor(head, batch_size, values, examples):
    model, loss = network(values, head)
    gradients = mean_gradients(values, *examples)
    products = {key: np.abs(g * values[key]) for key, g in gradients.items()}
    score = tfl.criteria.score
    taylor = tfl.criteria.Taylor(batch_size=batch_size)
    assert_close(score(model, taylor, examples, loss), products)
    total = sum(product.sum() for product in products.values())
    snip = tfl.criteria.SNIP(batch_size=batch_size)
    assert_close(
        score(model, snip, examples, loss),
        {key: product / total for key, product in products.items()},
    )


def test_logits_are_exact_behind_a_saturated_softmax(values, examples):
    """By probabilities the gradient would have rounded to something else."""
    values["out/kernel"] *= 40
    scores = {
        head: tfl.criteria.score(
            (made := network(values, head))[0], "taylor", examples, made[1]
        )
        for head in (None, "activation", "layer")
    }
    for head in ("activation", "layer"):
        assert_close(scores[head], scores[None], rtol=1e-6)


def test_obd_squares_each_gradient(values, examples):
    model, loss = network(values)
    assert_close(
        tfl.criteria.score(model, "obd", examples, loss),
        {
            key: 0.5 * np.square(rows).mean(0) * np.square(values[key])
            for key, rows in sample_gradients(values, *examples).items()
        },
    )


def test_woodfisher_inverts_each_block(values, examples):
    model, loss = network(values)
    damp, expected = 1e-2, {}
    for key, rows in sample_gradients(values, *examples).items():
        # Blocks run through the weights of one output first.
        rows = rows.transpose(0, 2, 1).reshape(EXAMPLES, -1)
        fisher = rows.T @ rows / EXAMPLES + damp * np.eye(rows.shape[1])
        weights = values[key].T.reshape(-1)
        scores = 0.5 * weights**2 / np.diag(np.linalg.inv(fisher))
        expected[key] = scores.reshape(values[key].T.shape).T
    criterion = tfl.criteria.WoodFisher(damp=damp)
    found = tfl.criteria.score(model, criterion, examples, loss)
    assert_close(found, expected, rtol=1e-4)


def test_grasp_follows_second_derivatives(values, examples):
    """H g by a central difference of gradients along g."""
    model, loss = network(values)
    temperature, step = 2.0, 1e-5
    g = mean_gradients(values, *examples, temperature)

    def moved(sign):
        there = {k: v + sign * step * g.get(k, 0) for k, v in values.items()}
        return mean_gradients(there, *examples, temperature)

    after, before = moved(1), moved(-1)
    expected = {
        key: values[key] * (after[key] - before[key]) / (2 * step) for key in g
    }
    criterion = tfl.criteria.GraSP(temperature)
    assert_close(tfl.criteria.score(model, criterion, examples, loss), expected)


@pytest.mark.parametrize("head", [None, "activation", "layer"])
def test_synflow_is_float64(head, values):
    model, _ = network(values, head)
    # In float32 the flow would be infinite.
    values["fc/kernel"] *= 1e25
    values["out/kernel"] *= 1e25
    for key, variable in tfl.weights.variables(model).items():
        variable.assign(values[key])
    first, second = (
        np.abs(values[k].astype("float32").astype("float64"))
        for k in ("fc/kernel", "out/kernel")
    )
    bias = np.abs(values["fc/bias"].astype("float32").astype("float64"))
    expected = {
        "fc/kernel": first * second.sum(1),
        "out/kernel": second * (first.sum(0) + bias)[:, None],
    }
    assert_close(tfl.criteria.score(model, "synflow"), expected, rtol=1e-12)
    assert keras.config.floatx() == "float32"


def test_pruned_weights_are_scored_as_zeros(values, examples):
    model, loss = network(values)
    model.compile("sgd", loss)
    masks = {"fc/kernel": np.arange(INPUTS * HIDDEN).reshape(INPUTS, -1) > 4}
    before = {
        key: keras.ops.convert_to_numpy(variable)
        for key, variable in tfl.weights.variables(model).items()
    }
    tfl.hold(model, masks)
    values["fc/kernel"] = np.where(
        masks["fc/kernel"], values["fc/kernel"], 0
    )
    gradients = mean_gradients(values, *examples)
    found = tfl.criteria.score(model, "taylor", examples)
    assert_close(
        found, {key: np.abs(g * values[key]) for key, g in gradients.items()}
    )
    for key, variable in tfl.weights.variables(model).items():
        kept = masks.get(key, True)
        np.testing.assert_array_equal(variable.numpy(), before[key] * kept)


class Unused(keras.Model):
    """One weight is not used, another behind an operation with no gradient."""

    def __init__(self):
        super().__init__()
        self.used, self.idle, self.cut = (
            keras.layers.Dense(CLASSES, name=name)
            for name in ("used", "idle", "cut")
        )

    def call(self, x):
        self.idle(x)
        chosen = keras.ops.argmax(self.cut(x), -1)
        return self.used(x) + keras.ops.cast(chosen, "float32")[:, None]


@pytest.mark.parametrize("criterion", ["snip", "grasp", "obd", "woodfisher"])
def test_weights_without_a_gradient_are_named(criterion, examples):
    model = Unused()
    model(examples[0])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with pytest.raises(ValueError) as raised:
        tfl.criteria.score(model, criterion, examples, loss)
    for key in ("idle/kernel", "cut/kernel"):
        assert key in str(raised.value)
    assert "used/kernel" not in str(raised.value)


def test_a_gradient_that_happens_to_be_zero_is_none_of_those(examples):
    model = keras.Sequential(
        [
            keras.Input((INPUTS,)),
            keras.layers.Dense(HIDDEN, "relu", name="fc"),
            keras.layers.Dense(CLASSES, name="out"),
        ]
    )
    model.get_layer("fc").bias.assign(np.full(HIDDEN, -1e6))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    found = tfl.criteria.score(model, "taylor", examples, loss)
    assert not found["fc/kernel"].any() and not found["out/kernel"].any()
