"""Shrinking: equality, names, and all that goes along with the weights."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import tf_lottery as tfl
from tests import conftest
from tf_lottery import graph as graph_lib
from tf_lottery import structured
from tf_lottery import weights
from tf_lottery.utils import backends

# The subclassed model of the tests has no configuration.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The configuration of `Stack` cannot say how wide"
)


def convolutional(**options):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="c1")(inputs)
    x = layers.BatchNormalization(name="n1")(x)
    x = layers.ReLU(name="r1")(x)
    y = layers.Conv2D(8, 3, padding="same", use_bias=False, name="c2")(x)
    y = layers.BatchNormalization(name="n2")(y)
    x = layers.Add(name="add")([x, y])
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(16, "relu", name="fc")(x)
    return keras.Model(inputs, layers.Dense(4, name="logits")(x), name="net")


def test_keys_and_values_stay_equally_wide_under_jax(monkeypatch):
    inputs = keras.Input((4, 3))
    x = layers.Dense(8, name="stem")(inputs)
    x = x + layers.MultiHeadAttention(2, 6, name="m")(x, x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    for seed, weight in enumerate(model.weights):
        weight.assign(np.random.default_rng(seed).normal(size=weight.shape))

    def widths(plan):
        kept = {group.name: len(group.kept) for group in plan.groups}
        return kept["m:key_dim"], kept["m:value_dim"]

    plan = structured.plan(model, ratio=0.5, scope="global")
    assert len(set(widths(plan))) == 2
    monkeypatch.setattr(backends, "name", lambda: "jax")
    assert len(set(widths(
        structured.plan(model, ratio=0.5, scope="global")
    ))) == 1
    with pytest.raises(ValueError, match="of one size. Received: a plan that"):
        structured.shrink(model, plan)


def nested():
    inner = keras.Sequential(
        [
            keras.Input((8, 8, 8)),
            layers.Conv2D(8, 3, padding="same", name="conv"),
            layers.ReLU(name="relu"),
        ],
        name="inner",
    )
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    x = layers.GlobalAveragePooling2D(name="pool")(inner(inner(x)))
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def several():
    a, b = keras.Input((6,), name="a"), keras.Input((5,), name="b")
    x = layers.Dense(8, "relu", name="left")(a)
    y = layers.Dense(8, "relu", name="right")(b)
    z = layers.Concatenate(name="both")([x, y])
    shared = layers.Dense(8, "tanh", name="shared")
    z = layers.Add(name="twice")([shared(z), shared(z)])
    one = layers.Dense(2, name="one")(z)
    two = layers.Dense(3, activation="softmax", name="two")(z)
    return keras.Model({"a": a, "b": b}, {"one": one, "two": two})


def attention():
    inputs = keras.Input((12,), dtype="int32")
    x = layers.Embedding(50, 16, name="words")(inputs)
    y = layers.MultiHeadAttention(4, 8, name="attention")(x, x)
    x = layers.Add(name="add")([x, y])
    x = layers.Dense(32, "gelu", name="mlp")(x)
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def open_sizes():
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, name="c")(inputs)
    x = layers.BatchNormalization(name="n")(x)
    x = layers.DepthwiseConv2D(3, name="d")(x)
    x = layers.Conv2D(8, 3, groups=2, name="g")(x)
    x = layers.GlobalMaxPooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def mixed():
    keras.config.set_dtype_policy("mixed_float16")
    model = open_sizes()
    keras.config.set_dtype_policy("float32")
    return model


def channels_first():
    first = {"data_format": "channels_first"}
    inputs = keras.Input((3, 9, 9))
    x = layers.Conv2D(8, 3, name="c1", **first)(inputs)
    x = layers.BatchNormalization(axis=1, name="n1")(x)
    x = layers.Conv2D(8, 3, name="c2", **first)(x)
    x = layers.GlobalAveragePooling2D(name="pool", **first)(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def preprocessing():
    norm = layers.Normalization(name="norm")
    norm.adapt(np.random.default_rng(0).normal(3, 2, (50, 6)))
    inputs = keras.Input((6,))
    x = layers.Dense(8, "relu", name="fc1")(norm(inputs))
    x = ops.tanh(layers.Dropout(0.3, name="drop")(x)) * 2.0
    x = layers.Dense(8, "relu", name="fc2")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def wrapped():
    return tfl.layers.wrap(
        keras.Sequential(
            [
                keras.Input((8,)),
                layers.Dense(8, "relu", name="fc"),
                layers.Dense(2, name="logits"),
            ]
        )
    )


class Stack(keras.Model):
    """Layers that are tracked in another order than they are called in."""

    def __init__(self):
        super().__init__()
        self.head = layers.Dense(4)
        self.blocks = [layers.Dense(8, "relu") for _ in range(3)]
        self.norm = layers.BatchNormalization()

    def call(self, inputs, training=None):
        for block in reversed(self.blocks):
            inputs = block(inputs)
        return self.head(self.norm(inputs, training=training))


def subclassed():
    model = Stack()
    model(np.zeros((1, 8), "float32"))
    return model


# Model and its prunable units, counted by hand.
ZOO = {
    convolutional: 8 + 16,
    nested: 8,
    several: 8 + 8 + 8,
    # Stream 16, 4 heads of key and value dimension 8, MLP 32.
    attention: 16 + 4 + 8 + 8 + 32,
    open_sizes: None,
    mixed: None,
    channels_first: 16,
    preprocessing: 16,
    wrapped: 8,
    subclassed: 24,
}


def random_weights(model, seed=0):
    rng = np.random.default_rng(seed)
    for key, variable in weights.variables(model).items():
        name = key.rsplit("/", 1)[-1]
        if name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif name in ("beta", "bias", "moving_mean"):
            variable.assign(rng.normal(0, 0.3, variable.shape))


def zero_readers(model, graph, kept):
    for binding in graph.bindings:
        mask = kept[binding.ids]
        if binding.kind in ("in", "zero") and not mask.all():
            value = np.array(ops.convert_to_numpy(binding.variable))
            np.moveaxis(value, binding.axis, 0)[~mask] = 0
            binding.variable.assign(value)


def inputs_of(model, graph):
    rng = np.random.default_rng(1)
    found = []
    for x in graph.view.graph.inputs:
        shape = (4, *(9 if n is None else n for n in x.shape[1:]))
        found.append(
            rng.integers(0, 50, shape) if "int" in x.dtype
            else rng.normal(size=shape).astype("float32")
        )
    return keras.tree.pack_sequence_as(graph.view.graph.input, found)


def outputs_of(model, x):
    found = keras.tree.flatten(model(x, training=False))
    return [np.asarray(ops.convert_to_numpy(y), "float64") for y in found]


def error(expected, found):
    return max(
        np.abs(a - b).max() / np.abs(a).max()
        for a, b in zip(expected, found, strict=True)
    )


@pytest.mark.some(3)
@pytest.mark.parametrize("make", ZOO, ids=lambda make: make.__name__)
def test_small_is_masked_big(make):
    conftest.skip_channels_first(make.__name__)
    model = make()
    random_weights(model)
    graph = graph_lib.trace(model)
    assert ZOO[make] in (None, graph.units)
    before = [np.array(w) for w in model.get_weights()]
    plan = structured.plan(model, ratio=0.5)
    small = structured.shrink(model, plan)
    proof = structured.proof_of(small)
    assert proof.dtype == "float64"
    assert max(proof.error, proof.weights_error) < 1e-12
    assert proof.control > 1e-3
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert plan.after["units"] < plan.before["units"]
    if make is not wrapped:
        assert small.count_params() == plan.after["params"]
    x = inputs_of(model, graph)
    zero_readers(model, graph, plan.kept(graph))
    bound = 2e-2 if make is mixed else 2e-5
    assert error(outputs_of(model, x), outputs_of(small, x)) < bound
    assert all(
        type(layer).__module__.startswith("keras.")
        for layer in small._flatten_layers()
    )


@pytest.mark.some(3)
@pytest.mark.parametrize("make", ZOO, ids=lambda make: make.__name__)
def test_ratio_zero_is_the_identity_and_twice_works(make):
    model = make()
    same = structured.shrink(model, structured.plan(model, ratio=0))
    if make is not wrapped:
        assert same.count_params() == model.count_params()
    if make not in (wrapped, subclassed):
        for a, b in zip(
            model.get_weights(), same.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(a, b)
    once = structured.shrink(same, structured.plan(same, ratio=0.5))
    twice = structured.shrink(once, structured.plan(once, ratio=0.5))
    assert twice.count_params() < once.count_params() < same.count_params()


@pytest.mark.parametrize("make", [convolutional, nested, several, attention])
def test_saving_and_names(make, tmp_path):
    model = make()
    small = structured.shrink(model, structured.plan(model, ratio=0.5))
    assert [x.name for x in small.layers] == [x.name for x in model.layers]
    assert small.name == model.name
    assert weights.variables(small).keys() == weights.variables(model).keys()
    small.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    x = inputs_of(small, graph_lib.trace(small))
    for a, b in zip(outputs_of(small, x), outputs_of(loaded, x)):
        np.testing.assert_array_equal(a, b)


OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(),
    "amsgrad": lambda: keras.optimizers.Adam(
        amsgrad=True, weight_decay=1e-3, use_ema=True
    ),
    "accumulating": lambda: keras.optimizers.Adam(
        gradient_accumulation_steps=2
    ),
    "momentum": lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    "nadam": lambda: keras.optimizers.Nadam(),
    "rmsprop": lambda: keras.optimizers.RMSprop(momentum=0.9, centered=True),
    "lion": lambda: keras.optimizers.Lion(),
    "schedule": lambda: keras.optimizers.Adagrad(
        keras.optimizers.schedules.CosineDecay(0.01, 30)
    ),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam()
    ),
}


@pytest.mark.parametrize(
    "name", conftest.slow_but(["amsgrad", "accumulating"], OPTIMIZERS)
)
def test_training_follows_the_same_trajectory(name, batch):
    model = convolutional()
    compile_(model, OPTIMIZERS[name]())
    for _ in range(10):
        model.train_on_batch(*batch)
    small, follow = shrunk(model)
    for _ in range(20):
        follow(*batch)
        small.train_on_batch(*batch)
    found = error(
        outputs_of(model, batch[0]), outputs_of(small, batch[0])
    )
    assert found < 1e-5
    assert int(small.optimizer.iterations) == int(model.optimizer.iterations)


@pytest.mark.slow
def test_a_cold_optimizer_leaves_the_trajectory(batch):
    model = convolutional()
    compile_(model, keras.optimizers.Adam())
    for _ in range(10):
        model.train_on_batch(*batch)
    small, follow = shrunk(model)
    compile_(small, keras.optimizers.Adam())
    for _ in range(20):
        follow(*batch)
        small.train_on_batch(*batch)
    assert error(
        outputs_of(model, batch[0]), outputs_of(small, batch[0])
    ) > 1e-3


@pytest.mark.slow
@pytest.mark.some(1)
@pytest.mark.parametrize(
    "optimizer, reason",
    [
        (lambda: keras.optimizers.Lamb(), "Lamb"),
        (lambda: keras.optimizers.Adafactor(), "Adafactor"),
        (lambda: keras.optimizers.Adam(clipnorm=1.0), "clipnorm"),
        (lambda: keras.optimizers.Adam(global_clipnorm=1.0), "global_clip"),
    ],
)
def test_inexact_optimizers_are_told(optimizer, reason, batch):
    model = convolutional()
    compile_(model, optimizer())
    model.train_on_batch(*batch)
    with pytest.warns(UserWarning, match=reason):
        small = structured.shrink(model, structured.plan(model, ratio=0.5))
    small.train_on_batch(*batch)


@pytest.mark.slow
def test_muon_is_told(batch):
    model = convolutional()
    compile_(model, keras.optimizers.Muon())
    model.train_on_batch(*batch)
    with pytest.warns(UserWarning, match="Muon"):
        structured.shrink(model, structured.plan(model, ratio=0.5))


@pytest.mark.slow
def test_factored_slots_are_cut(batch):
    model = convolutional()
    compile_(model, keras.optimizers.Adafactor())
    model.train_on_batch(*batch)
    plan = structured.plan(model, ratio=0.5)
    with pytest.warns(UserWarning, match="Adafactor"):
        small = structured.shrink(model, plan)
    kept = plan.kept(graph_lib.trace(model))
    graph = graph_lib.trace(model)
    rows = kept[graph.bindings[0].ids]
    outs = {b.axis: kept[b.ids] for b in graph.bindings
            if b.key == "fc/kernel"}
    index = [v.path for v in model.trainable_variables].index("fc/kernel")
    for name, axis in (("_r", 0), ("_c", 1)):
        wide = ops.convert_to_numpy(getattr(model.optimizer, name)[index])
        slim = ops.convert_to_numpy(getattr(small.optimizer, name)[index])
        np.testing.assert_array_equal(wide[outs[axis]], slim)
    assert rows.all()


def test_compile_configuration_goes_along(batch):
    model = convolutional()
    compile_(
        model, keras.optimizers.Adam(3e-4), metrics=["accuracy"],
        steps_per_execution=2,
    )
    model.get_layer("c1").trainable = False
    small = structured.shrink(model, structured.plan(model, ratio=0.5))
    assert float(small.optimizer.learning_rate) == pytest.approx(3e-4)
    assert small.loss.name == model.loss.name
    assert small.steps_per_execution == 2
    assert [m.name for m in small.metrics] == [m.name for m in model.metrics]
    assert not small.get_layer("c1").trainable
    assert small.get_layer("c2").trainable
    assert [v.trainable for v in small.weights] == [
        v.trainable for v in model.weights
    ]


def test_states_of_seeds_go_along():
    model = preprocessing()
    model(np.ones((2, 6), "float32"), training=True)
    small = structured.shrink(model, structured.plan(model, ratio=0.5))
    key = "drop/seed_generator_state"
    np.testing.assert_array_equal(
        ops.convert_to_numpy(weights.variables(small)[key]),
        ops.convert_to_numpy(weights.variables(model)[key]),
    )


@pytest.mark.slow
def test_masks_are_held(batch):
    model = convolutional()
    compile_(model, keras.optimizers.Adam())
    masks = tfl.prune(model, 0.6)
    model.train_on_batch(*batch)
    plan = structured.plan(model, ratio=0.5)
    small, follow = shrunk(model, plan)
    slices = graph_lib.trace(model).slices(plan.kept(graph_lib.trace(model)))
    held = tfl.masks_of(small)
    assert held.keys() == masks.keys()
    for key, mask in masks.items():
        for axis, keep in slices.get(key, ()):
            mask = np.compress(keep, mask, axis)
        np.testing.assert_array_equal(held[key], mask)
    for _ in range(5):
        follow(*batch)
        small.train_on_batch(*batch)
    assert error(
        outputs_of(model, batch[0]), outputs_of(small, batch[0])
    ) < 1e-5
    kernel = ops.convert_to_numpy(weights.variables(small)["c2/kernel"])
    assert not kernel[~held["c2/kernel"]].any()


def test_masks_that_cannot_be_held_are_told():
    model = wrapped()
    tfl.hold(model, {"fc/kernel": np.eye(8, dtype=bool)})
    with pytest.warns(UserWarning, match="does not hold"):
        small = structured.shrink(model, structured.plan(model, ratio=0.5))
    assert np.count_nonzero(small.get_layer("fc").kernel) <= 4


@pytest.mark.slow
def test_a_ticket_is_rewound_the_same(batch):
    model = convolutional()
    compile_(model, keras.optimizers.Nadam())
    for _ in range(3):
        model.train_on_batch(*batch)
    masks = tfl.prune(model, 0.5)
    snapshot = tfl.holding.capture(model, step=3)
    ticket = tfl.Ticket(masks, snapshot, round=2, metrics={"accuracy": 0.5})
    for _ in range(5):
        model.train_on_batch(*batch)
    plan = structured.plan(model, ratio=0.5)
    graph = graph_lib.trace(model)
    small_ticket = structured.shrink_ticket(ticket, model, plan)
    small = structured.shrink(model, plan)
    assert small_ticket.round == 2 and small_ticket.metrics == ticket.metrics
    small_ticket.apply(small)
    ticket.apply(model)
    kept = plan.kept(graph)
    zero_readers(model, graph, kept)
    for _ in range(5):
        model.train_on_batch(*batch)
        zero_readers(model, graph, kept)
        small.train_on_batch(*batch)
    assert error(
        outputs_of(model, batch[0]), outputs_of(small, batch[0])
    ) < 1e-5


@pytest.mark.parametrize("make", [subclassed, attention])
def test_a_ticket_of_any_model_fits(make):
    model = make()
    compile_(model, keras.optimizers.Adam())
    plan = structured.plan(model, ratio=0.5)
    ticket = tfl.Ticket.of(model, {})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*exact trajectory")
        small = structured.shrink(model, plan)
    before = [np.array(w) for w in small.get_weights()]
    small_ticket = structured.shrink_ticket(ticket, model, plan)
    small_ticket.check_fits(small)
    for variable in small.trainable_variables:
        variable.assign(np.zeros(variable.shape))
    small_ticket.apply(small)
    for a, b in zip(before, small.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_attention_warns_of_its_rescaled_query():
    model = attention()
    compile_(model, keras.optimizers.Adam())
    with pytest.warns(UserWarning, match="attention/query/kernel"):
        structured.shrink(model, structured.plan(model, ratio=0.5))


@pytest.mark.slow
def test_a_subclassed_model_trains_on(batch):
    model = subclassed()
    compile_(model, keras.optimizers.Adam(1e-2))
    x = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
    for _ in range(10):
        model.train_on_batch(x, batch[1])
    small, follow = shrunk(model)
    for _ in range(20):
        follow(x, batch[1])
        small.train_on_batch(x, batch[1])
    assert error(outputs_of(model, x), outputs_of(small, x)) < 1e-5


class Opaque(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(4)

    def call(self, inputs):
        some = np.any(ops.convert_to_numpy(inputs))
        return self.dense(inputs) if some else inputs


@conftest.only("tensorflow", "torch", because="JAX traces what builds it")
def test_what_is_no_graph_is_refused_with_the_reason():
    model = Opaque()
    model(np.ones((1, 4), "float32"))
    with pytest.raises(ValueError, match="symbolic"):
        structured.plan(model, ratio=0.5)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 8, 8, 3)).astype("float32")
    return x, rng.integers(0, 4, 32)


def compile_(model, optimizer, **options):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, **options)


def shrunk(model, plan=None):
    """A small model, and a step of the big one that keeps readers at zero."""
    graph = graph_lib.trace(model)
    plan = plan or structured.plan(model, ratio=0.5)
    kept = plan.kept(graph)
    small = structured.shrink(model, plan)
    zero_readers(model, graph, kept)

    def follow(x, y):
        model.train_on_batch(x, y)
        zero_readers(model, graph, kept)

    return small, follow
