"""Masks through everything that Keras does to a model, and its files."""

import copy
import itertools
import json
import pickle
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import tests
import tf_lottery as tfl
from tests import conftest
from tests.conftest import loss
from tf_lottery.holding import carrier

Adam, SGD = keras.optimizers.Adam, keras.optimizers.SGD


@keras.saving.register_keras_serializable(package="tests_masks")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # The optimizer's attribute comes before this layer's in a file.
        self.second = layers.Dense(4, name="second")
        self.first = layers.Dense(6, "relu", name="first")

    def call(self, inputs):
        return self.second(self.first(inputs))


@keras.saving.register_keras_serializable(package="tests_masks")
class OtherOrder(keras.Model):
    """A Functional model whose attributes are not in the graph's order."""

    def __init__(self, **kwargs):
        z_last = layers.Dense(4, name="a_last")
        a_first = layers.Dense(6, "relu", name="z_first")
        inputs = keras.Input((8,))
        super().__init__(inputs, z_last(a_first(inputs)), **kwargs)
        self.a_last, self.z_first = z_last, a_first

    def get_config(self):
        return {"name": self.name}


@keras.saving.register_keras_serializable(package="tests_masks")
class OwnCompile(OtherOrder):
    def compile(self, *args, **kwargs):
        super().compile(*args, **kwargs)


def sequential():
    return keras.Sequential([
        keras.Input((8,)), layers.Dense(6, "relu"), layers.Dense(6, "relu"),
        layers.Dense(4),
    ])


def functional():
    inputs = keras.Input((8,))
    x = layers.Dense(6, "relu", name="größe α")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    return keras.Model(inputs, layers.Dense(4, name="logits")(x))


def nested():
    inputs = keras.Input((8,))
    inner = keras.Sequential(
        [keras.Input((8,)), layers.Dense(6, "relu", name="fc")], name="inner")
    return keras.Model(
        inputs, layers.Dense(4, name="head")(inner(inputs)), name="outer")


def shared():
    inputs = keras.Input((8,))
    twice = keras.Sequential([
        keras.Input((8,)), layers.Dense(8, "relu", name="fc")], name="twice")
    return keras.Model(
        inputs, layers.Dense(4, name="head")(twice(twice(inputs))))


MODELS = {
    "sequential": sequential,
    "functional": functional,
    "subclassed": Subclassed,
    "other_order": OtherOrder,
    "own_compile": OwnCompile,
    "nested": nested,
    "shared": shared,
}


def make(name, optimizer=None, seed=0):
    keras.utils.set_random_seed(seed)
    model = MODELS[name]()
    if not model.built:
        model(np.zeros((1, 8), "float32"))
    model.compile(optimizer or Adam(0.01), loss(), run_eagerly=True)
    model.optimizer.build(model.trainable_variables)
    return model


def values(model):
    return {
        key: keras.ops.convert_to_numpy(variable)
        for key, variable in tfl.weights.variables(model).items()
    }


def assert_holds(model, masks):
    """Masks are these, and pruned weights are zero."""
    held = tfl.masks_of(model)
    assert held.keys() == masks.keys()
    found = values(model)
    for key, mask in masks.items():
        np.testing.assert_array_equal(held[key], mask, key)
        assert not found[key][~mask].any(), key


def assert_trains(model, masks, data):
    """Every invariant holds while the model trains on."""
    ends = conftest.BatchEnds()
    model.fit(*data, epochs=2, verbose=0, callbacks=[ends])
    assert_holds(model, masks)
    assert tfl.optimizers.find(model.optimizer) is not None
    for leaf in tfl.optimizers.leaves(model.optimizer):
        variables = leaf._trainable_variables
        slots = tfl.optimizers.slots_of(leaf, variables)
        for variable, own in zip(variables, slots):
            mask = tfl.constraints.mask_of(variable)
            for slot_name, slot in own if mask is not None else ():
                slot = keras.ops.convert_to_numpy(slot)
                assert not slot[~mask].any(), (variable.path, slot_name)


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(16, 8)).astype("float32")
    return x, generator.integers(0, 4, 16)


def first_layer(model):
    keys = tfl.weights.prunable(model)
    return tfl.weights.owners(model)[next(iter(keys))][1]


# What people do to a model between two `fit`s.

def nothing(model, data):
    pass


def recompile(model, data):
    model.compile(SGD(0.1, momentum=0.9), loss(), run_eagerly=True)


def freeze(model, data):
    first_layer(model).trainable = False


def freeze_and_compile(model, data):
    freeze(model, data)
    recompile(model, data)
    model.fit(*data, verbose=0)


def thaw(model, data):
    freeze_and_compile(model, data)
    first_layer(model).trainable = True
    recompile(model, data)


def assign(model, data):
    model.set_weights([np.ones_like(w) for w in model.get_weights()])


EVENTS = {
    "nothing": nothing,
    "recompile": recompile,
    "freeze": freeze,
    "freeze_and_compile": freeze_and_compile,
    "thaw": thaw,
    "assign": assign,
}
PAIRS = list(itertools.product(MODELS, EVENTS))


def held_model(name, data):
    model = make(name)
    model.fit(*data, verbose=0)
    tfl.prune(model, 0.5)
    return model, tfl.masks_of(model)


@pytest.mark.covering
@pytest.mark.parametrize("name,event", PAIRS)
def test_masks_hold_through_events(name, event, data):
    model, masks = held_model(name, data)
    EVENTS[event](model, data)
    assert_holds(model, masks)
    assert_trains(model, masks, data)


# As plain Keras, where an optimizer was not built, or trained other weights.
@pytest.mark.covering
@pytest.mark.filterwarnings("ignore:Skipping variable loading")
@pytest.mark.filterwarnings("ignore:`compile..` was not called")
@pytest.mark.parametrize("name,event", PAIRS)
def test_masks_hold_through_files(name, event, data, tmp_path):
    model, masks = held_model(name, data)
    EVENTS[event](model, data)
    before = values(model)
    path = tmp_path / "model.keras"
    if name == "own_compile":
        with pytest.warns(UserWarning, match="load_model") as caught:
            model.save(path)
        assert any(
            f"masks of {list(masks)}" in str(w.message) for w in caught)
    else:
        model.save(path)
    loaded = [tfl.load_model(path), tfl.load_model(path, compile=False)]
    if name != "own_compile":
        loaded.append(keras.saving.load_model(path))
        loaded.append(copy.deepcopy(model))
        loaded.append(pickle.loads(pickle.dumps(model)))
    for other in loaded:
        assert_holds(other, masks)
        for key, value in values(other).items():
            np.testing.assert_array_equal(value, before[key], key)
        if getattr(other, "optimizer", None) is None:
            other.compile(Adam(0.01), loss(), run_eagerly=True)
        if event != "freeze":
            assert_trains(other, masks, data)
    plain = keras.saving.load_model(path, compile=False)
    assert not tfl.masks_of(plain)


@pytest.mark.some(2)
@pytest.mark.parametrize("name", MODELS)
def test_weight_files(name, data, tmp_path):
    model, masks = held_model(name, data)
    held, plain = tmp_path / "held.weights.h5", tmp_path / "plain.weights.h5"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Model .* overrides `compile`")
        model.save_weights(held)
    other = make(name, seed=1)
    # Its optimizer has slots that a held one must not take over.
    other.fit(*data, verbose=0)
    other.save_weights(plain)
    # Held to plain: the zeros; and the masks, where they are asked for.
    other.load_weights(held)
    assert not tfl.masks_of(other)
    for key, mask in masks.items():
        assert not values(other)[key][~mask].any()
    tfl.load_weights(other, held)
    assert_trains(other, masks, data)
    # Plain to held, by Keras and by us.
    for load in (lambda p: model.load_weights(p),
                 lambda p: tfl.load_weights(model, p)):
        load(plain)
        assert_holds(model, masks)
    assert_trains(model, masks, data)


@pytest.mark.covering
@pytest.mark.parametrize(
    "load", [keras.Model.load_weights, tfl.load_weights])
@pytest.mark.parametrize("name", MODELS)
# One has a `compile` of its own, which its file warns of.
@pytest.mark.filterwarnings("ignore:Model .* overrides `compile`")
def test_held_to_held_replaces_masks(name, load, data, tmp_path):
    path = tmp_path / "half.weights.h5"
    model, masks = held_model(name, data)
    model.save_weights(path)
    before = values(model)
    tfl.prune(model, 0.8)
    load(model, path)
    assert_holds(model, masks)
    for key, value in values(model).items():
        np.testing.assert_array_equal(value, before[key], key)


def test_state_of_the_optimizer_is_that_of_a_plain_file(data, tmp_path):
    model, masks = held_model("functional", data)
    plain = make("functional")
    plain.fit(*data, verbose=0)
    a, b = tmp_path / "a.weights.h5", tmp_path / "b.weights.h5"
    model.save_weights(a)
    plain.save_weights(b)

    def arrays(path):
        found = {}
        with h5py.File(path) as file:
            file.visititems(lambda name, item: found.update(
                {name: item.shape} if hasattr(item, "shape") else {}))
        return found

    inside = {
        name: shape for name, shape in arrays(a).items()
        if not name.startswith("_tf_lottery")
    }
    assert inside == arrays(b)
    plain.load_weights(a)
    state = zip(plain.optimizer.variables,
                tfl.optimizers.state(model.optimizer))
    for left, right in state:
        np.testing.assert_array_equal(np.array(left), np.array(right))


FIRST_RELEASE = tests.ROOT / "tests" / "data"


def test_files_of_the_first_release(data, tmp_path):
    path = FIRST_RELEASE / "first_release.keras"
    model = keras.saving.load_model(path)
    masks = tfl.masks_of(model)
    assert {k: int(m.sum()) for k, m in masks.items()} == {
        "fc/kernel": 23, "logits/kernel": 13}
    assert int(model.optimizer.iterations) == 2
    slots = np.array(model.optimizer.variables[2])
    assert slots.any()
    assert_trains(model, masks, data)
    model.save(tmp_path / "again.keras")
    assert_holds(keras.saving.load_model(tmp_path / "again.keras"), masks)
    tfl.prune(model, 0.8)
    tfl.load_weights(model, FIRST_RELEASE / "first_release.weights.h5")
    assert_holds(model, masks)
    np.testing.assert_array_equal(
        np.array(model.optimizer.variables[2]), slots)


def test_masks_take_a_bit_for_a_weight(tmp_path):
    model = keras.Sequential(
        [keras.Input((400,)), layers.Dense(500, use_bias=False, name="fc")])
    model.compile(SGD(0.1), loss())
    plain, held = tmp_path / "plain.keras", tmp_path / "held.keras"
    model.save(plain)
    tfl.prune(model, 0.5)
    model.save(held)
    more = held.stat().st_size - plain.stat().st_size
    assert more < 400 * 500 / 8 + 8192


@pytest.mark.parametrize("name", ["sequential", "functional", "nested"])
def test_clones_say_that_they_hold_no_masks(name, data):
    model, masks = held_model(name, data)
    with pytest.warns(UserWarning, match="holds no masks.*masks_of"):
        clone = keras.models.clone_model(model)
    assert not tfl.masks_of(clone)
    tfl.hold(clone, masks)
    assert_trains(clone, masks, data)
    assert_holds(model, masks)


@pytest.mark.parametrize("name", ["sequential", "functional"])
def test_legacy_h5_says_that_masks_are_not_carried(name, data, tmp_path):
    model, masks = held_model(name, data)
    path = tmp_path / "model.h5"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        model.save(path)
    with pytest.warns(UserWarning, match="holds no masks"):
        loaded = keras.saving.load_model(path)
    assert not tfl.masks_of(loaded)
    for key, mask in masks.items():
        assert not values(loaded)[key][~mask].any()
    # The file took nothing from the model, as it does from a plain one.
    assert_holds(pickle.loads(pickle.dumps(model)), masks)


def test_a_model_without_masks_is_saved_in_silence(tmp_path):
    model = make("functional")
    with carrier.asked_for():
        model.save(tmp_path / "plain.keras")
    assert not tfl.masks_of(tfl.load_model(tmp_path / "plain.keras"))


def test_layers_that_save_their_masks_are_saved_in_silence(tmp_path):
    wrapped = tfl.layers.wrap(make("functional"))
    masks = conftest.random_masks(wrapped, 0.5)
    tfl.hold(wrapped, masks)
    with carrier.asked_for():
        wrapped.save(tmp_path / "wrapped.keras")
    loaded = keras.saving.load_model(tmp_path / "wrapped.keras")
    assert tfl.masks_of(loaded).keys() == masks.keys()


@conftest.tensorflow_only("a checkpoint is TensorFlow's")
def test_checkpoints(data, tmp_path):
    import tensorflow as tf

    model, masks = held_model("functional", data)
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "ckpt"))
    other, _ = held_model("functional", data)
    tfl.prune(other, 0.8)
    tf.train.Checkpoint(model=other).read(path).expect_partial()
    assert_holds(other, masks)
    for key, value in values(model).items():
        np.testing.assert_array_equal(values(other)[key], value, key)
    assert_trains(other, masks, data)


def test_a_new_model_around_held_layers(data, tmp_path):
    model, masks = held_model("sequential", data)
    body = keras.Model(model.inputs, model.layers[-2].output)
    body.trainable = False
    new = keras.Sequential([body, layers.Dense(4, name="new")])
    new.compile(Adam(0.01), loss(), run_eagerly=True)
    new.fit(*data, verbose=0)
    path = tmp_path / "new.keras"
    new.save(path)
    loaded = keras.saving.load_model(path)
    held = tfl.masks_of(loaded)
    assert len(held) == 2
    body = loaded.layers[0]
    body.trainable = True
    loaded.compile(Adam(0.01), loss(), run_eagerly=True)
    assert_trains(loaded, held, data)


def test_a_part_saved_by_itself(data, tmp_path):
    inputs = keras.Input((8,))
    code = layers.Dense(4, name="code")(inputs)
    auto = keras.Model(inputs, layers.Dense(8, name="out")(code))
    auto.compile(Adam(0.01), "mean_squared_error")
    masks = tfl.prune(auto, 0.5)
    encoder = keras.Model(inputs, code)
    path = tmp_path / "encoder.keras"
    with pytest.warns(UserWarning, match="is not compiled.*load_model"):
        encoder.save(path)
    loaded = tfl.load_model(path)
    assert_holds(loaded, {"code/kernel": masks["code/kernel"]})


def test_a_shared_layer_has_one_mask(data, tmp_path):
    """Density never rises through a file."""
    dense = layers.Dense(8, name="fc")
    one = keras.Sequential([keras.Input((8,)), dense, layers.Dense(4)])
    two = keras.Sequential([keras.Input((8,)), dense, layers.Dense(4)])
    for model in (one, two):
        model.compile(Adam(0.01), loss(), run_eagerly=model is one)
        model.fit(*data, verbose=0)
    masks = tfl.prune(one, 0.5)
    # Its step was traced without the mask.
    assert_trains(two, {"fc/kernel": masks["fc/kernel"]}, data)
    tfl.prune(two, 0.8, scope="layer")
    mask = tfl.masks_of(two)["fc/kernel"]
    np.testing.assert_array_equal(tfl.masks_of(one)["fc/kernel"], mask)
    one.fit(*data, verbose=0)
    one.save(tmp_path / "one.keras")
    loaded = keras.saving.load_model(tmp_path / "one.keras")
    np.testing.assert_array_equal(tfl.masks_of(loaded)["fc/kernel"], mask)


def test_uncompiled_models_are_pruned_and_enforced_later(data):
    model = sequential()
    masks = tfl.prune(model, 0.5)
    assert_holds(model, masks)
    model.compile(Adam(0.01), loss(), run_eagerly=True)
    assert_trains(model, masks, data)


def test_frozen_weights_take_masks(data):
    model = make("sequential")
    layer = first_layer(model)
    layer.trainable = False
    mask = np.random.default_rng(0).random((8, 6)) < 0.5
    tfl.hold(model, {"dense/kernel": mask})
    assert_holds(model, {"dense/kernel": mask})
    layer.trainable = True
    model.compile(Adam(0.01), loss(), run_eagerly=True)
    assert_trains(model, {"dense/kernel": mask}, data)


@pytest.mark.slow
@pytest.mark.some(1)
@pytest.mark.parametrize("load", [keras.saving.load_model, tfl.load_model])
def test_quantized_models_keep_masks(load, data, tmp_path):
    model, masks = held_model("functional", data)
    model.quantize("int8", filters=lambda layer: isinstance(
        layer, layers.Dense))
    model.save(tmp_path / "int8.keras")
    assert_holds(model, masks)
    with warnings.catch_warnings():
        # The optimizer was built for weights that are gone.
        warnings.filterwarnings("ignore", "Skipping variable loading")
        loaded = load(tmp_path / "int8.keras")
    assert_holds(loaded, masks)
    np.testing.assert_allclose(
        model.predict(data[0], verbose=0), loaded.predict(data[0], verbose=0),
        rtol=1e-5)


def test_lora_says_what_it_does_to_zeros(data, tmp_path):
    model, masks = held_model("functional", data)
    first_layer(model).enable_lora(2)
    with pytest.warns(UserWarning, match="LoRA"):
        model.compile(Adam(0.01), loss())
    with pytest.warns(UserWarning, match="LoRA"):
        model.save(tmp_path / "lora.keras")


def damaged(path, change):
    """Rewrites the header of the masks in a `.keras` file."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    inside = path.with_suffix(".h5")
    inside.write_bytes(parts["model.weights.h5"])
    with h5py.File(inside, "r+") as file:
        group = file["_tf_lottery_masks/vars"]
        header = json.loads(bytes(group["header"][:]))
        change(header)
        del group["header"]
        group["header"] = np.frombuffer(json.dumps(header).encode(), "uint8")
    parts["model.weights.h5"] = inside.read_bytes()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)


BAD = {
    "another architecture": (
        lambda h: h["shapes"].update({"größe α/kernel": [6, 8]}),
        "größe α/kernel"),
    "a weight that is not there": (
        lambda h: h["shapes"].update(
            {"nowhere/kernel": h["shapes"].pop("logits/kernel")}), "nowhere"),
    "keys missing": (
        lambda h: h["shapes"].pop("logits/kernel"), "damaged"),
    "a newer version": (lambda h: h.update(version=99), "newer tf_lottery"),
    "a version of words": (lambda h: h.update(version="x"), "version"),
    "no shapes": (lambda h: h.pop("shapes"), "damaged"),
    "a huge shape": (
        lambda h: h["shapes"].update({"logits/kernel": [10**9, 10**9]}),
        "damaged"),
    "a negative shape": (
        lambda h: h["shapes"].update({"logits/kernel": [-6, -4]}), "damaged"),
}


@pytest.mark.covering
@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("load", ["keras", "tfl"])
def test_masks_that_do_not_fit_are_named(load, what, data, tmp_path):
    change, message = BAD[what]
    model, _ = held_model("functional", data)
    path = tmp_path / "model.keras"
    model.save(path)
    damaged(path, change)
    loader = {"keras": keras.saving, "tfl": tfl}[load].load_model
    with pytest.raises(ValueError, match=message):
        loader(path)
    other, masks = held_model("functional", data)
    tfl.prune(other, 0.7)
    masks, before = tfl.masks_of(other), values(other)
    with pytest.raises(ValueError, match=message):
        tfl.load_weights(other, path)
    assert_holds(other, masks)
    for key, value in values(other).items():
        np.testing.assert_array_equal(value, before[key], key)


def test_a_file_without_the_masks_it_speaks_of(data, tmp_path):
    model, _ = held_model("functional", data)
    path = tmp_path / "model.keras"
    model.save(path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    inside = tmp_path / "inside.h5"
    inside.write_bytes(parts["model.weights.h5"])
    with h5py.File(inside, "r+") as file:
        del file["_tf_lottery_masks"]
    parts["model.weights.h5"] = inside.read_bytes()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)
    with pytest.raises(ValueError, match="masks of 2 weights.*masks of 0"):
        keras.saving.load_model(path)


def test_a_changed_byte_is_told_with_the_path(tmp_path):
    path = tmp_path / "model.keras"
    sequential().save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="model.keras' is damaged.*CRC"):
        tfl.load_model(path)


@pytest.mark.filterwarnings("ignore:Skipping variable loading")
def test_a_damaged_file_leaves_an_optimizer_that_was_never_built(tmp_path):
    """Its masks fit and have built the optimizer when a weight is missing."""
    def model():
        made = keras.Sequential([keras.Input((8,)), layers.Dense(5, name="f")])
        made.compile("adam", "mse")
        return made

    held, path = model(), tmp_path / "held.weights.h5"
    tfl.prune(held, 0.5)
    held.save_weights(path)
    with h5py.File(path, "r+") as file:
        del file["layers/dense/vars/1"]
    other = model()
    before = other.get_weights()
    with pytest.raises(ValueError, match="could not be loaded"):
        tfl.load_weights(other, path)
    assert tfl.masks_of(other) == {}
    for value, old in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)
