"""Criteria from gradients of single examples: OBD and WoodFisher."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from keras import layers

from tests import conftest
from tf_lottery import pruning
from tf_lottery import weights
from tf_lottery.criteria import fisher_blocks
from tf_lottery.criteria import obd
from tf_lottery.criteria import samples
from tf_lottery.criteria import woodfisher
from tf_lottery.criteria.criterion import Context

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10**6)
SAMPLES = 12


def mlp():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, "tanh", name="fc1"),
            layers.Dropout(0.5),
            layers.Dense(3, "softmax", name="logits"),
        ]
    )


def cnn():
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(3, 3, name="conv"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(3, "softmax", name="logits"),
        ]
    )


def residual():
    inputs = keras.Input((5,))
    x = layers.Dense(4, "relu", name="stem")(inputs)
    x = layers.Add()([x, layers.Dense(4, "tanh", name="a")(x)])
    return keras.Model(inputs, layers.Dense(3, "softmax", name="logits")(x))


MODELS = {"mlp": mlp, "cnn": cnn, "residual": residual}
LOSS = "sparse_categorical_crossentropy"


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def data_of(model, seed=0, number=SAMPLES):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(number, *model.input_shape[1:])).astype("float32")
    return x, rng.integers(0, 3, number)


def gradients_of(model, data, size=1, sample_weight=None):
    """The mean loss of one group after the other, differentiated."""
    variables = weights.prunable(model)
    loss = keras.losses.SparseCategoricalCrossentropy()
    x, y = data
    rows = {key: [] for key in variables}
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        with tf.GradientTape() as tape:
            value = loss(
                y[part],
                model(x[part], training=False),
                None if sample_weight is None else sample_weight[part],
            )
        sources = [v.value for v in variables.values()]
        for key, g in zip(variables, tape.gradient(value, sources)):
            rows[key].append(np.asarray(g, "float64"))
    return {key: np.array(value) for key, value in rows.items()}


def slow_obd(model, data, **kwargs):
    return {
        key: 0.5
        * np.square(rows).mean(0)
        * np.square(weights.variables(model)[key].numpy().astype("float64"))
        for key, rows in gradients_of(model, data, **kwargs).items()
    }


def score(criterion, model, data, masks=None, loss=LOSS):
    context = Context(data=data, loss=loss, masks=masks)
    return criterion(model, weights.prunable(model), context)


def check(found, expected, rtol=1e-4):
    assert found.keys() == expected.keys()
    for key in expected:
        scale = np.abs(expected[key]).max()
        np.testing.assert_allclose(
            found[key], expected[key], rtol=rtol, atol=rtol * scale
        )


def test_obd_is_the_mean_of_squares_over_examples(model):
    data = data_of(model)
    check(score(obd.OBD(), model, data), slow_obd(model, data))


def test_obd_is_not_the_square_of_a_batch(model):
    data = data_of(model)
    (batch,) = gradients_of(model, data, size=SAMPLES)["logits/kernel"]
    values = model.get_layer("logits").kernel.numpy()
    wrong = 0.5 * np.square(batch * values)
    right = score(obd.OBD(), model, data)["logits/kernel"]
    assert right.sum() > 2 * wrong.sum()


@pytest.mark.parametrize("batch_size", [1, 5, 12, 100])
def test_obd_does_not_depend_on_the_batches(batch_size):
    model = mlp()
    data = data_of(model)
    found = score(obd.OBD(batch_size=batch_size), model, data)
    check(found, score(obd.OBD(batch_size=4), model, data), 1e-6)


@pytest.mark.parametrize("numbers", [1, 10**6])
def test_obd_takes_examples_one_by_one_where_memory_is_short(
    monkeypatch, numbers
):
    monkeypatch.setattr(samples, "_CHUNK_NUMBERS", numbers)
    model = residual()
    data = data_of(model)
    check(score(obd.OBD(), model, data), slow_obd(model, data))


def test_obd_weighs_the_loss_of_each_example():
    model = mlp()
    x, y = data_of(model)
    weight = np.linspace(0, 3, SAMPLES).astype("float32")
    check(
        score(obd.OBD(), model, (x, y, weight)),
        slow_obd(model, (x, y), sample_weight=weight),
    )


def test_obd_of_a_dataset_and_some_of_its_batches():
    model = cnn()
    x, y = data_of(model)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(5).repeat()
    check(
        score(obd.OBD(batches=2), model, dataset),
        slow_obd(model, (x[:10], y[:10])),
    )


def test_obd_predicts_the_cost_of_a_removal():
    """For a linear model and unit noise the Fisher is the Hessian."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 4)).astype("float32")
    true = np.array([[1.0], [0.5], [2.0], [0.1]], "float32")
    y = x @ true + rng.normal(size=(4000, 1)).astype("float32")
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(1, use_bias=False, name="fc")]
    )
    model.set_weights([true])

    def loss(y_true, y_pred):
        return 0.5 * keras.ops.square(y_true - y_pred)

    found = score(obd.OBD(), model, (x, y), loss=loss)["fc/kernel"]
    np.testing.assert_allclose(found, 0.5 * true**2, rtol=0.15)


def naive_inverse(rows, damp):
    """The inverse as the paper's recursion builds it, gradient by gradient."""
    inverse = np.eye(rows.shape[1]) / damp
    for g in rows:
        column = inverse @ g
        inverse -= np.outer(column, column) / (len(rows) + g @ column)
    return inverse


@given(seed=seeds, number=st.integers(1, 30), size=st.integers(1, 20))
@few
def test_the_recursion_is_the_direct_inverse_and_ours(seed, number, size):
    rng = np.random.default_rng(seed)
    rows, damp = rng.normal(size=(number, size)), 10.0 ** rng.integers(-4, 1)
    direct = np.linalg.inv(damp * np.eye(size) + rows.T @ rows / number)
    np.testing.assert_allclose(
        naive_inverse(rows, damp), direct, rtol=1e-5, atol=1e-6 / damp
    )
    ours = fisher_blocks.InverseFisher(rows, number, damp)
    vector = rng.normal(size=size)
    close = dict(rtol=1e-8, atol=1e-10 / damp)
    np.testing.assert_allclose(ours.diagonal(), np.diag(direct), **close)
    np.testing.assert_allclose(ours.times(vector), direct @ vector, **close)
    some = rng.random(size) < 0.5
    np.testing.assert_allclose(
        ours.part(some), direct[np.ix_(some, some)], **close
    )


@given(
    seed=seeds,
    numbers=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    size=st.integers(1, 11),
    block_size=st.integers(1, 12),
)
@few
def test_rows_keep_the_fisher_blocks_in_bounded_memory(
    seed, numbers, size, block_size
):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(sum(numbers), size))
    kept = fisher_blocks.GradientRows(size, block_size)
    for part in np.split(rows, np.cumsum(numbers)[:-1]):
        kept.append(part)
    assert len(kept.rows) <= min(len(rows), 1.5 * block_size + 1)
    assert kept.rows.dtype == "float32"
    seen = np.zeros(size, int)
    for block, part in kept.blocks():
        seen[block] += 1
        assert part.shape[1] <= block_size
        np.testing.assert_allclose(
            part.T @ part,
            rows[:, block].T @ rows[:, block],
            rtol=1e-5,
            atol=1e-5 * len(rows),
        )
    assert (seen == 1).all()
    apart = [part for _, part in kept.blocks()]
    together = [rows for _, stack in kept.stacks() for rows in stack]
    for a, b in zip(apart, together, strict=True):
        np.testing.assert_array_equal(a, b)


def units_first(array):
    """(out, in, positions): weights of a unit side by side, flat."""
    return np.moveaxis(array, (-1, -2), (0, 1)).ravel()


def slow_woodfisher(model, rows, block_size, damp, mask=None):
    """w^2 / (2 [F^-1]_ii), block after block, by direct inversion."""
    found = {}
    for key, gradients in rows.items():
        values = weights.variables(model)[key].numpy().astype("float64")
        flat = units_first(values)
        g = np.array([units_first(row) for row in gradients])
        score = np.zeros(flat.size)
        for start in range(0, flat.size, block_size):
            block = slice(start, start + block_size)
            inverse = np.linalg.inv(
                damp * np.eye(flat[block].size)
                + g[:, block].T @ g[:, block] / len(g)
            )
            score[block] = flat[block] ** 2 / (2 * np.diag(inverse))
        order = (values.ndim - 1, values.ndim - 2, *range(values.ndim - 2))
        shape = [values.shape[axis] for axis in order]
        found[key] = score.reshape(shape).transpose(np.argsort(order))
    return found


@pytest.mark.some(3)
@pytest.mark.parametrize("block_size", [4, 9, 10**6])
def test_woodfisher_is_the_direct_inverse(model, block_size):
    data = data_of(model)
    criterion = woodfisher.WoodFisher(block_size=block_size, damp=1e-3)
    expected = slow_woodfisher(
        model, gradients_of(model, data), block_size, 1e-3
    )
    check(score(criterion, model, data), expected, 1e-3)


def test_one_block_per_weight():
    model = mlp()
    data = data_of(model)
    check(
        score(woodfisher.WoodFisher(block_size=None), model, data),
        score(woodfisher.WoodFisher(block_size=10**6), model, data),
        1e-9,
    )


@pytest.mark.parametrize("size", [1, 3, 5, 50])
def test_gradients_may_be_means_of_groups(size):
    model = mlp()
    data = data_of(model)
    criterion = woodfisher.WoodFisher(
        fisher_batch_size=size, batch_size=4, damp=1e-3
    )
    expected = slow_woodfisher(
        model, gradients_of(model, data, size=size), 256, 1e-3
    )
    check(score(criterion, model, data), expected, 1e-3)


def test_pruned_weights_have_no_gradient():
    model = mlp()
    data = data_of(model)
    masks = conftest.random_masks(model, 0.5)
    found = score(woodfisher.WoodFisher(damp=1e-3), model, data, masks)
    for key, variable in weights.prunable(model).items():
        variable.assign(variable * masks[key])
    rows = {
        key: g * masks[key] for key, g in gradients_of(model, data).items()
    }
    check(found, slow_woodfisher(model, rows, 256, 1e-3), 1e-3)


def slow_updates(rule, values, rows, gone, damp):
    """New flat values of one block."""
    fisher = damp * np.eye(values.size) + rows.T @ rows / len(rows)
    new = values.copy()
    if rule == "separate":
        inverse = np.linalg.inv(fisher)
        for q in np.flatnonzero(gone):
            new -= values[q] * inverse[:, q] / inverse[q, q]
    elif rule == "joint":
        # The minimum of 1/2 d^T F d where d takes the pruned to 0.
        stay = ~gone
        new[stay] += np.linalg.solve(
            fisher[np.ix_(stay, stay)],
            fisher[np.ix_(stay, gone)] @ values[gone],
        )
    return np.where(gone, 0, new)


@pytest.mark.some(4)
@pytest.mark.parametrize("rule", ["separate", "joint"])
@pytest.mark.parametrize("block_size", [7, 1000])
def test_updates(model, rule, block_size):
    data = data_of(model)
    criterion = woodfisher.WoodFisher(block_size, 1e-2, update_rule=rule)
    variables = weights.prunable(model)
    masks = conftest.random_masks(model, 0.6)
    rows = gradients_of(model, data)
    found = criterion.update(
        model, variables, masks, Context(data=data, loss=LOSS)
    )
    for key, variable in variables.items():
        values = units_first(variable.numpy()).astype("float64")
        gone = ~units_first(masks[key])
        flat = np.array([units_first(row) for row in rows[key]])
        for start in range(0, values.size, block_size):
            block = slice(start, start + block_size)
            values[block] = slow_updates(
                rule, values[block], flat[:, block], gone[block], 1e-2
            )
        np.testing.assert_allclose(
            units_first(found[key]), values, rtol=1e-3, atol=1e-4
        )
        assert not found[key][~masks[key]].any()


def test_no_update_where_nothing_goes_or_none_is_wanted():
    model = mlp()
    variables = weights.prunable(model)
    context = Context(data=data_of(model), loss=LOSS)
    all_kept = {k: np.ones(v.shape, bool) for k, v in variables.items()}
    update = woodfisher.WoodFisher().update
    assert update(model, variables, all_kept, context) == {}
    masks = conftest.random_masks(model)
    without = woodfisher.WoodFisher(update_rule=None).update
    assert without(model, variables, masks, context) == {}


@pytest.mark.parametrize("rule", ["separate", "joint"])
def test_one_removal_costs_what_the_score_says(rule):
    """On a quadratic loss whose Hessian is the Fisher matrix."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 6)) @ np.diag([1, 2, 3, 1, 2, 3])
    values, damp = rng.normal(size=6), 1e-6
    fisher = damp * np.eye(6) + rows.T @ rows / 20
    inverse = fisher_blocks.InverseFisher(rows, 20, damp)
    update = getattr(fisher_blocks, f"{rule}_update")
    for q in range(6):
        gone = np.arange(6) == q
        d = update(inverse, values, gone)
        assert d[q] == pytest.approx(-values[q])
        cost = values[q] ** 2 / (2 * inverse.diagonal()[q])
        assert 0.5 * d @ fisher @ d == pytest.approx(cost)


def doubled():
    """A linear model and data that have every feature twice."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 6)).astype("float32")
    x[:, 3:] = x[:, :3] + 0.01 * x[:, 3:]
    y = x @ rng.normal(size=(6, 1)).astype("float32")
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(1, use_bias=False, name="fc")]
    )
    model.compile("sgd", "mse")
    model.set_weights([rng.normal(size=(6, 1))])
    return model, (x, y)


@pytest.mark.parametrize("rule", ["joint", None])
def test_weights_that_stay_make_up_for_those_that_go(rule):
    model, data = doubled()
    values = model.get_layer("fc").kernel.numpy()
    masks = {"fc/kernel": np.arange(6)[:, None] >= 3}
    found = woodfisher.WoodFisher(update_rule=rule).update(
        model, weights.prunable(model), masks, Context(data=data)
    )
    new = found.get("fc/kernel", values * masks["fc/kernel"])
    change = np.abs(data[0] @ (new - values)).mean()
    assert change > 0.5 if rule is None else change < 0.1


@pytest.mark.parametrize("iterations", [1, 2])
def test_woodfisher_prunes_and_updates(iterations):
    model, data = doubled()
    before = model.predict(data[0], verbose=0)
    masks = pruning.prune(
        model,
        1 / 6,
        woodfisher.WoodFisher(),
        data=data,
        iterations=iterations,
    )
    kernel = model.get_layer("fc").kernel.numpy()
    assert masks["fc/kernel"].sum() == 5
    assert not kernel[~masks["fc/kernel"]].any()
    assert np.abs(model.predict(data[0], verbose=0) - before).mean() < 0.01


CRITERIA = {"obd": obd.OBD, "woodfisher": woodfisher.WoodFisher}


@pytest.mark.parametrize("name", CRITERIA)
def test_scoring_leaves_the_model_as_it_was(name, model):
    model.compile("adam", LOSS)
    model.optimizer.build(model.trainable_variables)
    data = data_of(model)
    before = [v.numpy() for v in model.variables]
    slots = [v.numpy() for v in model.optimizer.variables]
    score(CRITERIA[name](), model, data, loss=None)
    now = [*model.variables, *model.optimizer.variables]
    for variable, value in zip(now, before + slots, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_scored_in_float32(name, policy):
    reference = mlp()
    keras.config.set_dtype_policy(policy)
    model = mlp()
    model.set_weights(reference.get_weights())
    data = data_of(model)
    check(
        score(CRITERIA[name](), model, data),
        score(CRITERIA[name](), reference, data),
        1e-5,
    )


@pytest.mark.parametrize("name", CRITERIA)
def test_prepared_functions_trace_once(name, monkeypatch):
    traces = []
    original = samples.SampleGradients._gradients
    monkeypatch.setattr(
        samples.SampleGradients,
        "_gradients",
        lambda *args: traces.append(1) or original(*args),
    )
    model = mlp()
    variables = weights.prunable(model)
    context = Context(data=data_of(model), loss=LOSS)
    function = CRITERIA[name]().prepare(model, variables, context)
    function(conftest.random_masks(model, 0.5, seed=1))
    after_first = len(traces)
    function(conftest.random_masks(model, 0.5, seed=2))
    assert len(traces) == after_first


@pytest.mark.parametrize("name", CRITERIA)
def test_gradients_that_are_not_finite_name_the_weight(name):
    model = mlp()
    x, y = data_of(model)
    x[3, 2] = np.nan
    with pytest.raises(ValueError, match="not finite.*fc1/kernel"):
        score(CRITERIA[name](), model, (x, y))


@pytest.mark.parametrize("name", CRITERIA)
def test_config_and_data_of_the_constructor(name):
    model = mlp()
    data = data_of(model)
    criterion = CRITERIA[name](data=data, loss=LOSS, batches=2, batch_size=3)
    again = CRITERIA[name](**criterion.get_config())
    first = (data[0][:6], data[1][:6])
    check(
        again(model, weights.prunable(model)),
        score(CRITERIA[name](), model, first),
        1e-5,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"block_size": 0},
        {"damp": 0},
        {"damp": np.inf},
        {"fisher_batch_size": 1.5},
        {"update_rule": "sum"},
    ],
)
def test_bad_arguments_are_refused(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"`{name}`.*Received: {name}="):
        woodfisher.WoodFisher(**arguments)


@pytest.mark.parametrize("shape", [(5, 3), (2, 5)])
def test_a_damp_too_small_to_invert_is_explained(shape):
    with pytest.raises(ValueError, match="`damp` is too small"):
        fisher_blocks.InverseFisher(np.ones(shape), 5, 1e-300)


@pytest.mark.parametrize("size", [1, 3, 4, 7, 100])
def test_regrouped_keeps_every_example_in_order(size):
    numbers = np.arange(23)
    batches = [
        (part, {"a": part * 2}, None) for part in np.split(numbers, [5, 6, 13])
    ]
    found = list(samples.regrouped(batches, size))
    x = np.concatenate([batch[0] for batch in found])
    np.testing.assert_array_equal(x, numbers)
    y = np.concatenate([batch[1]["a"] for batch in found])
    np.testing.assert_array_equal(y, numbers * 2)
    assert all(len(batch[0]) % size == 0 for batch in found[:-1])
    assert all(batch[2] is None for batch in found)
