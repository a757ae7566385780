"""Connectivity, generalisation, robustness and capacity of models."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_lottery as tfl
from tests import conftest
from tf_lottery import analysis
from tf_lottery.analysis import attacks
from tf_lottery.analysis import evaluating
from tf_lottery.analysis import recalibration


def everything(model):
    """All that must not change: values, optimizer, metrics, attributes."""
    optimizer = getattr(model, "optimizer", None)
    return {
        "variables": [
            v.numpy().tobytes() for v in tfl.weights.variables(model).values()
        ],
        "optimizer": optimizer and (
            id(optimizer), optimizer.built,
            [v.numpy().tobytes() for v in optimizer.variables],
        ),
        "metrics": [
            [v.numpy().tobytes() for v in metric.variables]
            for metric in model.metrics
        ],
        "masks": {k: m.tobytes() for k, m in tfl.masks_of(model).items()},
        "constraints": [
            id(v.constraint) for v in model.trainable_variables
        ],
        "attributes": {k: id(v) for k, v in vars(model).items()},
        "layers": [
            (sorted(vars(layer)), getattr(layer, "momentum", None))
            for layer in model._flatten_layers()
        ],
        "numpy": np.random.get_state()[1].tolist(),
    }


@contextlib.contextmanager
def left_alone(model):
    before = everything(model)
    yield
    after = everything(model)
    assert before == after


def trained(model, data, masked=True):
    model.compile("adam", conftest.loss(), metrics=["accuracy"])
    if masked:
        tfl.hold(model, conftest.random_masks(model, 0.6))
    model.fit(*data, epochs=3, batch_size=32, verbose=0)
    return model


def classifier():
    """Bias-free: logits are x @ [[1, -1]] and its gradient is known."""
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2, use_bias=False)]
    )
    model.set_weights([np.array([[1.0, -1.0], [0.5, -0.5]])])
    return model


# Linear connectivity.


@pytest.mark.covering
@pytest.mark.parametrize("masked", (False, True))
def test_equal_ends_are_flat(any_model, data, masked):
    model = trained(any_model, data, masked)
    with left_alone(model):
        found = analysis.linear_connectivity(
            model, model, model, {"train": data}, points=4
        )
    assert len(set(found.errors["train"])) == 1
    assert len(set(found.losses["train"])) == 1
    assert found.barriers == {"train": 0.0} == found.loss_barriers
    assert found.stable


@pytest.mark.slow
def test_errors_along_the_line_are_those_of_the_weights_there(data):
    model = trained(conftest.sequential(), data, masked=False)
    rng = np.random.default_rng(0)
    a = model.get_weights()
    b = [w + rng.normal(size=w.shape).astype("float32") for w in a]
    with left_alone(model):
        found = analysis.linear_connectivity(
            model, a, b, {"train": data, "test": (data[0][:40], data[1][:40])},
            points=5, batch_size=7,
        )
    assert found.fractions == (0.0, 0.25, 0.5, 0.75, 1.0)
    for fraction, error, loss in zip(
        found.fractions, found.errors["test"], found.losses["test"]
    ):
        model.set_weights(
            [(1 - fraction) * x + fraction * y for x, y in zip(a, b)]
        )
        expected = model.evaluate(
            data[0][:40], data[1][:40], verbose=0, return_dict=True
        )
        assert error == pytest.approx(1 - expected["accuracy"], abs=1e-6)
        assert loss == pytest.approx(expected["loss"], rel=1e-4)
    errors = found.errors["test"]
    assert found.barriers["test"] == pytest.approx(
        max(errors) - (errors[0] + errors[-1]) / 2
    )
    records = found.chart()["data"]["values"]
    last = [r["y"] for r in records if r["series"] == list(found.errors)[1]]
    assert last == [100 * e for e in errors]


def test_the_barrier_between_permuted_networks():
    """Two networks of one function, with a barrier between them."""
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(2, "relu", use_bias=False),
            keras.layers.Dense(2, use_bias=False),
        ]
    )
    first = [np.array([[1.0, -1.0]]), np.eye(2)]
    second = [first[0][:, ::-1], first[1][::-1]]
    data = np.array([[1.0], [-1.0]]), np.array([0, 1])
    found = analysis.linear_connectivity(
        model, first, second, data, points=3, loss=conftest.loss()
    )
    assert found.errors["data"][0] == found.errors["data"][2] == 0.0
    # Half way the first kernel is zero, and nothing can be told apart.
    assert found.errors["data"][1] == 0.5
    assert found.barriers["data"] == 0.5 and not found.stable
    assert found.loss_barriers["data"] == pytest.approx(
        np.log(2) - np.log1p(np.exp(-1)), rel=1e-5
    )


@pytest.mark.slow
def test_statistics_are_estimated_anew_at_each_point(data):
    """Of equal weights, whatever statistics came with them."""
    model = trained(conftest.functional(), data, masked=False)
    a = analysis.sources.weights(model)
    b = dict(a, **{"norm/moving_mean": a["norm/moving_mean"] + 50})
    kwargs = dict(data={"train": data, "test": data}, points=3)
    with left_alone(model):
        anew = analysis.linear_connectivity(model, a, b, **kwargs)
        kept = analysis.linear_connectivity(
            model, a, b, recalibrate=None, **kwargs
        )
        inputs = analysis.linear_connectivity(
            model, a, b, recalibrate=data[0], **kwargs
        )
    assert len(set(anew.losses["test"])) == 1
    assert inputs.losses == anew.losses
    assert kept.losses["test"][2] > 2 * kept.losses["test"][0]


def test_connectivity_of_several_outputs_has_losses_only():
    inputs = keras.Input((3,))
    model = keras.Model(
        inputs, [keras.layers.Dense(1)(inputs), keras.layers.Dense(2)(inputs)]
    )
    model.compile("sgd", ["mse", "mse"])
    data = np.ones((4, 3)), [np.zeros((4, 1)), np.zeros((4, 2))]
    found = analysis.linear_connectivity(model, model, model, data, points=2)
    assert found.errors == {} and (
        found.chart()["encoding"]["y"]["title"] == "loss"
    )
    assert found.losses["data"][0] == pytest.approx(
        model.evaluate(*data, verbose=0, return_dict=True)["loss"], rel=1e-5
    )


@pytest.mark.parametrize(
    "arguments, said",
    [
        (dict(points=1), "`points` must be an integer of at least 2"),
        (dict(b={"nothing": np.ones(1)}), "same keys"),
        (dict(a={"fc1/bias": np.ones(3)}, b={"fc1/bias": np.ones(3)}),
         "has shape"),
        (dict(a={"x": np.ones(3)}, b={"x": np.ones(3)}), "has no weights"),
        (dict(a=[np.ones(3)]), "an array for each"),
        (dict(), "Pass `recalibrate=x_train`"),
    ],
)
def test_connectivity_refuses(arguments, said, compiled, data):
    arguments = {"a": compiled, "b": compiled, "data": data, **arguments}
    with left_alone(compiled), pytest.raises(ValueError, match=said):
        analysis.linear_connectivity(compiled, **arguments)


# Statistics of batch normalisation.


@pytest.mark.parametrize("batch_size", (96, 10))
def test_recalibration_pools_the_first_layer_exactly(data, batch_size):
    model = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.BatchNormalization(momentum=0.7, name="norm"),
            keras.layers.Dropout(0.5, seed=1),
            keras.layers.Dense(4),
        ]
    )
    before = [v.numpy() for v in model.layers[1].variables]
    analysis.recalibrate(model, data, batch_size)
    norm = model.get_layer("norm")
    assert norm.moving_mean.numpy() == pytest.approx(
        data[0].mean(0), abs=1e-5
    )
    assert norm.moving_variance.numpy() == pytest.approx(
        data[0].var(0), rel=1e-4
    )
    assert norm.momentum == 0.7 and "call" not in vars(norm)
    assert (norm.gamma.numpy() == 1).all() and (norm.beta.numpy() == 0).all()
    # Dropout ran as in inference: its seed did not move.
    assert [v.numpy().tolist() for v in model.layers[1].variables] == [
        v.tolist() for v in before
    ]


def test_what_one_batch_is_normalised_to_is_what_inference_gives(data):
    """After one whole batch inference and training agree, layer by layer."""
    model = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(6, "relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(5),
            keras.layers.BatchNormalization(),
        ]
    )
    expected = model(data[0], training=True).numpy()
    analysis.recalibrate(model, data[0], batch_size=96)
    found = model(data[0], training=False).numpy()
    assert found == pytest.approx(expected, abs=1e-4)


def test_shared_and_frozen_normalisation():
    shared = keras.layers.BatchNormalization(name="shared")
    frozen = keras.layers.BatchNormalization(name="frozen", trainable=False)
    first, second = keras.Input((1,)), keras.Input((1,))
    model = keras.Model(
        [first, second], frozen(shared(first) + shared(second))
    )
    low, high = np.full((4, 1), 1.0, "float32"), np.full((4, 1), 3.0, "float32")
    analysis.recalibrate(model, ([low, high], np.zeros(4)))
    assert shared.moving_mean.numpy() == pytest.approx([2.0])
    assert shared.moving_variance.numpy() == pytest.approx([1.0])
    assert frozen.moving_variance.numpy() == pytest.approx([1.0])
    assert frozen.moving_mean.numpy() == pytest.approx([0.0])
    assert recalibration.normalizations(model) == [shared]


@pytest.mark.parametrize("error, words", [
    (ValueError, "moving_mean.*not finite"), (KeyboardInterrupt, None),
])
def test_recalibration_that_fails_leaves_statistics(error, words, data):
    model = keras.Sequential(
        [keras.Input((10,)), keras.layers.BatchNormalization()]
    )

    class Batches(keras.utils.PyDataset):
        num_batches = 2

        def __getitem__(self, index):
            if index and error is KeyboardInterrupt:
                raise error
            return data[0] / (0 if index else 1), data[1]

    before = [w.copy() for w in model.get_weights()]
    with np.errstate(all="ignore"), pytest.raises(error, match=words):
        analysis.recalibrate(model, Batches())
    assert all(map(np.array_equal, before, model.get_weights()))


def test_recalibration_in_mixed_precision(data):
    keras.config.set_dtype_policy("mixed_float16")
    model = conftest.functional()
    analysis.recalibrate(model, data[0], 32)
    assert np.isfinite(model.get_layer("norm").moving_variance.numpy()).all()


# Generalisation gap.


@pytest.mark.slow
@pytest.mark.some(1)
def test_generalization_gap_is_what_evaluate_says(any_model, data):
    model = trained(any_model, data)
    rest = data[0][:17] + 1, data[1][:17]
    with left_alone(model):
        found = analysis.generalization_gap(model, data, rest, batch_size=13)
    train, test = (
        model.evaluate(*part, verbose=0, return_dict=True)
        for part in (data, rest)
    )
    assert found.accuracy == pytest.approx(
        train["accuracy"] - test["accuracy"], abs=1e-6
    )
    assert found.loss == pytest.approx(test["loss"] - train["loss"], rel=1e-4)
    assert found.test.examples == 17
    dataset = tf.data.Dataset.from_tensor_slices(rest).batch(5)
    again = analysis.generalization_gap(model, data, dataset)
    assert again.test.accuracy == found.test.accuracy


def test_a_gap_without_a_loss_and_of_no_classes(data):
    model = classifier()
    x, y = np.eye(2, dtype="float32"), np.array([0, 1])
    found = analysis.generalization_gap(model, (x, y), (x, y))
    assert found.loss is None and found.accuracy == 0.0
    with pytest.raises(ValueError, match="classes as labels"):
        analysis.generalization_gap(model, (x, y + 0.5), (x, y))


def test_many_evaluations_bring_no_warning_of_tracing(caplog):
    model = classifier()
    x, y = np.eye(2, dtype="float32"), np.array([0, 1])
    tf.get_logger().propagate = True
    try:
        for _ in range(7):
            analysis.generalization_gap(model, (x, y), (x[:1], y[:1]))
    finally:
        tf.get_logger().propagate = False
    assert "retracing" not in caplog.text


@pytest.mark.parametrize(
    "y, outputs, threshold, expected",
    [
        ([[0, 1], [1, 0]], [[1, 2], [1, 2]], 0.5, [True, False]),
        ([[1], [0]], [[1, 2], [1, 2]], 0.5, [True, False]),
        ([1, 0, 1], [[0.6], [0.6], [0.4]], 0.5, [True, False, False]),
        ([[1], [0]], [[0.4], [-0.4]], 0.0, [True, True]),
        ([[0.5, 2.0]], [[0.1, 0.3]], 0.5, None),
        ([0.3], [[0.1]], 0.5, None),
    ],
)
def test_hits(y, outputs, threshold, expected):
    found = evaluating.hits_of(np.array(y), np.array(outputs), threshold)
    assert (found if found is None else found.tolist()) == expected


# Robustness.


def one_step(gradients, x, y, length, *args, **kwargs):
    return attacks.pgd(gradients, x, y, length, 1, length, *args, **kwargs)


def test_fgsm_by_hand():
    """The gradient's sign is known: -1 for class 0, +1 for class 1."""
    gradients = attacks.gradients_of(classifier(), conftest.loss())
    x = np.array([[0.2, 0.1], [0.3, -0.9]], "float32")
    found = one_step(gradients, x, np.array([0, 1]), 0.25)
    assert np.asarray(found) == pytest.approx(
        x + 0.25 * np.array([[-1.0, -1.0], [1.0, 1.0]])
    )
    clipped = one_step(gradients, x, np.array([0, 1]), 0.25,
                       clip=(-0.1, np.array([0.4, 0.5])))
    assert np.asarray(clipped) == pytest.approx(
        np.array([[-0.05, -0.1], [0.4, -0.1]])
    )
    length = np.asarray(
        one_step(gradients, x, np.array([0, 1]), 0.25, "l2")
    ) - x
    # Along the gradient, which is proportional to (1, 0.5).
    assert length == pytest.approx(
        0.25 / np.sqrt(1.25) * np.array([[-1, -0.5], [1, 0.5]])
    )


@pytest.mark.slow
@pytest.mark.some(1)
@pytest.mark.parametrize("norm", attacks.NORMS)
def test_fgsm_is_one_step_of_pgd(compiled, data, norm):
    model = trained(compiled, data)
    epsilons = (0.0, 0.05, 0.3)
    with left_alone(model):
        one = analysis.robustness(model, data, epsilons, norm=norm)
        other = [
            analysis.robustness(
                model, data, epsilon, "pgd", steps=1, norm=norm, seed=None,
                step_size=epsilon or 1.0, batch_size=20,
            )
            for epsilon in epsilons
        ]
    assert one.accuracies == {
        e: found.accuracies[e] for e, found in zip(epsilons, other)
    }
    assert one.accuracies[0.0] == one.clean_accuracy
    assert one.accuracies[0.3] < one.clean_accuracy


@pytest.mark.parametrize("norm", attacks.NORMS)
@pytest.mark.some(1)
def test_pgd_stays_in_the_ball_and_in_the_range(compiled, data, norm):
    gradients = attacks.gradients_of(trained(compiled, data))
    x, y = data
    found = np.asarray(
        attacks.pgd(gradients, x, y, 0.3, 7, 0.2, norm, (-1.0, 1.5),
                    np.random.default_rng(0))
    )
    inside = np.clip(x, -1.0, 1.5)
    assert found.min() >= -1.0 and found.max() <= 1.5
    order = np.inf if norm == "linf" else 2
    # The range was enforced last; where it did nothing the ball holds.
    untouched = (np.abs(x - inside) == 0).all(1)
    assert untouched.any()
    moved = np.linalg.norm(found[untouched] - x[untouched], order, axis=1)
    assert moved.max() <= 0.3 + 1e-5 and moved.min() > 0.01


@pytest.mark.slow
def test_pgd_is_the_stronger_attack(compiled, data):
    model = compiled
    model.compile(keras.optimizers.Adam(0.02), conftest.loss())
    model.fit(*data, epochs=15, verbose=0)
    epsilons = (0.1, 0.2, 0.4, 0.8)
    kwargs = dict(epsilons=epsilons)
    fgsm = analysis.robustness(model, data, **kwargs)
    pgd = analysis.robustness(model, data, attack="pgd", steps=20, **kwargs)
    assert fgsm.clean_accuracy == pgd.clean_accuracy
    for epsilon in epsilons:
        assert pgd.accuracies[epsilon] <= fgsm.accuracies[epsilon]
    values = list(pgd.accuracies.values())
    assert values == sorted(values, reverse=True)
    assert pgd.clean_accuracy > 0.9 and values[-1] < 0.1
    again = analysis.robustness(model, data, attack="pgd", steps=20, **kwargs)
    assert again == pgd
    records = fgsm.chart()["data"]["values"]
    assert [r["x"] for r in records] == [0.0, *epsilons]


def test_attacks_on_a_saturated_softmax_use_logits():
    """A probability that rounds to 1 has no gradient; its logits have one."""
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(2, "softmax", use_bias=False)]
    )
    model.set_weights([np.array([[15.0, -15.0]])])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = np.array([[1.0], [-1.0]], "float32"), np.array([0, 1])
    assert model.predict(x, verbose=0)[0, 0] == 1.0
    found = analysis.robustness(model, (x, y), [0.9, 1.1])
    assert found.clean_accuracy == 1.0
    assert found.accuracies == {0.9: 1.0, 1.1: 0.0}


@pytest.mark.parametrize("policy", ("float64", "mixed_float16"))
def test_robustness_in_other_precisions(policy, data):
    keras.config.set_dtype_policy(policy)
    model = trained(conftest.sequential(), data)
    found = analysis.robustness(model, data, [0.0, 1.0], "pgd", steps=3)
    assert found.accuracies[0.0] == found.clean_accuracy
    assert found.accuracies[1.0] < found.clean_accuracy


def test_robustness_leaves_integer_inputs_alone():
    tokens = keras.Input((3,), dtype="int32")
    values = keras.Input((4,))
    joined = keras.layers.Concatenate()(
        [keras.layers.Flatten()(keras.layers.Embedding(5, 2)(tokens)), values]
    )
    model = keras.Model([tokens, values], keras.layers.Dense(2)(joined))
    model.compile("sgd", conftest.loss())
    rng = np.random.default_rng(0)
    x = [rng.integers(5, size=(6, 3)), rng.normal(size=(6, 4)).astype("f4")]
    y = np.argmax(model.predict(x, verbose=0), -1)
    found = analysis.robustness(model, (x, y), 50.0)
    assert found.clean_accuracy == 1.0 and found.accuracies[50.0] < 0.5
    changed = one_step(attacks.gradients_of(model), x, y, 0.1)
    assert (np.asarray(changed[0]) == x[0]).all()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (dict(attack="cw"), "`attack` must be one of"),
        (dict(norm="l1"), "`norm` must be one of"),
        (dict(steps=0), "`steps` must be"),
        (dict(step_size=0), "`step_size` must be"),
        (dict(clip=(1, 0)), "`clip` must be"),
        (dict(epsilons=[-1]), "`epsilons` must be"),
        (dict(epsilons=[]), "`epsilons` must be"),
    ],
)
def test_robustness_refuses(arguments, said, compiled, data):
    with pytest.raises(ValueError, match=said):
        analysis.robustness(
            compiled, data, **{"epsilons": [0.1], **arguments}
        )


def test_robustness_needs_a_loss(data):
    with pytest.raises(ValueError, match="needs a loss"):
        analysis.robustness(conftest.sequential(), data, 0.1)


# Capacity.


@pytest.mark.slow
@pytest.mark.some(1)
@pytest.mark.parametrize(
    "kind, held",
    [("sequential", False), ("functional", True), ("subclassed", True)],
)
def test_capacity(kind, held, data):
    model = conftest.MODELS[kind]()
    model.compile(
        keras.optimizers.Adam(0.03), conftest.loss(), metrics=["accuracy"]
    )
    if held:
        tfl.hold(model, conftest.random_masks(model, 0.7, seed=4))
        model.fit(*data, epochs=1, verbose=0)
    full = {k: np.ones_like(m) for k, m in conftest.random_masks(model).items()}
    few = conftest.random_masks(model, 0.02)
    tickets = [tfl.Ticket.of(model, masks) for masks in (full, few)]
    x = data[0][:16]
    with left_alone(model):
        found = analysis.capacity(
            tickets, model, x, epochs=25, batch_size=8, seeds=(0, 1)
        )
    assert [len(c.accuracies) for c in found] == [2, 2]
    assert found[0].density == 1.0 and found[0].chance == 0.25
    assert found[0].mean > 0.9 and found[0].mean > found[1].mean + 0.2


@pytest.mark.slow
def test_capacity_is_reproducible_and_trains_under_the_masks(data):
    model = conftest.sequential()
    model.compile("adam", conftest.loss())
    ticket = tfl.Ticket.of(model, conftest.random_masks(model, 0.3))
    keras.utils.set_random_seed(1)
    first = analysis.capacity(ticket, model, data[0], 3, seeds=[5])
    keras.utils.set_random_seed(2)
    assert analysis.capacity(ticket, model, data[0], 3, seeds=[5]) == first
    # Nothing is left: the biases alone give one class for all.
    empty = tfl.Ticket.of(
        model, {k: np.zeros_like(m) for k, m in ticket.masks.items()}
    )
    none = analysis.capacity(empty, model, data[0], 3, seeds=[5])
    labels = np.random.default_rng(5).integers(4, size=96)
    assert none.accuracies[0] in [np.mean(labels == c) for c in range(4)]


@pytest.mark.some(1)
@pytest.mark.parametrize(
    "units, loss, activation",
    [
        (1, "binary_crossentropy", "sigmoid"),
        (3, "categorical_crossentropy", "softmax"),
        (3, "sparse_categorical_crossentropy", "softmax"),
        (3, keras.losses.CategoricalCrossentropy(from_logits=True), None),
    ],
)
def test_capacity_gives_the_loss_its_kind_of_labels(units, loss, activation):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(units, activation)]
    )
    model.compile(keras.optimizers.SGD(2.0), loss)
    ticket = tfl.Ticket.of(model, {"dense/kernel": np.ones((4, units), bool)})
    x = np.eye(4, dtype="float32")
    found = analysis.capacity(ticket, model, x, 30, 4, seeds=[1])
    assert found.accuracies == (1.0,)
    assert found.chance == 1 / max(2, units)


def test_capacity_refuses(compiled, data):
    ticket = tfl.Ticket.of(compiled, conftest.random_masks(compiled))
    for arguments, said in (
        (([], compiled, data[0]), "`tickets` must be"),
        (([3], compiled, data[0]), "`tickets` must be"),
        ((ticket, compiled, data[0], 0), "`epochs` must be"),
        (
            (ticket, compiled, data[0], 1, 8, ()),
            "`seeds` must be a list of integers, not empty",
        ),
        ((ticket, conftest.functional(), data[0]), "must be compiled"),
    ):
        with pytest.raises(ValueError, match=said):
            analysis.capacity(*arguments)


def test_training_that_fails_leaves_the_model_as_it_was(compiled, data):
    ticket = tfl.Ticket.of(compiled, conftest.random_masks(compiled))
    bad = np.full_like(data[0], 1.0)[:, :3]
    with left_alone(compiled), pytest.raises(ValueError):
        analysis.capacity(ticket, compiled, bad, 1)
