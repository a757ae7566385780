"""SNIP, Taylor and GraSP against independent computations."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from keras import ops

import tf_lottery as tfl
from tests.conftest import MODELS
from tests.conftest import sequential
from tf_lottery.criteria import data_criterion
from tf_lottery.criteria.grasp import GraSP
from tf_lottery.criteria.taylor import SNIP
from tf_lottery.criteria.taylor import Taylor

CRITERIA = [SNIP, Taylor, GraSP]
SPARSE = keras.losses.SparseCategoricalCrossentropy
FROM_LOGITS = SPARSE(from_logits=True)


def score(model, criterion, *data, loss=FROM_LOGITS, **kwargs):
    return tfl.criteria.score(model, criterion, data=data, loss=loss, **kwargs)


def reference(model, x, y, temperature=1.0, masks=None):
    """Gradients and Hessian-vector products, in eager mode, on logits."""
    found = tfl.weights.prunable(model)
    sources = [variable.value for variable in found.values()]
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            logits = model(x, training=False) / temperature
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
            mean = tf.reduce_mean(losses)
        gradients = inner.gradient(mean, sources)
        # Pruned weights take no step.
        kept = [np.float32(1 if masks is None else masks[k]) for k in found]
        product = tf.add_n([
            tf.reduce_sum(tf.stop_gradient(g) * g * k)
            for g, k in zip(gradients, kept)
        ])
    second = outer.gradient(product, sources)
    values = [np.array(source) for source in sources]
    first = [v * np.array(g) for v, g in zip(values, gradients)]
    second = [v * np.array(g) for v, g in zip(values, second)]
    return dict(zip(found, first)), dict(zip(found, second))


def assert_close(a, b, rtol=1e-4, scale=1e-5):
    assert a.keys() == b.keys()
    for key in a:
        atol = scale * np.abs(b[key]).max()
        np.testing.assert_allclose(a[key], b[key], rtol, atol, err_msg=key)


def expected(criterion, model, x, y, masks=None):
    if isinstance(criterion, GraSP):
        return reference(model, x, y, criterion.temperature, masks)[1]
    first = {k: np.abs(v) for k, v in reference(model, x, y)[0].items()}
    total = sum(v.sum() for v in first.values())
    return {
        k: v / total if isinstance(criterion, SNIP) else v
        for k, v in first.items()
    }


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("name", MODELS)
def test_equals_eager_gradients(name, criterion, data):
    model = MODELS[name]()
    scores = score(model, criterion(), *data)
    assert_close(scores, expected(criterion(), model, *data))


def test_orders_of_taylor(data):
    model = sequential()
    first = reference(model, *data)[0]
    for order, function in {
        "absolute": np.abs, "squared": np.square, "signed": np.negative
    }.items():
        assert_close(
            score(model, Taylor(order), *data),
            {key: function(value) for key, value in first.items()},
        )


def test_closed_form_of_grasp():
    # L = (w1 x1 + w2 x2 - y)^2, so g = 2 r x and H = 2 x x'.
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dense(1, use_bias=False, name="fc")]
    )
    w, x, y = np.array([[0.5], [-2.0]]), np.array([1.0, 3.0]), 1.0
    model.layers[0].kernel.assign(w)
    residual = x @ w[:, 0] - y
    gradient, hessian = 2 * residual * x, 2 * np.outer(x, x)
    scores = score(model, GraSP(), x[None], np.array([[y]]), loss="mse")
    np.testing.assert_allclose(
        scores["fc/kernel"][:, 0], w[:, 0] * (hessian @ gradient), rtol=1e-5
    )


def test_grasp_is_half_the_change_of_the_squared_gradient(data):
    """Against central differences, in float64, weight by weight."""
    keras.config.set_dtype_policy("float64")
    model = keras.Sequential([
        keras.Input((10,)), layers.Dense(3, "tanh", name="a"),
        layers.Dense(4, name="b")])
    scores = score(model, GraSP(temperature=2.0), *data)
    assert scores["a/kernel"].dtype == np.float64
    found = tfl.weights.prunable(model)

    def squared_norm():
        sources = [variable.value for variable in found.values()]
        with tf.GradientTape() as tape:
            logits = model(data[0]) / 2.0
            value = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(
                    data[1], logits))
        return sum(np.sum(np.square(g)) for g in tape.gradient(value, sources))

    for key, variable in found.items():
        values = np.array(variable)
        for index in [(0, 0), (2, 1)]:
            sides = []
            for sign in (1, -1):
                moved = values.copy()
                moved[index] += sign * 1e-5
                variable.assign(moved)
                sides.append(squared_norm())
            variable.assign(values)
            slope = (sides[0] - sides[1]) / 2e-5
            np.testing.assert_allclose(
                scores[key][index], values[index] * slope / 2, rtol=1e-6
            )


def test_snip_sums_to_one_and_is_taylor_over_its_sum(any_model, data):
    snip = score(any_model, SNIP(), *data)
    taylor = score(any_model, Taylor(), *data)
    assert sum(s.sum() for s in snip.values()) == pytest.approx(1, rel=1e-5)
    total = sum(s.sum() for s in taylor.values())
    assert_close(snip, {k: v / total for k, v in taylor.items()})


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("batch_size", [48, 7])
def test_batches_do_not_matter(criterion, batch_size, data):
    model = sequential()
    whole = score(model, criterion(), *data)
    parts = score(model, criterion(batch_size=batch_size), *data)
    assert_close(parts, whole, 1e-3, 1e-4)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_sample_weights_choose(criterion, data):
    model = sequential()
    weight = np.repeat([2.0, 0.0], 48)
    half = score(model, criterion(), data[0][:48], data[1][:48])
    assert_close(score(model, criterion(), *data, weight), half, 1e-3, 1e-4)


def test_rescaling_of_a_chain_does_not_matter(data):
    model = keras.Sequential([
        keras.Input((10,)),
        layers.Dense(8, "relu", use_bias=False, name="a"),
        layers.Dense(4, use_bias=False, name="b")])
    before = score(model, SNIP(), *data)
    a, b = model.get_weights()
    model.set_weights([a * 4, b / 4])
    assert_close(score(model, SNIP(), *data), before)


def _head(kind):
    inputs = keras.Input((10,))
    dense = layers.Dense(4, name="logits")
    if kind == "dense":
        outputs = layers.Dense(4, "softmax", name="logits")(inputs)
    elif kind == "wrapped":
        outputs = tfl.layers.Masked(
            layers.Dense(4, "softmax", name="logits"))(inputs)
    elif kind == "activation":
        outputs = layers.Activation("softmax")(dense(inputs))
    elif kind == "layer":
        outputs = layers.Softmax()(dense(inputs))
    elif kind == "operation":
        outputs = ops.softmax(dense(inputs))
    elif kind == "cast":
        outputs = layers.Activation("linear")(
            layers.Identity()(layers.Softmax()(dense(inputs))))
    elif kind == "nested":
        inner = keras.Model(inputs, layers.Softmax()(dense(inputs)))
        again = keras.Input((10,))
        return keras.Model(again, inner(again))
    elif kind == "reshaped":
        softmax = layers.Softmax()(layers.Reshape((1, 4))(dense(inputs)))
        outputs = layers.Reshape((4,))(softmax)
    elif kind == "subclassed":
        class Model(keras.Model):
            def __init__(self):
                super().__init__()
                self.logits = layers.Dense(4, name="logits")

            def call(self, x):
                return ops.softmax(self.logits(x))

        model = Model()
        model(np.zeros((1, 10), "float32"))
        return model
    return keras.Model(inputs, outputs)


@pytest.mark.some(3)
@pytest.mark.parametrize("criterion", [SNIP, GraSP])
@pytest.mark.parametrize("kind", [
    "dense", "wrapped", "activation", "layer", "operation", "cast", "nested",
    "reshaped", "subclassed",
])
def test_a_softmax_head_is_seen_through(kind, criterion, data):
    model = _head(kind)
    (key, variable), = tfl.weights.prunable(model).items()
    plain = keras.Sequential([keras.Input((10,)), layers.Dense(4, name="fc")])
    plain.layers[0].kernel.assign(variable)
    (wanted,) = score(plain, criterion(), *data).values()
    found = score(model, criterion(), *data, loss=SPARSE())
    assert_close(found, {key: wanted})


@pytest.mark.parametrize("loss", [
    SPARSE, "sparse_categorical_crossentropy", "crossentropy",
    keras.losses.sparse_categorical_crossentropy, SPARSE(reduction="sum"),
    lambda y, p: keras.losses.sparse_categorical_crossentropy(y, p),
])
def test_kinds_of_losses(loss, data):
    model = _head("dense")
    wanted = score(model, SNIP(), *data, loss=SPARSE())
    assert_close(score(model, SNIP(), *data, loss=loss), wanted)


@pytest.mark.parametrize("length", [3, None])
def test_a_head_at_every_step(length, data):
    inputs = keras.Input((length, 10))
    steps = layers.TimeDistributed(layers.Dense(4, "softmax", name="d"))
    model = keras.Model(inputs, steps(inputs))
    x, y = data[0].reshape(32, 3, 10), data[1].reshape(32, 3)
    flat = keras.Sequential([keras.Input((10,)), layers.Dense(4, name="d")])
    flat.layers[0].kernel.assign(model.weights[0])
    (wanted,) = score(flat, GraSP(), *data).values()
    (found,) = score(model, GraSP(), x, y, loss=SPARSE()).values()
    np.testing.assert_allclose(found, wanted, 1e-3, 1e-9)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_sigmoid_head_is_seen_through(criterion, data):
    model = keras.Sequential(
        [keras.Input((10,)), layers.Dense(1, "sigmoid", name="fc")])
    plain = keras.Sequential([keras.Input((10,)), layers.Dense(1, name="fc")])
    plain.set_weights(model.get_weights())
    x, y = data[0], data[1] % 2
    logits = keras.losses.BinaryCrossentropy(from_logits=True)
    assert_close(
        score(model, criterion(), x, y, loss="binary_crossentropy"),
        score(plain, criterion(), x, y, loss=logits),
    )


def test_temperature_of_a_loss_on_probabilities(data):
    model = _head("dense")
    y = keras.utils.to_categorical(data[1], 4)
    found = score(model, GraSP(3.0), data[0], y, loss="mse")

    def on_logits(true, logits):
        return ops.mean(ops.square(true - ops.softmax(logits)), -1)

    plain = keras.Sequential(
        [keras.Input((10,)), layers.Dense(4, name="logits")])
    plain.set_weights(model.get_weights())
    assert_close(found, score(plain, GraSP(3.0), data[0], y, loss=on_logits))


def test_grasp_refuses_probabilities_it_cannot_see_through(data):
    inputs = keras.Input((10,))
    halves = [layers.Dense(4, "softmax")(inputs) for _ in range(2)]
    model = keras.Model(inputs, layers.Average()(halves))
    with pytest.raises(ValueError, match="takes probabilities"):
        score(model, GraSP(), *data, loss=SPARSE())
    assert score(model, SNIP(), *data, loss=SPARSE())


def test_regularizers_play_no_part(data):
    model = keras.Sequential([
        keras.Input((10,)),
        layers.Dense(4, kernel_regularizer="l2", activity_regularizer="l1",
                     name="logits")])
    plain = keras.Sequential(
        [keras.Input((10,)), layers.Dense(4, name="logits")])
    plain.set_weights(model.get_weights())
    for criterion in CRITERIA:
        assert_close(
            score(model, criterion(), *data), score(plain, criterion(), *data)
        )


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_scored_in_float32(policy, data):
    plain = sequential()
    keras.config.set_dtype_policy(policy)
    model = sequential()
    model.set_weights(plain.get_weights())
    for criterion in CRITERIA:
        found = score(model, criterion(), *data)
        assert {s.dtype for s in found.values()} == {np.dtype("float32")}
        assert_close(found, score(plain, criterion(), *data))
    assert model.layers[0].compute_dtype == policy.removeprefix("mixed_")


def two_outputs():
    a, b = keras.Input((10,), name="a"), keras.Input((4,), name="b")
    x = layers.Dense(6, "relu", name="shared")
    left, right = x(layers.Dense(4, name="in")(a)), x(b)
    return keras.Model(
        {"a": a, "b": b},
        [layers.Dense(4, "softmax", name="kind")(left),
         layers.Dense(1, name="size")(layers.Add()([left, right]))])


def test_compiled_losses_of_several_outputs(data):
    x = {"a": data[0], "b": data[0][:, :4]}
    kind, size = data[1], data[0][:, :1]
    model = two_outputs()
    found = tfl.weights.prunable(model)
    with tf.GradientTape() as tape:
        p, s = model(x)
        value = tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(kind, p)
        ) + 0.5 * tf.reduce_mean(tf.square(size - s))
    gradients = tape.gradient(value, [v.value for v in found.values()])
    wanted = {
        key: np.abs(np.array(v) * np.array(g))
        for (key, v), g in zip(found.items(), gradients)
    }
    for losses, weights, y in [
        (["sparse_categorical_crossentropy", "mse"], [1.0, 0.5], (kind, size)),
        ({"kind": SPARSE(), "size": "mse"}, {"kind": 1.0, "size": 0.5},
         {"size": size, "kind": kind}),
    ]:
        model.compile("sgd", losses, loss_weights=weights)
        scores = tfl.criteria.score(model, Taylor(), data=(x, y))
        assert_close(scores, wanted)


def test_layers_without_a_loss_have_no_gradient(data):
    model = two_outputs()
    x = {"a": data[0], "b": data[0][:, :4]}
    with pytest.raises(ValueError, match=r"\['size/kernel'\]"):
        score(model, SNIP(), x, {"kind": data[1]}, loss={"kind": SPARSE()})


def state(model):
    values = [np.array(v) for v in (*model.variables, *model.metrics_variables)]
    if model.optimizer is not None:
        values += [np.array(v) for v in model.optimizer.variables]
    rest = [
        [layer.dtype_policy for layer in model._flatten_layers()],
        [getattr(layer, "activation", None) for layer in model.layers],
        [v._dtype for v in model.variables], model.losses and len(model.losses),
        keras.config.floatx(), keras.config.dtype_policy().name,
        model.train_function, model.compiled,
    ]
    return values, rest


def assert_same(before, after):
    for a, b in zip(before[0], after[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert before[1] == after[1]


@pytest.mark.some(1)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_the_model_is_left_as_it_was(policy, data):
    keras.config.set_dtype_policy(policy)
    model = MODELS["functional"]()
    model.compile("adam", FROM_LOGITS, metrics=["accuracy"])
    model.fit(*data, verbose=0)
    before = state(model)
    for criterion in CRITERIA:
        tfl.criteria.score(model, criterion(), data=data)
        assert_same(before, state(model))


class Fails(layers.Layer):
    error = None

    def call(self, x):
        if self.error is not None:
            raise self.error
        return x


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_model_is_left_as_it_was_after_an_error(criterion, error, data):
    keras.config.set_dtype_policy("mixed_bfloat16")
    fails = Fails()
    model = keras.Sequential([
        keras.Input((10,)), layers.Dense(4, "softmax"), fails])
    model.compile("sgd", SPARSE())
    before = state(model)
    fails.error = error
    with pytest.raises(type(error)):
        tfl.criteria.score(model, criterion(), data=data)
    assert_same(before, state(model))


@pytest.mark.parametrize("hold", ["layers", "optimizer"])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_masks_are_scored_under(hold, criterion, data):
    model = sequential()
    wrapped = tfl.layers.wrap(model) if hold == "layers" else model
    wrapped.compile("sgd", FROM_LOGITS)
    masks = tfl.prune(wrapped, 0.5)
    found = score(wrapped, criterion(), *data)
    plain = sequential()
    plain.set_weights([np.array(v) for v in tfl.strip(wrapped).weights])
    wanted = expected(criterion(), plain, *data, masks)
    assert_close(found, wanted)
    for key, mask in masks.items():
        assert not found[key][~mask].any()


def test_masks_prune_before_they_are_held(data):
    """Between the steps of `prune` masks are only in the mind."""
    model, pruned = sequential(), sequential()
    pruned.set_weights(model.get_weights())
    masks = tfl.prune(
        (pruned.compile("sgd", FROM_LOGITS), pruned)[1], 0.6)
    variables = tfl.weights.prunable(model)
    for criterion in CRITERIA:
        context = tfl.criteria.Context(data=data, loss=FROM_LOGITS)
        found = criterion().prepare(model, variables, context)(masks)
        assert_close(found, score(pruned, criterion(), *data))


def test_losses_of_the_last_call_are_kept_and_eager_functions(data):
    model = keras.Sequential([
        keras.Input((10,)),
        layers.Dense(4, "softmax", activity_regularizer="l2")])
    wanted = score(model, GraSP(), *data, loss=SPARSE())
    model(data[0])
    before = [float(value) for value in model.losses]
    tf.config.run_functions_eagerly(True)
    try:
        found = score(model, GraSP(), *data, loss=SPARSE())
        assert tf.config.functions_run_eagerly()
    finally:
        tf.config.run_functions_eagerly(False)
    assert_close(found, wanted)
    assert len(before) == 1
    assert [float(value) for value in model.losses] == before


def test_one_trace_for_all_steps(data):
    traces = []

    class Counts(layers.Layer):
        def call(self, x):
            traces.append(1)
            return x

    model = keras.Sequential(
        [keras.Input((10,)), Counts(), layers.Dense(4, name="logits")])
    traces.clear()
    context = tfl.criteria.Context(data=data, loss=FROM_LOGITS)
    variables = tfl.weights.prunable(model)
    scores = SNIP(batch_size=48).prepare(model, variables, context)
    masks = {"logits/kernel": np.ones((10, 4), bool)}
    for row in range(4):
        masks["logits/kernel"][row] = False
        scores(masks)
    assert len(traces) == 1


def test_config_mirrors_the_constructor(data):
    for criterion in CRITERIA:
        made = criterion(data=data, loss="mse", batches=2, batch_size=8)
        again = criterion(**made.get_config())
        assert again.get_config() == made.get_config()
    assert Taylor("squared").get_config()["order"] == "squared"
    assert GraSP(3.0).get_config()["temperature"] == 3.0
    assert issubclass(SNIP, data_criterion.DataCriterion)


def test_bad_input(data):
    x, y = data
    model = sequential()
    with pytest.raises(ValueError, match="needs a loss"):
        tfl.criteria.score(model, SNIP(), data=data)
    with pytest.raises(ValueError, match="one of .*'squared'.*order='big'"):
        Taylor("big")
    with pytest.raises(ValueError, match="temperature=0"):
        GraSP(0)
    with pytest.raises(ValueError, match="not fit.*shape.*Received"):
        score(model, SNIP(), x, np.eye(4)[y])
    with pytest.raises(ValueError, match="not fit.*Received"):
        score(model, SNIP(), x, y, loss="mse")
    with pytest.raises(ValueError, match="names outputs that do not exist"):
        score(two_outputs(), SNIP(), {"a": x, "b": x[:, :4]}, {"kind": y},
              loss={"sort": "mse"})
    bad = x.copy()
    bad[3, 2] = np.nan
    with pytest.raises(ValueError, match="not finite.*fc1/kernel"):
        score(model, SNIP(), bad, y)
