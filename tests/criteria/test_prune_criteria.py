"""`prune` and rounds with every criterion, scope and pattern."""

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tests import conftest

NAMES = [
    criterion.name for criterion in tfl.criteria.ALL_CRITERIA
    # Those of whole units go with pattern "channel".
    if not issubclass(criterion, tfl.criteria.UnitCriterion)
]


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 10)).astype("float32")
    return x, rng.integers(0, 4, 32)


@pytest.fixture
def model():
    made = conftest.functional()
    made.compile("sgd", conftest.loss())
    return made


def snapshot_of(model):
    rng = np.random.default_rng(1)
    return {
        key: rng.normal(size=tuple(v.shape)).astype("float32")
        for key, v in tfl.weights.prunable(model).items()
    }


def values(model):
    return {
        k: np.array(v) for k, v in tfl.weights.variables(model).items()
    }


@pytest.mark.covering
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scope", ["global", "erk"])
def test_every_criterion(name, scope, model, samples):
    before = values(model)
    size = sum(v.size for k, v in before.items() if "kernel" in k)
    masks = tfl.prune(
        model, 0.7, name, scope, data=samples, snapshot=snapshot_of(model),
        iterations=5 if name == "synflow" else None,
    )
    assert tfl.masks.count(masks) == size - round(0.7 * size)
    after = values(model)
    for key, value in after.items():
        if key in masks:
            np.testing.assert_array_equal(value == 0, ~masks[key])
        if key not in masks or name not in ("woodfisher", "obc"):
            kept = masks.get(key, np.ones(value.shape, bool))
            np.testing.assert_array_equal(value[kept], before[key][kept])
    model.fit(*samples, verbose=0)
    assert all(
        not values(model)[key][~mask].any() for key, mask in masks.items()
    )


def test_woodfisher_updates_what_stays(model, samples):
    before = values(model)
    masks = tfl.prune(model, 0.5, "woodfisher", data=samples)
    after = values(model)
    assert any(
        (after[key][mask] != before[key][mask]).any()
        for key, mask in masks.items()
    )


@pytest.mark.parametrize("name", ["synflow", "snip", "grasp", "lamp"])
def test_masks_of_more_iterations_nest(name, samples):
    """A run of t steps goes through the masks of the steps before."""
    seen = []
    criterion = tfl.criteria.get(name)

    class Spy(type(criterion)):
        def prepare(self, model, variables, context):
            score = super().prepare(model, variables, context)

            def scores(masks):
                seen.append(masks)
                return score(masks)

            return scores

    model = conftest.functional()
    model.compile("sgd", conftest.loss())
    masks = tfl.prune(model, 0.9, Spy(), data=samples, iterations=6)
    seen.append(masks)
    counts = [tfl.masks.count(found) for found in seen]
    total = counts[0]
    assert counts[1:] == [
        max(total - round(0.9 * total), round(total * (counts[-1] / total)
                                              ** (step / 6)))
        for step in range(1, 7)
    ]
    for inner, outer in zip(seen[1:], seen):
        assert tfl.masks.nested(inner, outer)


def bottleneck():
    layers = [keras.Input((20,))]
    for index, units in enumerate((60, 3, 60, 20, 4)):
        layers.append(
            keras.layers.Dense(
                units, "relu" if index < 4 else None, use_bias=False,
                name=f"fc{index}",
                kernel_initializer=keras.initializers.GlorotNormal(index),
            )
        )
    model = keras.Sequential(layers)
    model.compile("sgd", conftest.loss())
    return model


def test_collapse():
    with pytest.raises(ValueError, match="Layer collapse.*left of 'fc"):
        tfl.prune(bottleneck(), 0.995, "magnitude", collapse="error")
    model = bottleneck()
    with pytest.warns(UserWarning, match="Layer collapse"):
        masks = tfl.prune(model, 0.995, "magnitude", collapse="warn")
    assert tfl.paths.collapsed(masks)
    if conftest.BACKEND == "tensorflow":
        assert tfl.summary(model).effective == 0
    with pytest.warns(UserWarning, match="Layer collapse"):
        masks = tfl.prune(bottleneck(), 0.995, "magnitude")
    assert not tfl.paths.collapsed(masks)


def test_a_failed_prune_leaves_the_model():
    model = bottleneck()
    before = values(model)
    with pytest.raises(ValueError, match="Layer collapse"):
        tfl.prune(model, 0.995, "magnitude", collapse="error")
    after = values(model)
    for key in before:
        np.testing.assert_array_equal(before[key], after[key])
    assert tfl.masks_of(model) == {}


@conftest.tensorflow_only("paths are followed through its graph")
def test_weights_in_every_layer_without_a_path():
    model = bottleneck()
    with pytest.raises(ValueError, match="Layer collapse"):
        for seed in range(20):
            tfl.prune(
                bottleneck(), 0.99, tfl.criteria.Random(seed), "layer",
                collapse="error",
            )
    assert tfl.masks_of(model) == {}


@pytest.mark.parametrize("name", [
    "synflow",
    # It empties no layer, but may leave no path.
    pytest.param(
        "lamp", marks=pytest.mark.filterwarnings("ignore:Layer collapse")
    ),
])
@pytest.mark.parametrize("keep", [5, 8, 24])
def test_criteria_that_never_collapse(name, keep):
    model = bottleneck()
    size = sum(v.size for v in values(model).values())
    masks = tfl.prune(
        model, 1 - keep / size, name,
        collapse="warn" if name == "synflow" else "keep-one",
    )
    assert tfl.masks.count(masks) == keep
    assert not tfl.paths.collapsed(masks)
    if name == "synflow" and conftest.BACKEND == "tensorflow":
        assert tfl.paths.effective_density(model, masks) >= (keep - 1) / size


def test_one_step_of_synflow_does_collapse():
    with pytest.warns(UserWarning, match="Layer collapse"):
        tfl.prune(
            bottleneck(), 0.995, "synflow", iterations=1, collapse="warn"
        )


def convolutional():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", name="entry")(inputs)
    y = keras.layers.Conv2D(8, 3, padding="same", name="conv")(x)
    x = keras.layers.Add()([x, y])
    x = keras.layers.Reshape((64, 8))(x)
    x = keras.layers.MultiHeadAttention(2, 8, name="attention")(x, x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    model = keras.Model(inputs, keras.layers.Dense(4, name="logits")(x))
    model.compile("sgd", conftest.loss())
    return model


PATTERNS = ["unstructured", "block", "block:1x16:max", "2:4", "channel"]


@pytest.mark.some(2)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_over_rounds(pattern, tmp_path):
    model = convolutional()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 8, 8, 3)), rng.integers(0, 4, 16)
    imp = tfl.IterativeMagnitudePruning(
        rounds=3, epochs_per_round=1, rate=0.3, pattern=pattern,
        monitor="loss", verbose=0, directory=tmp_path / "run",
    )
    model.fit(x, y, epochs=imp.epochs, callbacks=[imp], verbose=0)
    assert len(imp.results) == 4
    tickets = [imp.ticket(round) for round in range(4)]
    for ticket, sparser in zip(tickets, tickets[1:]):
        assert tfl.masks.nested(sparser.masks, ticket.masks)
        if pattern != "2:4" or ticket.density > 0.53:
            assert sparser.density < ticket.density
    tickets[-1].save(tmp_path / "ticket")
    loaded = tfl.Ticket.load(tmp_path / "ticket")
    assert loaded.pattern == tfl.masks.get_pattern(pattern).spec
    for result in imp.results if conftest.BACKEND == "tensorflow" else ():
        assert 0 < result.effective_density <= result.density


def test_coupled_channels_go_together():
    model = convolutional()
    masks = tfl.prune(model, 0.4, pattern="channel")
    alive = {
        key: mask.reshape(-1, mask.shape[-1]).any(axis=0)
        for key, mask in masks.items() if key in ("entry/kernel", "conv/kernel")
    }
    assert not alive["entry/kernel"].all()
    np.testing.assert_array_equal(alive["entry/kernel"], alive["conv/kernel"])
    assert masks["logits/kernel"].any(axis=0).all()


def test_n_of_m_fixes_the_density():
    masks = tfl.prune(convolutional(), 0.5, pattern="2:4", exclude="entry")
    kernel = masks["conv/kernel"].reshape(9, 2, 4, 8)
    assert (kernel.sum(axis=2) == 2).all()
    with pytest.raises(ValueError, match="'2:4' fixes the density.*0.5"):
        tfl.prune(convolutional(), 0.8, pattern="2:4", exclude="entry")


def test_missing_data_and_snapshot_say_how(model):
    with pytest.raises(ValueError, match="data"):
        tfl.prune(model, 0.5, "snip")
    with pytest.raises(ValueError, match="snapshot"):
        tfl.prune(model, 0.5, "movement")


def test_movement_in_rounds_looks_at_the_rewinding_point(samples):
    model = conftest.functional()
    model.compile("sgd", conftest.loss())
    start = values(model)
    imp = tfl.IterativeMagnitudePruning(
        rounds=1, epochs_per_round=1, rate=0.5, criterion="movement",
        rewind="none", monitor="loss", verbose=0,
    )
    trained = {}

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                trained.update(values(self.model))

    model.fit(*samples, epochs=imp.epochs, callbacks=[imp, Keep()], verbose=0)
    masks = imp.ticket(1).masks
    scores = {key: np.abs(trained[key] - start[key]) for key in masks}
    expected = tfl.masks.select(
        scores, tfl.masks.count(masks)
    )
    for key in masks:
        np.testing.assert_array_equal(masks[key], expected[key])


def test_many_models_are_no_retracing(samples, caplog):
    for _ in range(7):
        model = conftest.sequential()
        model.compile("sgd", conftest.loss())
        tfl.prune(model, 0.5, "snip", data=samples)
    assert "retracing" not in caplog.text


def test_what_reads_a_channel_goes_with_it():
    model = convolutional()
    masks = tfl.prune(model, 0.5, pattern="channel", exclude="attention/*")
    alive = masks["entry/kernel"].any(axis=(0, 1, 2))
    read = masks["conv/kernel"].any(axis=(0, 1, 3))
    np.testing.assert_array_equal(alive, read)
    assert 0 < alive.sum() < 8


@pytest.mark.parametrize("sparsity", [0.2, 0.5, 0.8])
def test_channels_keep_nearly_what_is_asked(sparsity):
    model = keras.Sequential(
        [keras.Input((20,))]
        + [keras.layers.Dense(40, "relu", name=f"fc{i}") for i in range(3)]
        + [keras.layers.Dense(4, name="logits")]
    )
    model.compile("sgd", conftest.loss())
    masks = tfl.prune(model, sparsity, pattern="channel")
    # The largest unit has 40 weights that make it and 40 that read it.
    assert abs(tfl.masks.density(masks) - (1 - sparsity)) <= 80 / 4160
    for key, after in zip(masks, list(masks)[1:]):
        np.testing.assert_array_equal(
            masks[key].any(axis=0), masks[after].any(axis=1)
        )
    if conftest.BACKEND == "tensorflow":
        assert tfl.paths.effective_density(model) == tfl.masks.density(masks)


def normalised():
    """A model in which a BatchNormalization follows what can go."""
    inputs = keras.Input((10,))
    x = keras.layers.Dense(8, use_bias=False, name="fc")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dense(4, name="logits")(keras.layers.ReLU()(x))
    model = keras.Model(inputs, x)
    model.compile("sgd", conftest.loss())
    model.get_layer("norm").gamma.assign([4, 1, -5, 2, 3, -6, 7, 8])
    return model


def test_filters_near_the_median_go_first():
    model = normalised()
    kernel = np.ones((10, 8)) * np.arange(8)
    kernel[:, 6] = 20
    model.get_layer("fc").kernel.assign(kernel)
    masks = tfl.prune(
        model, 0.5, "fpgm", pattern="channel", exclude="logits"
    )
    assert masks["fc/kernel"].any(0).tolist() == [1, 1, 0, 0, 0, 0, 1, 1]


def test_scales_of_units_are_those_of_their_weights():
    with pytest.raises(ValueError, match="no score.*'logits/kernel'"):
        tfl.prune(normalised(), 0.5, "bn_scale", pattern="channel")
    masks = tfl.prune(
        normalised(), 0.5, "bn_scale", pattern="channel", exclude="logits"
    )
    assert masks["fc/kernel"].any(0).tolist() == [0, 0, 1, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("callback", [
    lambda **kwargs: tfl.IterativeMagnitudePruning(
        rounds=1, epochs_per_round=1, rate=0.5, monitor="loss", verbose=0,
        **kwargs,
    ),
    lambda **kwargs: tfl.callbacks.GradualPruning(
        tfl.sparsity_schedules.ConstantSparsity(0.5, 0, frequency=1), **kwargs
    ),
    lambda **kwargs: tfl.callbacks.EarlyBird(0.5, **kwargs),
])
def test_callbacks_give_criteria_their_data(callback, model, samples):
    with pytest.raises(ValueError, match="'snip' needs data.*data=None"):
        callback(criterion="snip")
    callback(criterion=tfl.criteria.SNIP(data=samples))
    seen = []

    class Spy(tfl.criteria.SNIP):
        def read(self, context):
            seen.append(context.data)
            return super().read(context)

    pruner = callback(criterion=Spy(), data=samples)
    model.fit(*samples, epochs=2, callbacks=[pruner], verbose=0)
    assert seen and all(data is samples for data in seen)


def test_rounds_prefer_the_data_of_the_criterion(model, samples):
    replay = tfl.data.Replay(*samples, batch_size=16)
    own = samples[0][:8], samples[1][:8]
    imp = tfl.IterativeMagnitudePruning(
        rounds=1, epochs_per_round=1, rate=0.5, monitor="loss", verbose=0,
        data=replay, criterion=tfl.criteria.SNIP(own),
        rewind="none",
    )
    trained = {}

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                trained.update(tfl.criteria.score(self.model, "snip", own))

    model.fit(replay, epochs=2, callbacks=[imp, Keep()], verbose=0)
    masks = imp.ticket(1).masks
    expected = tfl.masks.select(trained, tfl.masks.count(masks))
    for key in masks:
        np.testing.assert_array_equal(masks[key], expected[key])
