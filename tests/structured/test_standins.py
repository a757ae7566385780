"""A smaller model that trains for another one comes to the same weights."""

import keras
import numpy as np
import pytest
from keras import layers

from tf_lottery import copies
from tf_lottery import holding
from tf_lottery import optimizers
from tf_lottery import weights
from tf_lottery.experiments.optimizers import L2SGD
from tf_lottery.structured import slices
from tf_lottery.structured import standins
from tf_lottery.structured import vacancies

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="experiments need it"
)

OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(3e-3),
    "decay": lambda: keras.optimizers.AdamW(3e-3, weight_decay=0.1),
    "momentum": lambda: keras.optimizers.SGD(0.05, 0.9),
    "penalty": lambda: L2SGD(0.05, 0.9, penalty=1e-2),
}


def dense():
    return keras.Sequential([
        keras.Input((5, 4)), layers.Flatten(name="flat"),
        layers.Dense(16, "tanh", name="a"), layers.Dense(12, "relu", name="b"),
        layers.Dense(3, name="logits"),
    ])


def residual():
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(10, 3, padding="same", name="c1")(inputs)
    x = layers.BatchNormalization(name="n1")(x)
    x = y = layers.ReLU(name="r1")(x)
    x = layers.Conv2D(10, 3, padding="same", name="c2")(x)
    x = layers.BatchNormalization(name="n2")(x)
    x = layers.ReLU(name="r2")(layers.Add(name="add")([x, y]))
    x = layers.Conv2D(8, 3, name="c3")(x)
    x = layers.Flatten(name="flat")(layers.MaxPooling2D(name="pool")(x))
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def data(model, steps):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(16 * steps, *model.input_shape[1:]))
    return x, rng.integers(0, 3, len(x))


def fit(model, steps=12):
    x, y = data(model, steps)
    return model.fit(x, y, batch_size=16, shuffle=False, verbose=0).history


def masks_of(model, density=0.15):
    """Masks under which some units are read by nothing, and inputs, too."""
    rng = np.random.default_rng(2)
    masks = {
        key: rng.random(tuple(variable.shape)) < density
        for key, variable in weights.prunable(model).items()
    }
    for key in ("c2/kernel", "c3/kernel", "b/kernel"):
        if key in masks:
            masks[key][..., ::3, :] = False
    if "a/kernel" in masks:
        masks["a/kernel"][:4] = False
    return masks


def compiled(make, optimizer="adam", steps=4):
    """A float64 model that has trained a little, without masks."""
    keras.utils.set_random_seed(0)
    with_dtype = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        model = make()
    finally:
        keras.config.set_dtype_policy(with_dtype)
    model.compile(
        OPTIMIZERS[optimizer](),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    fit(model, steps)
    return model


def standin_of(model):
    masks = holding.masks_of(model)
    return standins.StandIn(model, masks, vacancies.Vacancies(model, masks))


@pytest.mark.parametrize("make", [dense, residual])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.covering
def test_a_round_comes_to_the_same(make, optimizer):
    model = compiled(make, optimizer)
    masks = masks_of(model)
    holding.hold(model, masks)
    other = copies.twin(model).model
    copies.compile_like(other, model)
    holding.hold(other, masks)
    standin = standin_of(other)
    assert standin.model.count_params() < 0.9 * model.count_params()

    expected = fit(model)
    found = fit(standin.model)
    standin.give()

    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-9)
    assert found["accuracy"] == expected["accuracy"]
    trained = {v.path for v in model.trainable_variables}
    theirs = weights.variables(other)
    for key, variable in weights.variables(model).items():
        if variable.path in trained:
            np.testing.assert_allclose(
                theirs[key], variable, rtol=0, atol=1e-9, err_msg=key
            )
    for a, b in zip(
        optimizers.state(model.optimizer), optimizers.state(other.optimizer)
    ):
        np.testing.assert_allclose(
            np.asarray(b, "float64"), np.asarray(a, "float64"),
            rtol=0, atol=1e-9, err_msg=a.path,
        )


def test_what_is_cut_out_trains_along():
    """Momentum moves kept weights of a unit that nothing reads."""
    model = compiled(dense, "momentum")
    masks = {"b/kernel": np.ones((16, 12), bool)}
    masks["b/kernel"][3] = False
    holding.hold(model, masks)
    before = np.array(model.get_layer("a").kernel)
    standin = standin_of(model)
    fit(standin.model, 1)
    standin.give()
    moved = np.array(model.get_layer("a").kernel) != before
    assert standin.model.get_layer("a").units == 15 and moved[:, 3].all()


def test_a_unit_without_live_inputs_stays_and_trains_its_bias():
    model = compiled(dense)
    mask = np.ones((20, 16), bool)
    mask[:, 5] = False
    holding.hold(model, {"a/kernel": mask})
    before = np.array(model.get_layer("a").bias)
    standin = standin_of(model)
    fit(standin.model, 2)
    standin.give()
    assert standin.model.get_layer("a").units == 16
    assert np.array(model.get_layer("a").bias)[5] != before[5]


def test_a_sparse_layer_has_its_kept_weights_alone():
    """Inputs that none of them reads are not multiplied, either."""
    model = compiled(dense)
    mask = np.random.default_rng(3).random((20, 16)) < 0.4
    mask[2:9] = False
    found = vacancies.Vacancies(model, {"a/kernel": mask})
    (layer, left), = found.sparse.items()
    assert layer is model.get_layer("a") and (left == mask).all()
    holding.hold(model, {"a/kernel": mask})
    standin = standin_of(model)
    shapes = [tuple(v.shape) for v in standin.model.trainable_variables]
    assert shapes[0] == (mask.sum(),)
    removed = int((~mask).sum())
    assert found.saved(10) == 10 * 7 * 16 + 30 * removed


def test_dense_layers_of_many_places_stay_whole():
    inputs = keras.Input((3, 4))
    inner = layers.Dense(5, name="inner")
    x = layers.TimeDistributed(inner, name="each")(inputs)
    x = layers.Flatten(name="flat")(x)
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    key = next(k for k in weights.variables(model) if "inner/kernel" in k)
    mask = np.zeros((4, 5), bool)
    mask[1] = True
    assert vacancies.Vacancies(model, {key: mask}).sparse == {}


def test_every_layer_keeps_a_unit():
    model = compiled(dense)
    masks = {"b/kernel": np.zeros((16, 12), bool)}
    holding.hold(model, masks)
    standin = standin_of(model)
    fit(standin.model, 1)
    standin.give()
    assert standin.model.get_layer("a").units == 1


def _with(**kwargs):
    return lambda: keras.Sequential([
        keras.Input((4,)), layers.Dense(6, name="a", **kwargs),
        layers.Dense(2, name="logits"),
    ])


def _dropout():
    return keras.Sequential([
        keras.Input((4,)), layers.Dense(6, name="a"),
        layers.Dropout(0.5, name="drop"), layers.Dense(2, name="logits"),
    ])


@pytest.mark.parametrize(("make", "optimizer", "expected"), [
    (_with(), keras.optimizers.Adam(), None),
    (_with(), keras.optimizers.Adam(clipnorm=1.0), "`clipnorm` measures"),
    (_with(), keras.optimizers.Adam(use_ema=True), "averages weights"),
    (_with(), keras.optimizers.Lamb(), "Lamb mixes"),
    (_with(kernel_regularizer="l2"), "sgd", "'a/kernel' has a penalty"),
    (_with(kernel_constraint="unit_norm"), "sgd", "'a/kernel' has a constr"),
    (_with(activity_regularizer="l2"), "sgd", "'a' penalises"),
    (_dropout, "sgd", "'drop' draws numbers"),
])
def test_reasons(make, optimizer, expected):
    model = make()
    model.compile(optimizer, "mse")
    found = standins.reason(model)
    assert found == expected or expected in found


def test_a_size_that_is_divided_by_is_a_reason():
    model = _with()()
    model.compile("sgd", "mse")
    cut = slices.Cut({}, {"query/kernel": 0.5}, {})
    assert "query/kernel are rescaled" in standins.reason(model, cut)


def test_put_is_the_inverse_of_array():
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(4, 5))
    rows, columns = rng.random(4) < 0.6, rng.random(5) < 0.6
    cut = slices.Cut({"k": [(0, rows), (1, columns)]}, {}, {})
    found = np.zeros_like(whole)
    cut.put("k", found, cut.array("k", whole))
    np.testing.assert_array_equal(found, whole * np.outer(rows, columns))
