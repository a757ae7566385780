"""SET and RigL move masks as the papers say, at constant density."""

import math
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import tests
import tf_lottery as tfl
from tests import conftest
from tests.conftest import loss
from tf_lottery.callbacks import DynamicSparseTraining

SGD, Adam = keras.optimizers.SGD, keras.optimizers.Adam
OPTIMIZERS = {
    "sgd": lambda: SGD(0.1),
    "momentum": lambda: SGD(0.1, momentum=0.9),
    "adam": lambda: Adam(0.01),
    "adamw_ema": lambda: keras.optimizers.AdamW(
        0.01, weight_decay=0.1, use_ema=True, ema_momentum=0.5
    ),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, momentum=0.9),
    "adagrad": lambda: keras.optimizers.Adagrad(0.1),
    "ftrl": lambda: keras.optimizers.Ftrl(0.1),
    "muon": lambda: keras.optimizers.Muon(0.01),
    "clipnorm": lambda: SGD(0.1, momentum=0.9, global_clipnorm=0.1),
    "accumulation": lambda: Adam(0.01, gradient_accumulation_steps=2),
    "loss_scale": lambda: keras.optimizers.LossScaleOptimizer(Adam(0.01)),
}
MODES = conftest.modes(steps=3)
METHODS = ["rigl", "set"]


class Ends(conftest.BatchEnds):
    """Masks, weights and slots at every batch end."""

    def __init__(self):
        super().__init__()
        self.masks, self.steps, self.fresh = [], [], True
        self.grown = 0

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        masks = tfl.masks_of(self.model)
        if self.masks:
            self._check_slots(masks, self.masks[-1])
        self.masks.append(masks)
        self.steps.append(int(self.model.optimizer.iterations))

    def _check_slots(self, masks, before):
        """Pruned and newly grown weights have the slots of new ones."""
        inner = tfl.optimizers.innermost(self.model.optimizer)
        variables = self.model.trainable_variables
        initial = tfl.optimizers.initial_values(inner)
        slots = tfl.optimizers.slots_of(inner, variables)
        named = {id(v): slot for v, slot in zip(variables, slots)}
        for key, variable in tfl.weights.prunable(self.model).items():
            grown = masks[key] & ~before[key]
            self.grown += grown.sum()
            self.fresh &= not variable.numpy()[grown].any()
            for name, slot in named[id(variable)]:
                value = slot.numpy()[~masks[key] | grown]
                self.fresh &= bool((value == np.float32(initial[name])).all())

    def counts(self):
        return [{k: m.sum() for k, m in masks.items()} for masks in self.masks]


def compiled(optimizer=None, make=conftest.sequential, **mode):
    model = make()
    model.compile(optimizer or Adam(0.01), loss(), **mode)
    return model


def fit(model, data, callback, epochs=2, **kwargs):
    ends = Ends()
    history = model.fit(
        *data, batch_size=16, epochs=epochs, verbose=0,
        callbacks=[callback, ends], **kwargs
    )
    assert ends.revived == 0 and ends.seen > 0
    assert all(count == ends.counts()[0] for count in ends.counts())
    return ends, history.history


def values(model):
    return {
        k: v.numpy().copy() for k, v in tfl.weights.variables(model).items()
    }


def moves(ends):
    """The steps at whose end masks were not those of the step before."""
    return [
        step for step, now, before in zip(
            ends.steps[1:], ends.masks[1:], ends.masks
        )
        if any((now[key] != before[key]).any() for key in now)
    ]


@pytest.mark.covering
@pytest.mark.parametrize("name, mode, method", [
    (name, mode, method)
    for name in OPTIMIZERS for mode in MODES for method in METHODS
    # How a step is run matters to gradients alone.
    if mode == "graph" or method == "rigl" and name in (
        "momentum", "adamw_ema", "accumulation", "loss_scale"
    )
])
def test_counts_stay_and_grown_weights_are_new(name, mode, method, data):
    model = compiled(OPTIMIZERS[name](), **MODES[mode])
    callback = DynamicSparseTraining(
        0.7, method, frequency=3, drop_fraction=0.6, end=1.0
    )
    ends, history = fit(model, data, callback)
    masks = ends.masks[-1]
    assert tfl.masks.count(masks) == 224 - round(0.7 * 224)
    assert history["sparsity"] == [1 - tfl.masks.density(masks)] * 2
    assert ends.grown > 0 and ends.fresh
    last = ends.steps[-1]
    assert set(moves(ends)) == {s for s in (3, 6, 9) if s < last} - {
        ends.steps[0]
    }
    for key, variable in tfl.weights.prunable(model).items():
        assert np.isfinite(variable.numpy()).all()
        assert np.count_nonzero(variable.numpy()[masks[key]]) > 0


@pytest.mark.some(2)
@pytest.mark.parametrize("method", METHODS)
def test_any_model(any_model, method, data):
    any_model.compile("adam", loss())
    ends, _ = fit(
        any_model, data, DynamicSparseTraining(0.5, method, frequency=2)
    )
    assert len(moves(ends)) >= 3 and ends.fresh


@pytest.mark.covering
@pytest.mark.parametrize("jit", conftest.JIT)
@pytest.mark.parametrize(
    "policy", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float64"]
)
def test_precisions(policy, jit, data):
    keras.config.set_dtype_policy(policy)
    model = compiled(jit_compile=jit)
    ends, _ = fit(model, data, DynamicSparseTraining(0.5, frequency=2))
    assert len(moves(ends)) >= 3


def slow_update(weight, mask, growth, fraction, rigl):
    """One update in plain Python; returns mask and the fresh positions."""
    weight, growth = weight.ravel().tolist(), growth.ravel().tolist()
    alive = [i for i, kept in enumerate(mask.ravel()) if kept]
    number = int(len(alive) * fraction)
    ranked = sorted(alive, key=lambda i: (-abs(weight[i]), i))
    kept = ranked[:len(alive) - number]
    free = [i for i in range(len(weight)) if i not in kept]
    grown = sorted(free, key=lambda i: (-growth[i], i))[:number]
    new = np.zeros(len(weight), bool)
    new[kept + grown] = True
    fresh = np.zeros(len(weight), bool)
    fresh[[i for i in grown if not (rigl and i in alive)]] = True
    return new.reshape(mask.shape), fresh.reshape(mask.shape)


def gradients(model, variables, batch):
    with tf.GradientTape() as tape:
        value = model.loss(batch[1], model(batch[0], training=True))
    found = tape.gradient(value, [v.value for v in variables])
    return [g.numpy() for g in found]


@conftest.tensorflow_only("compares with tf.GradientTape")
@pytest.mark.parametrize("method", METHODS)
def test_equals_a_slow_simulation_with_momentum(method, data, deterministic):
    rate, momentum, end, drop = 0.1, 0.9, 10, 0.7
    model, twin = compiled(SGD(rate, momentum=momentum)), compiled()
    twin.set_weights(model.get_weights())
    callback = DynamicSparseTraining(
        0.6, method, "layer", frequency=2, drop_fraction=drop, end=end, seed=3
    )
    ends, _ = fit(model, data, callback, shuffle=False)
    keys = list(tfl.weights.prunable(twin))
    variables = tfl.weights.variables(twin)
    masks = dict(ends.masks[0])
    speeds = {key: np.zeros(v.shape) for key, v in variables.items()}
    for key in keys:
        variables[key].assign(variables[key].numpy() * masks[key])
    kept_their_value = 0
    for step in range(1, 13):
        first = (step - 1) % 6 * 16
        batch = [array[first:first + 16] for array in data]
        dense = dict(zip(
            variables, gradients(twin, list(variables.values()), batch)
        ))
        weights = {}
        for key, variable in variables.items():
            mask = masks.get(key, True)
            speeds[key] = momentum * speeds[key] - rate * dense[key] * mask
            weights[key] = variable.numpy() + speeds[key]
        if step % 2 == 0 and step < end:
            fraction = drop / 2 * (1 + math.cos(math.pi * step / end))
            for key in keys:
                growth = np.abs(dense[key])
                if method == "set":
                    growth = callback._random(key, step)
                new, fresh = slow_update(
                    weights[key], masks[key], growth, fraction,
                    method == "rigl",
                )
                kept_their_value += np.sum(masks[key] & fresh)
                weights[key] = weights[key] * (new & ~fresh)
                speeds[key] = speeds[key] * (new & ~fresh)
                masks[key] = new
        for key, variable in variables.items():
            variable.assign(weights[key])
        for key in keys:
            np.testing.assert_array_equal(
                masks[key], ends.masks[step - 1][key], err_msg=f"{key} {step}"
            )
    for key, value in values(model).items():
        np.testing.assert_allclose(value, variables[key], atol=1e-5)
    assert (kept_their_value == 0) == (method == "rigl")
    assert len(moves(ends)) == 4


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_one_update_equals_the_slow_one_with_ties(drawn):
    size = drawn.draw(st.integers(2, 30))
    few = st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0])
    weight, growth = (
        np.array(drawn.draw(st.lists(few, min_size=size, max_size=size)))
        for _ in range(2)
    )
    mask = np.array(drawn.draw(
        st.lists(st.booleans(), min_size=size, max_size=size)
    ))
    mask[0] = True
    fraction = drawn.draw(st.floats(0, 0.95))
    rigl = drawn.draw(st.booleans())
    weight, growth = weight * mask, np.abs(growth)
    callback = DynamicSparseTraining(0.5, "rigl" if rigl else "set")
    carried, moved = callback._moved("", weight, mask, growth, fraction)
    expected, fresh = slow_update(weight, mask, growth, fraction, rigl)
    np.testing.assert_array_equal(moved, expected)
    np.testing.assert_array_equal(carried, expected & ~fresh)
    assert moved.sum() == mask.sum()


@conftest.tensorflow_only("compares with tf.GradientTape")
def test_gradient_is_that_of_the_batch_of_the_step(data):
    """Also where the step lies inside an execution of several."""
    model = compiled(SGD(0.05), steps_per_execution=6)
    seen = {}

    class Watching(DynamicSparseTraining):
        def _growth(self, key, step):
            seen[key] = super()._growth(key, step), step
            return seen[key][0]

    start = values(model)
    masks = conftest.random_masks(model)
    tfl.hold(model, masks)
    fit(model, data, Watching(
        1 - tfl.masks.density(masks), frequency=4, end=100
    ), 1, shuffle=False)
    twin = compiled(SGD(0.05))
    twin.set_weights(list(start.values()))
    tfl.hold(twin, masks)
    x, y = data
    twin.fit(x[:48], y[:48], batch_size=16, shuffle=False, verbose=0)
    variables = tfl.weights.prunable(twin)
    expected = gradients(twin, variables.values(), (x[48:64], y[48:64]))
    for (key, mask), gradient in zip(masks.items(), expected):
        found, step = seen[key]
        assert step == 4 and np.abs(gradient[~mask]).max() > 0
        np.testing.assert_allclose(found, np.abs(gradient), atol=1e-6)


@conftest.tensorflow_only("compares with tf.GradientTape")
def test_gradient_of_accumulated_batches_is_their_sum(data):
    model = compiled(SGD(0.0, gradient_accumulation_steps=3))
    tfl.hold(model, conftest.random_masks(model))
    masked = tfl.optimizers.find(model.optimizer)
    variables = list(tfl.weights.prunable(model).values())
    masked.record_gradients(variables, 1)
    model.fit(*data, batch_size=16, verbose=0, shuffle=False)
    x, y = data
    parts = [
        gradients(model, variables, (x[i:i + 16], y[i:i + 16]))
        for i in (48, 64, 80)
    ]
    for variable, *grads in zip(variables, *parts):
        found = masked.dense_gradient(variable)
        np.testing.assert_allclose(found, sum(grads), atol=1e-5)


def test_gradient_that_is_not_finite_is_not_kept():
    variable = keras.Variable(np.ones((2,), "float32"))
    optimizer = tfl.optimizers.Masked(SGD(0.1))
    optimizer.build([variable])
    optimizer.set_masks([(variable, np.array([True, False]))])
    optimizer.record_gradients([variable], 1)
    for gradient in ([1.0, 2.0], [np.nan, 3.0], [np.inf, 4.0]):
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        np.testing.assert_array_equal(
            optimizer.dense_gradient(variable), [1.0, 2.0]
        )


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left_behind(method, data, tmp_path):
    model = compiled()
    ends, _ = fit(model, data, DynamicSparseTraining(0.5, method, frequency=2))
    masked = tfl.optimizers.find(model.optimizer)
    assert masked._dense_gradients is None
    plain = compiled()
    tfl.hold(plain, ends.masks[-1])
    assert len(masked.variables) == len(
        tfl.optimizers.find(plain.optimizer).variables
    )
    kernels = tfl.weights.prunable(model).values()
    model.fit(*data, verbose=0)
    with pytest.raises(TypeError):
        masked.dense_gradient(next(iter(kernels)))


def test_state_of_the_optimizer_stays_the_same_during_fit(data):
    counts = []

    class Count(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            counts.append(len(tfl.optimizers.state(self.model.optimizer)))

    model = compiled()
    tfl.prune(model, 0.7)
    before = len(tfl.optimizers.state(model.optimizer))
    model.fit(*data, verbose=0, callbacks=[
        DynamicSparseTraining(0.7, frequency=2), Count()
    ])
    assert set(counts) == {before}


@pytest.mark.some(2)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("between", ["fit", "file"])
def test_goes_on_after_a_stop(method, between, data, tmp_path, deterministic):
    def callback():
        return DynamicSparseTraining(
            0.6, method, frequency=2, end=20, seed=5
        )

    whole, parts = (compiled(SGD(0.1, momentum=0.9)) for _ in range(2))
    parts.set_weights(whole.get_weights())
    ends, _ = fit(whole, data, callback(), epochs=3, shuffle=False)
    first, _ = fit(parts, data, callback(), epochs=1, shuffle=False)
    if between == "file":
        parts.save(tmp_path / "model.keras")
        parts = keras.models.load_model(tmp_path / "model.keras")
    second, _ = fit(
        parts, data, callback(), epochs=3, initial_epoch=1, shuffle=False
    )
    for a, b in zip(first.masks + second.masks, ends.masks, strict=True):
        assert all((a[key] == b[key]).all() for key in b)
    for a, b in zip(values(whole).values(), values(parts).values()):
        np.testing.assert_array_equal(a, b)


class Crash(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise InterruptedError


@pytest.mark.slow
@pytest.mark.some(1)
@pytest.mark.parametrize("method", METHODS)
def test_goes_on_after_a_crash(method, data, tmp_path, deterministic):
    def callback():
        return DynamicSparseTraining(0.6, method, frequency=4, end=1.0)

    whole, first, second = (compiled(SGD(0.1, momentum=0.9)) for _ in "123")
    first.set_weights(whole.get_weights())
    ends, _ = fit(whole, data, callback(), epochs=4, shuffle=False)
    with pytest.raises(InterruptedError):
        first.fit(
            *data, batch_size=16, epochs=4, shuffle=False, verbose=0,
            callbacks=[
                callback(), keras.callbacks.BackupAndRestore(tmp_path),
                Crash(),
            ],
        )
    rest = Ends()
    second.fit(
        *data, batch_size=16, epochs=4, shuffle=False, verbose=0,
        callbacks=[
            callback(), keras.callbacks.BackupAndRestore(tmp_path), rest
        ],
    )
    assert len(rest.masks) == 12 and len(moves(rest)) == 2
    for a, b in zip(ends.masks[12:], rest.masks, strict=True):
        assert all((a[key] == b[key]).all() for key in b)


@pytest.mark.slow
def test_shared_and_nested_layers_and_several_outputs(data):
    inner = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    inputs = keras.Input((10,))
    shared = keras.layers.Dense(10, "relu", name="shared")
    x = shared(shared(inner(inputs)))
    model = keras.Model(inputs, {
        "a": keras.layers.Dense(4, name="a")(x),
        "b": keras.layers.Dense(4, name="b")(x),
    })
    model.compile("adam", {"a": loss(), "b": loss()})
    ends = Ends()
    model.fit(
        data[0], {"a": data[1], "b": data[1]}, batch_size=16, verbose=0,
        callbacks=[DynamicSparseTraining(0.5, frequency=2, end=99), ends],
    )
    assert len(ends.masks[0]) == 4 and len(moves(ends)) == 3
    assert ends.revived == 0 and ends.fresh
    assert all(count == ends.counts()[0] for count in ends.counts())


MIRRORED = """
import keras, sys
from tests import conftest
import numpy as np
import tensorflow as tf
import tf_lottery as tfl

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(96, 10)), rng.integers(4, size=96)
weights, masks = None, []
for strategy in (
    tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
    tf.distribute.get_strategy(),
):
    with strategy.scope():
        model = conftest.sequential()
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9),
                      conftest.loss(), jit_compile=False)
    weights = model.get_weights() if weights is None else weights
    model.set_weights(weights)
    dynamic = tfl.callbacks.DynamicSparseTraining(0.6, frequency=2, end=20)
    model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0,
              callbacks=[dynamic])
    masks.append(tfl.masks_of(model))
assert all((masks[0][key] == masks[1][key]).all() for key in masks[1])
print("equal")
"""


@pytest.mark.slow
@conftest.tensorflow_only("MirroredStrategy is TensorFlow's")
def test_several_devices_grow_what_one_does():
    run = subprocess.run(
        [sys.executable, "-c", MIRRORED], capture_output=True, text=True,
        cwd=tests.ROOT,
    )
    assert run.stdout.strip().endswith("equal"), run.stderr


@pytest.mark.slow
def test_fraction_follows_all_steps_of_fit(data):
    model = compiled()
    callback = DynamicSparseTraining(0.5, frequency=1, end=0.5)
    ends, _ = fit(model, data, callback)
    assert callback._end_step == 6 and callback.fraction_at(0) == 0.3
    assert callback.fraction_at(3) == pytest.approx(0.15)
    assert max(moves(ends)) <= 5
    fit(model, data, callback, epochs=3, initial_epoch=2)
    assert callback._end_step == 9
    accumulating = compiled(Adam(0.01, gradient_accumulation_steps=2))
    fit(accumulating, data, callback)
    assert callback._end_step == 3


@pytest.mark.slow
def test_seed_decides(data):
    ends = []
    for seed in (0, 0, 1):
        keras.utils.set_random_seed(0)
        model = compiled(SGD(0.0))
        callback = DynamicSparseTraining(
            0.5, "set", frequency=2, end=9, seed=seed
        )
        ends.append(fit(model, data, callback)[0].masks)
    for i, key in [(0, "fc1/kernel"), (-1, "fc1/kernel")]:
        np.testing.assert_array_equal(ends[0][i][key], ends[1][i][key])
        assert (ends[0][i][key] != ends[2][i][key]).any()


@pytest.mark.some(1)
@pytest.mark.parametrize("scope", ["layer", "erk", "er", "uniform+"])
def test_first_masks_are_shared_out_by_scope(scope, data):
    model = compiled(make=conftest.functional)
    shapes = {
        k: tuple(v.shape) for k, v in tfl.weights.prunable(model).items()
    }
    ends, _ = fit(model, data, DynamicSparseTraining(0.6, scope=scope), 1)
    if scope == "layer":
        expected = {k: math.prod(s) - round(0.6 * math.prod(s))
                    for k, s in shapes.items()}
    else:
        total = sum(map(math.prod, shapes.values()))
        expected = tfl.distributions.distribute(
            shapes, total - round(0.6 * total), scope
        )
    assert ends.counts()[-1] == expected


def test_sparsity_by_layer_leaves_others_dense(data):
    # Without training a weight that was dropped would stay at 0.
    model = compiled(SGD(0.0), make=conftest.functional)
    callback = DynamicSparseTraining(
        {"fc1": 0.5, "fc2": 0.75}, "set", "layer", frequency=2
    )
    ends, _ = fit(model, data, callback)
    densities = tfl.masks.densities(ends.masks[-1])
    assert densities == {
        "fc1/kernel": 0.5, "fc2/kernel": 0.25, "logits/kernel": 1.0
    }
    assert model.get_layer("logits").kernel.numpy().all()


def test_masks_held_before_stay_in_number(data):
    model = compiled()
    before = tfl.prune(model, 0.75)
    with pytest.warns(UserWarning, match="sparsity 0.75 already"):
        ends, _ = fit(model, data, DynamicSparseTraining(0.5, frequency=4))
    assert ends.counts()[0] == {k: m.sum() for k, m in before.items()}
    np.testing.assert_array_equal(
        ends.masks[0]["fc1/kernel"], before["fc1/kernel"]
    )


@conftest.only("tensorflow", "jax", because="torch does not trace")
def test_train_step_is_traced_once_in_a_fit(data):
    traces = []

    class Traced(keras.Sequential):
        def train_step(self, *args):
            traces.append(1)
            return super().train_step(*args)

    model = Traced([keras.Input((10,)), keras.layers.Dense(16),
                    keras.layers.Dense(4)])
    model.compile("adam", loss())
    callback = DynamicSparseTraining(0.5, METHODS[0], frequency=2)
    fit(model, data, callback, epochs=3)
    assert len(traces) == 1


def test_set_moves_masks_in_wrapped_layers_and_rigl_refuses(data):
    model = tfl.layers.wrap(conftest.sequential())
    model.compile("adam", loss())
    with pytest.raises(ValueError, match="layers.Masked"):
        fit(model, data, DynamicSparseTraining(0.5))
    ends = Ends()
    model.fit(*data, batch_size=16, verbose=0, callbacks=[
        DynamicSparseTraining(0.5, "set", frequency=2, end=99), ends
    ])
    assert ends.revived == 0 and len(moves(ends)) == 3


@pytest.mark.parametrize("change, words", [
    ({"sparsity": 0.0}, "sparsity"),
    ({"sparsity": 1.0}, "sparsity"),
    ({"method": "RigL"}, "method"),
    ({"scope": "global"}, "scope"),
    ({"scope": "some"}, "scope"),
    ({"frequency": 0}, "frequency"),
    ({"frequency": 1.5}, "frequency"),
    ({"drop_fraction": 1.0}, "drop_fraction"),
    ({"end": 0}, "end"),
    ({"end": 1.5}, "end"),
    ({"end": True}, "end"),
])
def test_bad_arguments_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        DynamicSparseTraining(**{"sparsity": 0.5, **change})


def test_end_as_a_fraction_needs_the_number_of_steps(data):
    def batches():
        while True:
            yield data[0][:16], data[1][:16]

    model = compiled()
    with pytest.raises(ValueError, match="must be a step"):
        model.fit(batches(), verbose=0,
                  callbacks=[DynamicSparseTraining(0.5)])
    model.fit(batches(), steps_per_epoch=4, verbose=0,
              callbacks=[DynamicSparseTraining(0.5)])


def test_model_that_is_not_compiled_is_refused():
    callback = DynamicSparseTraining(0.5)
    callback.set_model(conftest.sequential())
    with pytest.raises(ValueError, match="must be compiled"):
        callback.on_train_begin()
