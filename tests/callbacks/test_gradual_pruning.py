"""Pruning while training reaches each sparsity exactly and on time."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_lottery as tfl
from tests import conftest
from tests.conftest import loss
from tf_lottery import sparsity_schedules
from tf_lottery.callbacks import GradualPruning
from tf_lottery.sparsity_schedules import ConstantSparsity
from tf_lottery.sparsity_schedules import OneCycle
from tf_lottery.sparsity_schedules import PolynomialDecay

SGD, Adam = keras.optimizers.SGD, keras.optimizers.Adam
OPTIMIZERS = {
    "momentum": lambda: SGD(0.1, momentum=0.9),
    "adam": lambda: Adam(0.01),
    "adamw_ema": lambda: keras.optimizers.AdamW(
        0.01, weight_decay=0.1, use_ema=True, ema_momentum=0.5
    ),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, momentum=0.9),
    "adagrad": lambda: keras.optimizers.Adagrad(0.1),
    "ftrl": lambda: keras.optimizers.Ftrl(0.1),
    "loss_scale": lambda: keras.optimizers.LossScaleOptimizer(Adam(0.01)),
}
MODES = conftest.modes(steps=4)
# 96 samples in batches of 16: 6 steps in an epoch.
STEPS = 6


class Ends(conftest.BatchEnds):
    """What holds at every batch end: zeros, sparsity, nested masks."""

    def __init__(self):
        super().__init__()
        self.sparsities, self.masks, self.steps = [], None, []
        self.nested = True

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        masks = tfl.masks_of(self.model)
        if self.masks is not None:
            self.nested &= tfl.masks.nested(masks, self.masks)
        self.masks = masks
        self.steps.append(int(self.model.optimizer.iterations))
        self.sparsities.append(1 - tfl.masks.density(masks))


def compiled(optimizer=None, make=conftest.sequential, **mode):
    model = make()
    model.compile(optimizer or Adam(0.01), loss(), **mode)
    return model


def fit(model, data, pruning, epochs=2, **kwargs):
    ends = Ends()
    history = model.fit(
        *data, batch_size=16, epochs=epochs, verbose=0,
        callbacks=[pruning, ends], **kwargs
    )
    assert ends.revived == 0 and ends.seen > 0 and ends.nested
    return ends, history.history


def slots_are_fresh(model):
    """Whether no slot of a pruned weight differs from its initial value."""
    inner = tfl.optimizers.innermost(model.optimizer)
    slots = tfl.optimizers.slots_of(inner, model.trainable_variables)
    initial = tfl.optimizers.initial_values(inner)
    values = [
        (slot.numpy()[~mask], np.float32(initial[name]))
        for variable, named in zip(model.trainable_variables, slots)
        if (mask := tfl.constraints.mask_of(variable)) is not None
        for name, slot in named
    ]
    return values and all((value == start).all() for value, start in values)


def exact(sparsity, size):
    return round(sparsity * size) / size


@pytest.mark.covering
@pytest.mark.parametrize("name, mode", [
    (name, mode) for name in OPTIMIZERS for mode in MODES
    if mode == "graph" or name in ("momentum", "adamw_ema", "loss_scale")
])
def test_every_sparsity_is_reached_exactly(name, mode, data):
    model = compiled(OPTIMIZERS[name](), **MODES[mode])
    schedule = PolynomialDecay(0.1, 0.8, 2, 10, frequency=3)
    ends, history = fit(model, data, GradualPruning(schedule))
    size = tfl.masks.size(ends.masks)
    expected, reached = [], 0.0
    for now, last in zip(ends.steps, [0, *ends.steps]):
        due = [s for s in range(last + 1, now + 1) if schedule(s)[0]]
        reached = schedule(due[-1])[1] if due else reached
        expected.append(exact(reached, size))
    np.testing.assert_allclose(ends.sparsities, expected, atol=1e-12)
    assert ends.sparsities[-1] == pytest.approx(exact(0.8, size))
    assert history["sparsity"][-1] == pytest.approx(exact(0.8, size))
    assert history["density"][-1] + history["sparsity"][-1] == 1
    assert len(set(expected)) >= 3 and slots_are_fresh(model)
    for key, variable in tfl.weights.prunable(model).items():
        assert np.count_nonzero(variable) <= ends.masks[key].sum()


def test_any_model(any_model, data):
    any_model.compile("adam", loss())
    ends, _ = fit(
        any_model, data, GradualPruning(OneCycle(0.7, 9, frequency=2))
    )
    size = tfl.masks.size(ends.masks)
    assert ends.sparsities[-1] == pytest.approx(exact(0.7, size))
    assert ends.sparsities == sorted(ends.sparsities)


def test_weights_of_smallest_magnitude_go(data):
    model = compiled(SGD(0.0))
    before = {k: np.abs(v) for k, v in tfl.weights.prunable(model).items()}
    fit(model, data, GradualPruning(ConstantSparsity(0.5, 3)), epochs=1)
    threshold = np.median(np.concatenate([b.ravel() for b in before.values()]))
    for key, mask in tfl.masks_of(model).items():
        np.testing.assert_array_equal(mask, before[key] > threshold)


def test_layer_scope_prunes_each_layer_alike_and_leaves_others(data):
    model = compiled(make=conftest.functional)
    pruning = GradualPruning(
        ConstantSparsity(0.75, 2), scope="layer", exclude=["logits"]
    )
    ends, history = fit(model, data, pruning)
    assert set(ends.masks) == {"fc1/kernel", "fc2/kernel"}
    assert set(tfl.masks.densities(ends.masks).values()) == {0.25}
    assert history["sparsity"] == [0.75, 0.75]


@pytest.mark.parametrize("pattern, schedule", [
    ("block:1x4", PolynomialDecay(0.0, 0.75, 0, 8, frequency=2)),
    ("channel", PolynomialDecay(0.0, 0.5, 0, 8, frequency=4)),
    ("2:4", ConstantSparsity(0.5, 4)),
])
def test_patterns(pattern, schedule, data):
    model = keras.Sequential([
        keras.Input((10,)), keras.layers.Dense(16, "relu", name="fc1"),
        keras.layers.Dense(16, "relu", name="fc2"), keras.layers.Dense(4),
    ])
    model.compile("adam", loss())
    pruning = GradualPruning(
        schedule, pattern=pattern, scope="layer", exclude=["fc1", "dense"]
    )
    ends, _ = fit(model, data, pruning)
    with pytest.warns(UserWarning, match="holds no masks: it is a clone"):
        twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    twin.compile("adam", loss())
    masks = tfl.prune(
        twin, schedule(8)[1], pattern=pattern, scope="layer",
        exclude=["fc1", "dense"],
    )
    assert tfl.masks.count(masks) == tfl.masks.count(ends.masks)
    if pattern == "2:4":
        groups = ends.masks["fc2/kernel"].reshape(4, 4, 16).sum(axis=1)
        assert (groups == 2).all()


def test_data_criterion_sees_data(data):
    seen = []

    class Watching(tfl.criteria.Magnitude):
        def prepare(self, model, variables, context):
            seen.append((context.data, context.masks))
            return super().prepare(model, variables, context)

    model = compiled()
    schedule = PolynomialDecay(0.0, 0.5, 0, 4, frequency=2)
    fit(model, data, GradualPruning(schedule, Watching(), data=data), 1)
    assert len(seen) == 2 and all(x is not None for x, _ in seen)
    assert tfl.masks.density(seen[1][1]) < 1


@conftest.only("tensorflow", "jax", because="torch does not trace")
def test_train_step_is_traced_once(data):
    traces = []

    class Traced(keras.Sequential):
        def train_step(self, *args):
            traces.append(1)
            return super().train_step(*args)

    model = Traced([keras.Input((10,)), keras.layers.Dense(16),
                    keras.layers.Dense(4)])
    model.compile("adam", loss())
    schedule = PolynomialDecay(0.0, 0.8, 0, 16, frequency=2)
    fit(model, data, GradualPruning(schedule), epochs=3)
    assert len(traces) == 1
    fit(model, data, GradualPruning(schedule), epochs=1)
    assert len(traces) == 1


def test_second_fit_goes_on(data):
    schedule = PolynomialDecay(0.0, 0.8, 0, 11, frequency=1)
    once, twice = compiled(), compiled()
    twice.set_weights(once.get_weights())
    whole, _ = fit(once, data, GradualPruning(schedule), shuffle=False)
    with pytest.warns(UserWarning, match="ended at step 6, before step 11"):
        first, _ = fit(
            twice, data, GradualPruning(schedule), epochs=1, shuffle=False
        )
    second, _ = fit(
        twice, data, GradualPruning(schedule), epochs=1, shuffle=False
    )
    assert first.sparsities + second.sparsities == whole.sparsities
    for key, mask in whole.masks.items():
        np.testing.assert_array_equal(mask, second.masks[key])


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_saved_and_loaded_model_goes_on(policy, data, tmp_path):
    keras.config.set_dtype_policy(policy)
    model = compiled()
    schedule = PolynomialDecay(0.0, 0.8, 0, 20, frequency=4)
    with pytest.warns(UserWarning, match="ended at step"):
        fit(model, data, GradualPruning(schedule))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    ends, _ = fit(model, data, GradualPruning(schedule), shuffle=False)
    theirs, _ = fit(loaded, data, GradualPruning(schedule), shuffle=False)
    assert theirs.sparsities == ends.sparsities
    final = exact(0.8, tfl.masks.size(ends.masks))
    assert theirs.sparsities[-1] == pytest.approx(final)
    for key, mask in ends.masks.items():
        assert (mask != theirs.masks[key]).sum() <= 2


class Crash(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise InterruptedError


@pytest.mark.slow
def test_goes_on_after_a_crash(data, tmp_path):
    def callbacks(*more):
        backup = keras.callbacks.BackupAndRestore(tmp_path)
        return [GradualPruning(schedule), backup, *more]

    schedule = PolynomialDecay(0.0, 0.8, 0, 20, frequency=5)
    how = {"batch_size": 16, "epochs": 4, "verbose": 0}
    with pytest.raises(InterruptedError):
        compiled().fit(*data, **how, callbacks=callbacks(Crash()))
    rest = Ends()
    compiled().fit(*data, **how, callbacks=callbacks(rest))
    whole, _ = fit(compiled(), data, GradualPruning(schedule), epochs=4)
    assert rest.sparsities == whole.sparsities[12:]
    assert rest.nested and rest.revived == 0


def test_accumulated_batches_are_one_step(data):
    model = compiled(Adam(0.01, gradient_accumulation_steps=2))
    schedule = ConstantSparsity(0.5, 4)
    ends, _ = fit(model, data, GradualPruning(schedule))
    assert ends.sparsities == [0.0] * 7 + [0.5] * 5
    assert slots_are_fresh(model)


class Tensors:
    """Speaks as a schedule of TFMOT does, in float32 tensors."""

    def __init__(self, final, end_step, frequency):
        self.final, self.end_step = final, end_step
        self.frequency = frequency

    def __call__(self, step):
        t = tf.cast(step, tf.float32) / self.end_step
        sparsity = self.final * (1 - (1 - tf.clip_by_value(t, 0, 1)) ** 3)
        due = tf.logical_and(
            tf.equal(step % self.frequency, 0), step <= self.end_step
        )
        return due, sparsity


def test_schedule_of_tensors(data):
    model = compiled()
    ends, _ = fit(model, data, GradualPruning(Tensors(0.9, 10, 4)))
    size = tfl.masks.size(ends.masks)
    expected = [exact(s, size) for s in (0.9 * (1 - 0.6 ** 3),
                                         0.9 * (1 - 0.2 ** 3), 0.9)]
    assert ends.sparsities[0] == 0
    np.testing.assert_allclose(ends.sparsities[3::4], expected)
    # 4 does not divide 10; the end is reached all the same.
    assert ends.sparsities[9] == pytest.approx(expected[-1])


def test_schedule_without_an_end(data):
    model = compiled()
    ends, _ = fit(model, data, GradualPruning(lambda step: (step == 3, 0.5)))
    assert ends.sparsities == [0.0] * 2 + [0.5] * 10


@pytest.mark.parametrize("end", [-1, 4])
def test_pruned_before_the_first_batch_if_asked(end, data):
    pruning = GradualPruning(ConstantSparsity(0.5, 0, end))
    ends, _ = fit(compiled(), data, pruning, epochs=1)
    assert ends.sparsities == [0.5] * STEPS


def test_optimizer_beyond_the_end_is_told(data):
    model = compiled()
    model.fit(*data, batch_size=16, verbose=0)
    schedule = PolynomialDecay(0.0, 0.5, 0, 5, frequency=1)
    with pytest.warns(UserWarning, match="has done 6 steps"):
        ends, _ = fit(model, data, GradualPruning(schedule), 1)
    assert ends.sparsities == [0.5] * STEPS
    ends, _ = fit(model, data, GradualPruning(schedule), 1)
    assert ends.sparsities == [0.5] * STEPS


def test_schedule_that_never_begins_is_told(data):
    with pytest.warns(UserWarning, match="sparsity is 0"):
        compiled().fit(
            *data, verbose=0,
            callbacks=[GradualPruning(ConstantSparsity(0.5, 1000))],
        )


@pytest.mark.slow
def test_wrapped_layers_hold_the_masks(data):
    model = tfl.layers.wrap(conftest.sequential())
    model.compile("adam", loss())
    schedule = PolynomialDecay(0.0, 0.5, 0, 8, frequency=2)
    ends, _ = fit(model, data, GradualPruning(schedule))
    assert ends.sparsities[-1] == 0.5


@pytest.mark.parametrize("change, words", [
    ({"schedule": 0.5}, "schedule"),
    ({"criterion": "largest"}, "criterion"),
    ({"scope": "everything"}, "scope"),
    ({"pattern": "stripes"}, "pattern"),
])
def test_bad_arguments_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        GradualPruning(**{"schedule": ConstantSparsity(0.5, 0), **change})


def test_unreachable_sparsity_is_refused_before_training(data):
    model = compiled()
    schedule = PolynomialDecay(0.0, 0.999, 0, 8)
    with pytest.raises(ValueError, match="at least one of each"):
        model.fit(*data, verbose=0, callbacks=[GradualPruning(schedule)])
    assert int(model.optimizer.iterations) == 0


def test_schedule_out_of_range_is_refused(data):
    with pytest.raises(ValueError, match="sparsity in"):
        compiled().fit(
            *data, verbose=0,
            callbacks=[GradualPruning(lambda step: (True, 1.5))],
        )


def test_every_schedule_has_a_place():
    for schedule in (PolynomialDecay(0.0, 0.5, 0, 8), OneCycle(0.5, 8)):
        assert GradualPruning(schedule).schedule is schedule
    assert callable(sparsity_schedules.get(Tensors(0.5, 8, 2)))
