"""Copies keep the class of a model, and match its weights by key."""

import keras
import numpy as np
import pytest
from keras import layers

import tf_lottery as tfl
from tests.conftest import functional
from tests.conftest import loss
from tests.conftest import subclassed
from tf_lottery import copies
from tf_lottery import structured


class Net(keras.Model):
    """Functional, with a constructor of its own, as KerasHub's backbones.

    Its attributes come in another order than its graph.
    """

    def __init__(self, units=6, dtype=None, **kwargs):
        last = layers.Dense(6, dtype=dtype, name="last")
        self.norm = layers.BatchNormalization(dtype=dtype, name="norm")
        self.first = layers.Dense(units, "relu", dtype=dtype, name="first")
        self.last = last
        inputs = keras.Input((6,))
        outputs = self.last(self.norm(self.first(inputs)))
        super().__init__(inputs, outputs, **kwargs)
        self.units = units
        self.policy = dtype

    def guess(self, x):
        return np.argmax(self.predict(x, verbose=0), -1)

    def get_config(self):
        return {"name": self.name, "units": self.units, "dtype": self.policy}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


class Outlined(keras.Model):
    """Made from inputs and outputs, with a method."""

    def guess(self, x):
        return np.argmax(self.predict(x, verbose=0), -1)


class Head(keras.Model):
    """Subclassed, with a configuration."""

    def __init__(self, classes, **kwargs):
        super().__init__(**kwargs)
        self.classes = classes
        self.hidden = layers.Dense(8, "relu")
        self.logits = layers.Dense(classes)

    def call(self, inputs):
        return self.logits(self.hidden(inputs))

    def get_config(self):
        return {**super().get_config(), "classes": self.classes}


class Stack(keras.Sequential):
    """Sequential, with a method."""

    def width(self):
        return self.layers[0].units


def outlined():
    model = functional()
    return Outlined(model.input, model.output)


def head():
    model = Head(4)
    model(np.zeros((1, 6), "float32"))
    return model


def stack():
    return Stack([keras.Input((6,)), layers.Dense(4), layers.Dense(4)])


def nested():
    inputs = keras.Input((6,))
    net = Net(name="net")
    shared = layers.Dense(6, name="shared")
    outputs = shared(net(shared(inputs)))
    return keras.Model(inputs, outputs)


CLASSES = {
    "own": Net,
    "outlined": outlined,
    "subclassed": head,
    "sequential": stack,
    "nested": nested,
}
OPTIMIZERS = {
    "Adam": lambda: keras.optimizers.Adam(0.01),
    "EMA": lambda: keras.optimizers.SGD(
        0.1, momentum=0.9, use_ema=True, ema_momentum=0.5
    ),
    "Adafactor": lambda: keras.optimizers.Adafactor(0.01),
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(0.01)
    ),
}


def batch(model):
    random = np.random.default_rng(0)
    size = 10 if isinstance(model, Outlined) else 6
    x = random.standard_normal((32, size)).astype("float32")
    return x, random.integers(0, 4, 32)


def values(model):
    return {k: np.array(v) for k, v in tfl.weights.variables(model).items()}


def assert_same(copy, model):
    expected, found = values(model), values(copy)
    assert expected.keys() == found.keys()
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key], key)
    x = batch(model)[0]
    np.testing.assert_array_equal(copy(x), model(x))


def by_key(model):
    """The state of an optimizer, by weight and slot."""
    state = tfl.optimizers.state(model.optimizer)
    return {
        label[:2]: np.array(variable)
        for label, variable in zip(copies.labels(model), state)
        if label is not None
    }


def trained(make, optimizer="adam"):
    model = make()
    model.compile(optimizer, loss())
    masks = tfl.prune(model, 0.5)
    model.fit(*batch(model), verbose=0)
    return model, masks


@pytest.mark.some(1)
@pytest.mark.parametrize("name", CLASSES)
def test_strip_keeps_the_class(name):
    model, masks = trained(CLASSES[name])
    copy = tfl.strip(model)
    assert type(copy) is type(model) and copy is not model
    assert copy.name == model.name
    assert_same(copy, model)
    assert tfl.masks_of(copy) == {}
    assert tfl.masks_of(model).keys() == masks.keys()
    assert not {id(v) for v in model.variables} & {
        id(v) for v in copy.variables
    }


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_slots_land_on_their_weights(name):
    model, _ = trained(Net, OPTIMIZERS[name]())
    copy = tfl.strip(model)
    expected, found = by_key(model), by_key(copy)
    assert expected.keys() == found.keys() and expected
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key], str(key))
    assert type(copy.optimizer) is type(OPTIMIZERS[name]())


def test_slots_land_where_a_functional_model_stands_in():
    """Order of attributes is not the order of the graph there."""
    class Lost(Net):
        def get_config(self):
            raise NotImplementedError

    model, _ = trained(Lost)
    with pytest.warns(UserWarning, match="plain `Functional`.*of `Lost`"):
        copy = tfl.strip(model)
    order = [v.path for v in model.trainable_variables]
    assert order != [v.path for v in copy.trainable_variables]
    assert_same(copy, model)
    expected, found = by_key(model), by_key(copy)
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key], str(key))


def test_methods_attributes_and_flags_are_carried():
    model = Net()
    model.temperature = 0.5
    model.units_seen = [1, 2]
    model.pick = model.guess
    model.first.trainable = False
    copy = tfl.strip(model)
    x = batch(model)[0]
    np.testing.assert_array_equal(copy.guess(x), model.guess(x))
    assert (copy.temperature, list(copy.units_seen)) == (0.5, [1, 2])
    assert copy.pick.__self__ is copy
    assert [v.path for v in copy.trainable_variables] == [
        v.path for v in model.trainable_variables
    ]


def test_layers_in_attributes_are_those_of_the_copy():
    model = outlined()
    model.head = model.get_layer("logits")
    copy = tfl.strip(model)
    assert copy.head is copy.get_layer("logits")
    assert copy.head is not model.head


def test_what_was_changed_after_construction_is_not_lost():
    """No configuration of the class tells of it."""
    model = Net()
    model.first.activation = keras.activations.tanh
    with pytest.warns(UserWarning, match="does not make layer 'first' as it"):
        copy = tfl.strip(model)
    x = batch(model)[0]
    np.testing.assert_array_equal(copy(x), model(x))


def test_a_subclassed_model_without_configuration_is_changed_itself():
    model = subclassed()
    with pytest.warns(UserWarning, match="taken off the model itself"):
        assert tfl.strip(model) is model


def test_layers_shared_inside_and_outside_stay_shared():
    copy = tfl.strip(nested())
    shared = copy.get_layer("shared")
    assert len(shared._inbound_nodes) == 2
    assert type(copy.get_layer("net")) is Net


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    model, _ = trained(lambda: Net(dtype="mixed_float16"))
    copy = tfl.strip(model)
    assert type(copy) is Net and copy.first.compute_dtype == "float16"
    assert type(copy.optimizer) is keras.optimizers.LossScaleOptimizer
    assert by_key(copy).keys() == by_key(model).keys()
    np.testing.assert_array_equal(copy(batch(model)[0]), model(batch(model)[0]))


def test_layers_keep_what_they_adapted_to():
    words = layers.TextVectorization(output_sequence_length=3)
    words.adapt(["a quick fox", "a fox"])
    scale = layers.Normalization()
    scale.adapt(np.arange(12.0).reshape(6, 2))
    bins = layers.Discretization(num_bins=3)
    bins.adapt(np.arange(12.0))
    lookup = layers.StringLookup(output_mode="one_hot")
    lookup.adapt(["x", "y"])
    text, number = keras.Input((), dtype="string"), keras.Input((2,))
    model = keras.Model(
        [text, number],
        [words(text), scale(number), bins(number), lookup(text)],
    )
    inputs = [
        keras.ops.convert_to_tensor(["fox quick", "x"]), keras.ops.ones((2, 2)),
    ]
    expected = model(inputs)
    copy = tfl.strip(model)
    # They share nothing: the original may adapt to something else.
    words.adapt(["nothing"])
    scale.adapt(np.zeros((6, 2)))
    for value, found in zip(expected, copy(inputs)):
        np.testing.assert_array_equal(found, value)


def test_wrapped_models_keep_the_class_made_from_inputs_and_outputs():
    model = outlined()
    wrapped = tfl.layers.wrap(model)
    assert type(wrapped) is Outlined
    plain = tfl.layers.unwrap(wrapped)
    assert type(plain) is Outlined
    assert_same(plain, model)
    with pytest.warns(UserWarning, match="of its own cannot be made with oth"):
        wrapped = tfl.layers.wrap(Net())
    assert type(wrapped) is not Net and tfl.masks_of(wrapped)


@pytest.mark.slow
def test_shrunken_models_keep_the_class_that_can_say_its_widths():
    model = Net()
    plan = structured.plan(model, ratio=0.5)
    small = structured.shrink(model, plan)
    assert type(small) is Net and small.units == 3
    model.compile("adam", loss())
    model.fit(*batch(model), verbose=0)
    small = structured.shrink(model, plan)
    assert type(small) is Net and small.optimizer.built
    assert type(structured.shrink(outlined(), structured.plan(
        outlined(), ratio=0.5
    ))) is Outlined


def test_a_class_that_cannot_say_its_widths_is_lost_with_a_warning():
    class Fixed(Net):
        def get_config(self):
            return {"name": self.name}

    model = Fixed()
    with pytest.warns(UserWarning, match="`Fixed` cannot say how wide"):
        small = structured.shrink(model, structured.plan(model, ratio=0.5))
    assert small.get_layer("first").units == 3
    same = structured.shrink(model, structured.plan(model, ratio=0.0))
    assert type(same) is Fixed


def test_the_source_of_an_export_is_of_the_class():
    from tf_lottery.export import sources

    model = Net(dtype="mixed_float16")
    source = sources.open_model(model)
    assert type(source.model) is Net
    assert source.model.first.compute_dtype == "float32"
    expected = values(model)
    for key, value in values(source.model).items():
        np.testing.assert_array_equal(value, expected[key], key)


def test_layers_and_operations_of_one_name_are_told_apart():
    inputs = keras.Input((4, 6))
    x = layers.Reshape((24,))(layers.Dense(6)(inputs))
    model = keras.Model(inputs, keras.ops.reshape(x, (-1, 2, 12))[:, ::-1])
    x = np.random.default_rng(0).normal(size=(3, 4, 6)).astype("float32")
    copy = copies.strip(model)
    np.testing.assert_array_equal(copy(x), model(x))
