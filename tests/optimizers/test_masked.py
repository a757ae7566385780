"""Masks hold for every optimizer, precision and way to run a step."""

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tests import conftest
from tests.conftest import loss
from tf_lottery import internals

SGD, Adam = keras.optimizers.SGD, keras.optimizers.Adam
OPTIMIZERS = {
    "sgd": lambda: SGD(0.1),
    "momentum": lambda: SGD(0.1, momentum=0.9),
    "nesterov": lambda: SGD(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: Adam(0.01),
    "amsgrad": lambda: Adam(0.01, amsgrad=True),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "nadam": lambda: keras.optimizers.Nadam(0.01),
    "lion": lambda: keras.optimizers.Lion(0.01),
    "lamb": lambda: keras.optimizers.Lamb(0.01),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, momentum=0.9),
    "adagrad": lambda: keras.optimizers.Adagrad(0.1),
    "adadelta": lambda: keras.optimizers.Adadelta(0.1),
    "adamax": lambda: keras.optimizers.Adamax(0.01),
    "adafactor": lambda: keras.optimizers.Adafactor(0.01),
    "ftrl": lambda: keras.optimizers.Ftrl(0.1),
    "muon": lambda: keras.optimizers.Muon(0.01),
    "clipnorm": lambda: SGD(0.1, momentum=0.9, clipnorm=0.1),
    "global_clipnorm": lambda: Adam(0.01, global_clipnorm=0.1),
    "clipvalue": lambda: Adam(0.01, clipvalue=0.01),
    "ema": lambda: Adam(0.01, use_ema=True, ema_momentum=0.5),
    "ema_overwrite": lambda: SGD(
        0.1, momentum=0.9, use_ema=True, ema_overwrite_frequency=3
    ),
    "ema_muon": lambda: keras.optimizers.Muon(0.01, use_ema=True),
    "accumulation": lambda: Adam(0.01, gradient_accumulation_steps=2),
    "schedule": lambda: SGD(
        keras.optimizers.schedules.CosineDecay(0.1, 12), momentum=0.9
    ),
    "loss_scale": lambda: keras.optimizers.LossScaleOptimizer(Adam(0.01)),
}
# Of which each has a feature that the others lack.
DIFFERENT = (
    "adam", "muon", "ema_overwrite", "accumulation", "schedule", "loss_scale",
    "adafactor",
)
MODES = conftest.modes(steps=3)
# Adafactor's velocity is a product of averages over rows and columns.
MIXES_WEIGHTS = ("adafactor",)


def trained(
    optimizer, data, fitted_before=False, make=conftest.functional, **mode
):
    """Trains with masks held, tightened between two fits."""
    model = make()
    model.compile(optimizer, loss(), **mode)
    if fitted_before:
        model.fit(*data, batch_size=16, verbose=0)
    ends = conftest.BatchEnds()
    for density in (0.6, 0.2):
        tfl.hold(model, conftest.random_masks(model, density))
        model.fit(
            *data, batch_size=16, epochs=2, verbose=0, callbacks=[ends]
        )
    return model, ends


def assert_held(model, ends):
    assert ends.revived == 0 and ends.seen > 0
    assert ends.densities[0] > 0.5 > 0.3 > ends.densities[-1]
    variables = tfl.weights.variables(model)
    for key, mask in tfl.masks_of(model).items():
        value = variables[key].numpy()
        assert np.count_nonzero(value[~mask]) == 0
        assert np.count_nonzero(value[mask]) > 0
        assert np.isfinite(value).all()


def assert_slots_untouched(model):
    """No slot of a pruned weight has moved from its initial value."""
    inner = tfl.optimizers.find(model.optimizer).inner_optimizer
    inner = tfl.optimizers.innermost(inner)
    slots = tfl.optimizers.slots_of(inner, model.trainable_variables)
    initial = tfl.optimizers.initial_values(inner)
    checked = 0
    for variable, named in zip(model.trainable_variables, slots):
        mask = tfl.constraints.mask_of(variable)
        for name, slot in named if mask is not None else ():
            assert (slot.numpy()[~mask] == np.float32(initial[name])).all()
            checked += 1
    return checked


@pytest.mark.parametrize(
    "name, mode",
    conftest.slow_but(
        [
            ("adam", "jit"), ("global_clipnorm", "eager"),
            ("ema_overwrite", "steps_per_execution"),
            *((name, "graph") for name in DIFFERENT),
        ],
        [
            (name, mode)
            for name in OPTIMIZERS for mode in MODES
            # Their updates have no feature that another one lacks.
            if mode == "graph"
            or name not in ("adadelta", "adamax", "nadam", "lamb")
        ],
    ),
)
def test_pruned_weights_and_slots_stay_zero(name, mode, data):
    model, ends = trained(OPTIMIZERS[name](), data, **MODES[mode])
    assert_held(model, ends)
    if name not in MIXES_WEIGHTS:
        assert assert_slots_untouched(model) or name == "sgd"


@pytest.mark.parametrize(
    "name",
    conftest.slow_but(
        ["momentum", "ema"], ["momentum", "adam", "ema", "ftrl", "muon"]
    ),
)
def test_model_fitted_before_holds_masks(name, data):
    model, ends = trained(OPTIMIZERS[name](), data, fitted_before=True)
    assert_held(model, ends)
    assert_slots_untouched(model)


@pytest.mark.some(2)
@pytest.mark.parametrize("jit", conftest.JIT)
@pytest.mark.parametrize(
    "policy",
    ["mixed_bfloat16", "mixed_float16", "bfloat16", conftest.FLOAT64],
)
def test_precisions(policy, jit, data):
    keras.config.set_dtype_policy(policy)
    model, ends = trained(Adam(0.01), data, jit_compile=jit)
    assert_held(model, ends)


@pytest.mark.some(3)
@pytest.mark.parametrize("name", conftest.slow_but(DIFFERENT, OPTIMIZERS))
def test_saved_and_loaded_model_goes_on_alike(name, data, tmp_path):
    # Keras does not save the states of seeds, so a model without dropout.
    model, _ = trained(OPTIMIZERS[name](), data, make=conftest.sequential)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    ours, theirs = tfl.masks_of(model), tfl.masks_of(loaded)
    assert ours.keys() == theirs.keys() and len(ours) == 2
    assert all((ours[key] == theirs[key]).all() for key in ours)
    for a, b in zip(model.optimizer.variables, loaded.optimizer.variables):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    ends = conftest.BatchEnds()
    loaded.fit(*data, batch_size=16, shuffle=False, verbose=0,
               callbacks=[ends])
    model.fit(*data, batch_size=16, shuffle=False, verbose=0)
    assert ends.revived == 0 and ends.densities[0] < 0.3
    for a, b in zip(model.variables, loaded.variables):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.some(1)
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_loss_scaling_survives_saving(policy, data, tmp_path):
    keras.config.set_dtype_policy(policy)
    model, _ = trained(Adam(0.01), data)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    chain = []
    for optimizer in (model.optimizer, loaded.optimizer):
        chain.append([])
        while optimizer is not None:
            chain[-1].append(type(optimizer).__name__)
            optimizer = getattr(optimizer, "inner_optimizer", None)
    assert chain[0] == chain[1]
    assert len(loaded.optimizer.variables) == len(model.optimizer.variables)


def test_masks_take_one_bit_for_a_weight_in_a_file(tmp_path):
    sizes = []
    for hold in (False, True):
        model = keras.Sequential(
            [keras.Input((1000,)), keras.layers.Dense(1000)]
        )
        model.compile("sgd", "mse")
        model.optimizer.build(model.trainable_variables)
        if hold:
            tfl.prune(model, 0.5)
        path = tmp_path / f"{hold}.keras"
        model.save(path)
        sizes.append(path.stat().st_size)
    assert sizes[1] - sizes[0] < 1_000_000 / 8 + 20_000


def test_non_finite_gradient_of_a_pruned_weight_is_not_seen():
    variable = keras.Variable(np.ones((2, 2), "float32"))
    optimizer = tfl.optimizers.Masked(Adam(0.1, global_clipnorm=1.0))
    optimizer.build([variable])
    mask = np.array([[True, False], [True, True]])
    optimizer.set_masks([(variable, mask)])
    gradient = np.array([[1.0, np.nan], [1.0, 1.0]], "float32")
    optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    value = variable.numpy()
    assert value[0, 1] == 0.0 and not np.signbit(value[0, 1])
    assert np.isfinite(value).all() and (value[mask] != 1.0).all()


def test_pruned_gradients_do_not_count_for_clipping(data):
    """Training masked equals training the surviving weights alone."""
    ends = []
    for scale in (1.0, 1e6):
        weight = keras.Variable(np.ones((1, 2), "float32"))
        optimizer = tfl.optimizers.Masked(SGD(0.1, clipnorm=1.0))
        optimizer.build([weight])
        optimizer.set_masks([(weight, np.array([[True, False]]))])
        gradient = np.array([[3.0, scale]], "float32")
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weight])
        ends.append(weight.numpy())
    np.testing.assert_array_equal(*ends)
    np.testing.assert_allclose(ends[0], [[0.9, 0.0]])


@pytest.mark.slow
def test_masks_survive_another_compile(data):
    model, _ = trained(Adam(0.01), data)
    masks = tfl.masks_of(model)
    ends = conftest.BatchEnds()
    model.compile(SGD(0.5, momentum=0.9), loss())
    model.fit(*data, verbose=0, callbacks=[ends])
    assert ends.revived == 0 and ends.seen > 0
    tfl.hold(model, {"fc1/kernel": masks["fc1/kernel"]})
    assert tfl.optimizers.find(model.optimizer)
    model.fit(*data, verbose=0, callbacks=[ends])
    assert ends.revived == 0
    held = tfl.masks_of(model)
    assert all((held[key] == masks[key]).all() for key in masks)


@pytest.mark.slow
@pytest.mark.some(1)
@pytest.mark.parametrize("name", ["adam", "muon"])
def test_weights_assigned_by_hand_are_pruned_again(name, data):
    model, _ = trained(OPTIMIZERS[name](), data)
    model.set_weights([np.ones_like(w) for w in model.get_weights()])
    model.fit(*data, verbose=0)
    variables = tfl.weights.variables(model)
    for key, mask in tfl.masks_of(model).items():
        assert not variables[key].numpy()[~mask].any()


@pytest.mark.slow
def test_projection_is_spared_only_inside_a_step(data):
    model, _ = trained(OPTIMIZERS["adam"](), data)
    kernel = model.get_layer("fc1").kernel
    assert tfl.constraints.keep_of(kernel) is not None
    model.compile("ftrl", loss())
    ends = conftest.BatchEnds()
    model.fit(*data, verbose=0, callbacks=[ends])
    assert ends.revived == 0 and ends.seen > 0


def test_constraint_of_the_user_stays_in_force(data):
    model = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(
                4, kernel_constraint=keras.constraints.MaxNorm(0.5)
            ),
        ]
    )
    model.compile(SGD(1.0), loss())
    tfl.hold(model, conftest.random_masks(model, 0.5))
    model.fit(*data, verbose=0)
    kernel = model.layers[0].kernel.numpy()
    assert np.linalg.norm(kernel, axis=0).max() < 0.51
    assert np.count_nonzero(kernel) <= 25
    tfl.constraints.detach(model.layers[0].kernel)
    assert isinstance(
        model.layers[0].kernel.constraint, keras.constraints.MaxNorm
    )


def test_learning_rate_is_that_of_the_inner_optimizer():
    optimizer = tfl.optimizers.Masked(SGD(0.25))
    assert float(optimizer.learning_rate) == 0.25
    optimizer.learning_rate = 0.5
    assert float(optimizer.inner_optimizer.learning_rate) == 0.5


@pytest.mark.slow
def test_masks_of_another_model_are_refused(data, tmp_path):
    model, _ = trained(Adam(0.01), data)
    model.save_weights(tmp_path / "masked.weights.h5")
    other = conftest.functional()
    other.compile(tfl.optimizers.Masked(Adam(0.01)), loss())
    other.optimizer.build(other.trainable_variables)
    with pytest.raises(ValueError, match="lie by position, and do not fit"):
        other.optimizer.load_own_variables({"mask_0": np.ones(1, "uint8")})


def test_every_backend_has_the_optimizers_of_keras():
    class Own(Adam):
        pass

    kinds = [internals.optimizers.kind(make()) for make in (Adam, SGD, Own)]
    assert kinds == [Adam, SGD, Own]


def test_a_step_on_one_batch_holds_masks(data):
    model = conftest.functional()
    model.compile("adam", loss())
    masks = tfl.prune(model, 0.5)
    for _ in range(2):
        model.train_on_batch(*data)
        for key, variable in tfl.weights.prunable(model).items():
            value = keras.ops.convert_to_numpy(variable)
            assert value.any() and not value[~masks[key]].any()
