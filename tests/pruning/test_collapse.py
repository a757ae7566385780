"""Layer collapse, and what pruning cannot reach, told wherever masks come."""

import keras
import numpy as np
import pytest
from keras import layers

import tf_lottery as tfl
from tests import conftest
from tf_lottery.pruning import collapse
from tf_lottery.sparsity_schedules import ConstantSparsity

X = np.ones((8, 20), "float32")
TINY = "fc1/kernel"


def bottleneck():
    """A network whose second layer a global ranking removes first."""
    model = keras.Sequential([keras.Input((20,))] + [
        layers.Dense(units, use_bias=False, name=f"fc{index}")
        for index, units in enumerate((40, 20, 4))
    ])
    model.compile(keras.optimizers.SGD(1e-6), "mse")
    kernel = model.get_layer("fc1").kernel
    kernel.assign(1e-6 * np.array(kernel))
    return model


def fit(model, callback, epochs=1):
    y = np.zeros((len(X), *model.output_shape[1:]))
    model.fit(
        X[:, : model.input_shape[-1]], y, epochs=epochs, verbose=0,
        callbacks=[callback],
    )


def prune(model, **kwargs):
    return tfl.prune(model, 0.6, **kwargs)


def gradual(model, **kwargs):
    schedule = ConstantSparsity(0.6, 0, frequency=1)
    fit(model, tfl.callbacks.GradualPruning(schedule, **kwargs))
    return tfl.masks_of(model)


def dynamic(model, collapse="keep-one", **kwargs):
    # Random masks know no small weights: rates do it.
    kept = 1 if collapse == "keep-one" else 0
    dynamic = tfl.callbacks.DynamicSparseTraining(
        {"fc1": 1 - (kept + 0.1) / 800, "fc2": 0.5}, "set", "layer",
        collapse=collapse, **kwargs,
    )
    fit(model, dynamic)
    return tfl.masks_of(model)


def early_bird(model, pattern="unstructured", **kwargs):
    stop = tfl.callbacks.EarlyBird(0.6, pattern=pattern, **kwargs)
    fit(model, stop, 3)
    return stop._last


def imp(model, **kwargs):
    imp = tfl.IterativeMagnitudePruning(
        1, 1, 0.6, monitor="loss", verbose=0, **kwargs
    )
    fit(model, imp, imp.epochs)
    return tfl.masks_of(model)


ENTRIES = {f.__name__: f for f in (prune, gradual, dynamic, early_bird, imp)}


@pytest.mark.some(1)
@pytest.mark.parametrize("entry", ENTRIES)
def test_keep_one_keeps_one_and_says_so(entry):
    words = f"Layer collapse.*Next to nothing is left of '{TINY}': 1 of 800"
    with pytest.warns(UserWarning, match=words) as told:
        masks = ENTRIES[entry](bottleneck())
    assert np.count_nonzero(masks[TINY]) == 1
    told = [str(w.message) for w in told if "collapse" in str(w.message)]
    assert len(told) == 1
    assert "Choose a lower sparsity" in told[0]


@pytest.mark.parametrize("entry", ENTRIES)
def test_warn_takes_masks_as_they_come(entry):
    with pytest.warns(UserWarning, match=f"Nothing is left of '{TINY}'"):
        masks = ENTRIES[entry](bottleneck(), collapse="warn")
    assert not masks[TINY].any()


@pytest.mark.parametrize("entry", ENTRIES)
def test_error_refuses(entry):
    words = f"Nothing is left of '{TINY}'.*Received: collapse='error'"
    model = bottleneck()
    with pytest.raises(ValueError, match=words):
        ENTRIES[entry](model, collapse="error")
    assert all(mask.all() for mask in tfl.masks_of(model).values())


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("value", ["ignore", None])
def test_unknown_policies(entry, value):
    with pytest.raises(ValueError, match="`collapse` must be.*Received"):
        ENTRIES[entry](bottleneck(), collapse=value)


@pytest.mark.parametrize("policy", tfl.schedules.COLLAPSE)
def test_protocols_name_the_policy(policy):
    for made in (
        tfl.callbacks.GradualPruning(
            ConstantSparsity(0.5, 0), collapse=policy
        ),
        tfl.callbacks.DynamicSparseTraining(0.5, collapse=policy),
        tfl.IterativeMagnitudePruning(collapse=policy),
    ):
        assert made.protocol()["collapse"] == policy


def test_what_was_known_is_not_told_again():
    model = bottleneck()
    with pytest.warns(UserWarning, match="Next to nothing"):
        tfl.prune(model, 0.6)
    tfl.prune(model, 0.65)


@pytest.mark.parametrize("policy", ["keep-one", "warn"])
@conftest.tensorflow_only("paths are followed through its graph")
def test_weights_in_every_layer_without_a_path(policy):
    model = bottleneck()
    masks = {
        key: np.zeros(tuple(v.shape), bool)
        for key, v in tfl.weights.prunable(model).items()
    }
    masks["fc0/kernel"][:, :6] = masks["fc2/kernel"][:] = True
    masks["fc1/kernel"][6:, :6] = True
    dense = {key: np.ones_like(mask) for key, mask in masks.items()}
    masks["fc1/kernel"][12:] = False
    masks["fc1/kernel"][6:12, :2] = True
    masks["fc0/kernel"][1:] = False
    with pytest.warns(UserWarning, match="No path leads past 'fc1/kernel'"):
        collapse.report(model, masks, policy, dense)


# Depthwise kernels.


def mobile():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, use_bias=False, name="stem")(inputs)
    x = layers.DepthwiseConv2D(3, use_bias=False, name="depthwise")(x)
    x = layers.Conv2D(8, 1, use_bias=False, name="point")(x)
    x = layers.Conv2D(8, 3, groups=8, use_bias=False, name="grouped")(x)
    x = layers.SeparableConv2D(8, 2, use_bias=False, name="separable")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    model.compile("sgd", "mse")
    return model


DEPTHWISE = {
    "depthwise/kernel", "grouped/kernel", "separable/depthwise_kernel"
}


def test_depthwise_kernels_are_pruned_on_request():
    found = {w.key: w.reason for w in tfl.weights.inspect(mobile())}
    asked = {key for key, why in found.items() if "request" in (why or "")}
    assert asked == DEPTHWISE
    assert not DEPTHWISE & tfl.prune(mobile(), 0.5).keys()
    one = tfl.prune(mobile(), 0.5, include="depthwise")
    assert DEPTHWISE & one.keys() == {"depthwise/kernel"}
    assert DEPTHWISE < tfl.prune(mobile(), 0.5, include=["*"]).keys()


@conftest.tensorflow_only("models are compacted there")
def test_channels_go_although_their_depthwise_kernels_hold_no_mask():
    model = mobile()
    tfl.prune(model, 0.5, pattern="channel")
    small = tfl.structured.compact(model)
    removed = tfl.structured.report_of(small).layers
    assert removed["depthwise"]["params"] > 0


# What cannot be reached.


class Table(layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape):
        self.table = self.add_weight((shape[-1], self.units), name="table")

    def call(self, inputs):
        return inputs @ self.table


class Reached(Table):
    def get_prunable_weights(self):
        return [self.table]


def stack(*found):
    model = keras.Sequential([keras.Input((20,)), *found])
    model.compile("sgd", "mse")
    return model


def test_weights_without_a_rule_are_told_of():
    model = stack(Table(60, name="own"), layers.Dense(4))
    words = "83% of the weights.*'own/table'.*`get_prunable_weights`"
    with pytest.warns(UserWarning, match=words):
        tfl.prune(model, 0.5)


def test_matrices_of_lora_are_told_of():
    model = stack(layers.Dense(40, name="big"), layers.Dense(2, name="fc"))
    model.get_layer("big").enable_lora(4)
    with pytest.warns(UserWarning, match="'big/lora_kernel_a'.*LoRA's"):
        tfl.prune(model, 0.5)


@pytest.mark.parametrize("make, kwargs", [
    (lambda: stack(Reached(60), layers.Dense(4)), {}),
    (lambda: stack(Table(3), layers.Dense(40), layers.Dense(4)), {}),
    (lambda: stack(
        layers.Embedding(99, 9), layers.Flatten(), layers.BatchNormalization(),
        layers.Dense(1)), {}),
    (lambda: stack(layers.Dense(90, name="big"), layers.Dense(1)),
     {"exclude": "big"}),
], ids=["named", "small", "request", "excluded"])
def test_what_is_left_alone_on_purpose_is_not(make, kwargs):
    tfl.prune(make(), 0.3, **kwargs)


@pytest.mark.parametrize("entry", sorted(ENTRIES.keys() - {"dynamic"}))
def test_channels_without_anything_to_remove(entry):
    model = stack(layers.Dense(9, name="fc"))
    with pytest.raises(ValueError, match="nothing to remove.*model output"):
        ENTRIES[entry](model, pattern="channel")


def test_channels_of_the_last_layer_alone():
    model = stack(layers.Dense(9, name="fc"), layers.Dense(5, name="logits"))
    with pytest.raises(ValueError, match="cannot be pruned"):
        tfl.prune(model, {"logits": 0.5}, pattern="channel")


# Models that run on some sizes alone.


def particular():
    """A model of one open axis, which must be 50."""
    inputs = keras.Input((None,))
    x = layers.Reshape((50,))(inputs)
    x = layers.Dense(6, "relu", name="fc")(x)
    model = keras.Model(inputs, layers.Dense(2, name="logits")(x))
    model.compile("sgd", "mse")
    return model


EXAMPLE = np.ones((2, 50), "float32")


def test_synflow_takes_the_shape_of_the_data():
    with pytest.raises(ValueError, match="(?s)synflow.*Expected: `data`"):
        tfl.prune(particular(), 0.5, "synflow")
    data = EXAMPLE, np.zeros((2, 2))
    masks = tfl.prune(particular(), 0.5, "synflow", data=data)
    criterion = tfl.criteria.SynFlow(input_shape=(50,))
    given = tfl.prune(particular(), 0.5, criterion)
    assert masks.keys() == given.keys()


@conftest.tensorflow_only("paths are followed through its graph")
def test_paths_take_example_inputs():
    model = particular()
    tfl.prune(model, 0.5)
    with pytest.raises(ValueError, match="(?s)sizes tried.*Expected: `inputs`"):
        tfl.paths.effective_density(model)
    assert "Expected: `inputs`" in tfl.summary(model).reason
    found = tfl.summary(model, inputs=EXAMPLE).effective
    assert found == tfl.paths.effective_density(model, inputs=EXAMPLE) > 0
    assert tfl.paths.why_dead(model, inputs=EXAMPLE) is None


@conftest.tensorflow_only("models are compacted there")
def test_structured_takes_example_inputs():
    model = particular()
    plan = tfl.structured.plan(model, ratio=0.5)
    with pytest.raises(Exception, match="`inputs`, a batch that it takes"):
        tfl.structured.shrink(model, plan)
    small = tfl.structured.shrink(model, plan, inputs=EXAMPLE)
    assert small.get_layer("fc").units == 3
    # A unit that does not vary is seen on the inputs as well.
    mask = np.ones((50, 6), bool)
    mask[:, 0] = False
    with pytest.raises(ValueError, match="`inputs`, a batch that it takes"):
        tfl.structured.compact(model, {"fc/kernel": mask})
    small = tfl.structured.compact(model, {"fc/kernel": mask}, EXAMPLE)
    assert small.get_layer("fc").units == 5


@conftest.tensorflow_only("latency is measured by TFLite")
def test_latency_takes_example_inputs():
    model = particular()
    with pytest.raises(ValueError, match="`inputs`, a batch that it takes"):
        tfl.structured.plan(model, latency_ms=1e3)
    plan = tfl.structured.plan(model, latency_ms=1e3, inputs=EXAMPLE)
    assert plan.removed == 0
