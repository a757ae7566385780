"""Files of TFMOT and tf_keras become Keras 3 models that hold their masks."""

import json
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tests.interop import tfmot_process

pytestmark = tfmot_process.installed
# TFMOT calls the masks of a layer alike, which an .h5 file does not allow
# where one layer has several; tf_keras has no place for a half policy's scale.
NOT_SAVED = ("recurrent.h5", "states.h5")
WRAPPED = (
    "sequential", "convolutions", "recurrent", "graph", "states", "frozen",
    "half", "custom",
)
# In both formats a stripped file is read as a wrapped one is; .h5 is all
# there is for recurrent layers.
FILES = [
    f"{name}.{suffix}" for name in WRAPPED for suffix in ("h5", "keras")
    if f"{name}.{suffix}" not in NOT_SAVED
] + [
    "sequential_stripped.h5", "convolutions_stripped.keras",
    "recurrent_stripped.h5", "graph_stripped.keras", "states_stripped.h5",
]


@keras.saving.register_keras_serializable(package="test_interop")
class Scale(keras.layers.Layer):
    def build(self, input_shape):
        self.table = self.add_weight(name="table", shape=(input_shape[-1], 6))
        self.shift = self.add_weight(name="shift", shape=(6,))

    def call(self, inputs):
        return keras.ops.matmul(inputs, self.table) + self.shift

    def get_prunable_weights(self):
        return [self.table]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tfmot")
    return tfmot_process.run("tfmot_harness", directory)


def migrate(path, **kwargs):
    return tfl.interop.from_tfmot(
        path, custom_objects={"Scale": Scale}, **kwargs)


def found_in(path):
    """What TFMOT had in memory when it wrote the files."""
    found = np.load(path.parent / f"{path.stem.partition('_')[0]}.npz")
    kinds = {"input": [], "output": [], "mask": {}, "weight": {}}
    for key in found:
        kind, _, name = key.partition("/")
        if kind in ("mask", "weight"):
            layer = name.partition("/")[0]
            kinds[kind].setdefault(layer, []).append(found[key])
        else:
            kinds[kind].append(found[key])
    return kinds


def of_layer(arrays, layer):
    return [v for key, v in arrays.items() if layer in key.split("/")[:-1]]


def assert_all_equal(actual, expected):
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore:Masks are not held on frozen")
@pytest.mark.some(5)
def test_masks_weights_and_outputs_are_those_of_tfmot(name, files):
    path = files / name
    model = migrate(path)
    theirs = found_in(path)
    masks = tfl.masks_of(model)
    values = {
        key: keras.ops.convert_to_numpy(variable)
        for key, variable in tfl.weights.variables(model).items()
        if key in masks
    }
    frozen = {"half"} if name.startswith("frozen") else set()
    number = 0
    for layer in theirs["mask"].keys() - frozen:
        assert_all_equal(of_layer(masks, layer), theirs["mask"][layer])
        assert_all_equal(of_layer(values, layer), theirs["weight"][layer])
        number += len(theirs["mask"][layer])
    assert len(masks) == number > 0
    outputs = keras.tree.flatten(model(
        theirs["input"] if len(theirs["input"]) > 1 else theirs["input"][0]))
    assert len(outputs) == len(theirs["output"])
    for ours, other in zip(outputs, theirs["output"]):
        np.testing.assert_allclose(ours, other, rtol=1e-5, atol=1e-6)


def test_only_what_tfmot_cannot_save_is_left_out(files):
    failed = json.loads((files / "failed.json").read_text())
    assert sorted(failed) == sorted(NOT_SAVED)
    with pytest.raises(ValueError, match="'prune_low_magnitude_.*was not wri"):
        migrate(files / "recurrent.h5")


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_masks_prune_what_was_saved_dense(suffix, files):
    path = files / f"fitted.{suffix}"
    with h5py.File(files / "fitted.h5") as file:
        group = file["model_weights/prune_low_magnitude_fc"]
        saved = group["fc/kernel:0"][()]
    model = migrate(path)
    masks, theirs = tfl.masks_of(model), found_in(path)["mask"]
    assert (saved[~theirs["fc"][0]] != 0).any()
    for layer, mask in theirs.items():
        np.testing.assert_array_equal(masks[f"{layer}/kernel"], mask[0])
    kernel = np.asarray(model.get_layer("fc").kernel)
    np.testing.assert_array_equal(kernel, saved * theirs["fc"][0])
    groups = masks["fc/kernel"].reshape(4, 4, 8).sum(1)
    assert (groups == 2).all()  # TFMOT's own loading forgets that.


def test_masks_hold_in_training_and_in_files(files, tmp_path):
    model = migrate(files / "fitted.h5", optimizer="adam", loss="mse")
    masks = tfl.masks_of(model)
    x = np.random.default_rng(0).normal(size=(32, 16))
    model.fit(x, x[:, :3], verbose=0)
    for mask in masks.values():
        assert 0 < mask.sum() < mask.size
    model.save(tmp_path / "model.keras")
    for again in (model, keras.saving.load_model(tmp_path / "model.keras")):
        variables = tfl.weights.variables(again)
        for key, mask in tfl.masks_of(again).items():
            np.testing.assert_array_equal(mask, masks[key])
            assert not np.asarray(variables[key])[~mask].any()


@pytest.mark.slow
def test_a_model_compiled_again_goes_on_holding(files):
    model = migrate(files / "graph.keras")
    masks = tfl.masks_of(model)
    model.compile("sgd", ["mse", "mse"])
    tfl.hold(model, tfl.masks_of(model))
    x = np.ones((4, 4), "float32")
    model.fit([x, x], [x[:, :3], x[:, :1]], verbose=0)
    variables = tfl.weights.variables(model)
    for key, mask in masks.items():
        assert not np.asarray(variables[key])[~mask].any()


def test_stripped_model_is_plain_keras(files, tmp_path):
    plain = tfl.strip(migrate(files / "sequential.h5"))
    plain.save(tmp_path / "plain.keras")
    with zipfile.ZipFile(tmp_path / "plain.keras") as archive:
        assert b"tf_lottery" not in archive.read("config.json")


def test_shared_layers_and_nested_models_keep_their_graph(files):
    model = migrate(files / "graph.keras")
    assert [layer.name for layer in model.layers].count("shared") == 1
    assert len(model.inputs) == 2 and len(model.outputs) == 2
    assert {"inner/wide/kernel", "residual/late/deep/kernel"} <= set(
        tfl.masks_of(model))


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_frozen_layers_are_zero_and_named(suffix, files):
    with pytest.warns(UserWarning, match="inner/half/kernel"):
        model = migrate(files / f"frozen.{suffix}")
    layer = model.get_layer("inner").get_layer("half")
    mask, = found_in(files / "frozen.h5")["mask"]["half"]
    assert not layer.trainable and not np.asarray(layer.kernel)[~mask].any()
    assert not model.get_layer("still").trainable


def test_zeros_of_stripped_files_are_masks_if_wanted(files):
    path = files / "sequential_stripped.h5"
    assert tfl.masks_of(migrate(path))
    assert not tfl.masks_of(migrate(path, masks_from_zeros=False))
    assert not tfl.masks_of(migrate(files / "plain.h5"))
    assert not tfl.masks_of(migrate(files / "plain.keras"))


def test_mixed_precision_stays(files):
    layer = migrate(files / "half.keras").get_layer("fc")
    assert (layer.compute_dtype, layer.variable_dtype) == (
        "float16", "float32")


@pytest.mark.parametrize("suffix", ["h5", "keras"])
@pytest.mark.parametrize("name, layer, reason", [
    ("local", "near", "no locally connected"),
    ("code", "code", "Python code"),
    ("operator", "tf.__operators__.add", "TensorFlow function"),
    ("time", "late", "no argument time_major=True"),
    ("hard", "old", r"clip\(0.2 x \+ 0.5"),
])
def test_layers_that_keras_3_cannot_express(
    name, layer, reason, suffix, files
):
    path = files / f"refused_{name}.{suffix}"
    if not path.exists():
        path = path.with_suffix(".h5")
    with pytest.raises(ValueError, match=f"(?s)Layer '{layer}'.*{reason}"):
        migrate(path)


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_custom_layers_say_how_to_join(suffix, files):
    path = files / f"custom.{suffix}"
    own = type("Stranger", (Scale,), {"get_prunable_weights": lambda s: []})
    with pytest.raises(ValueError, match=r"(?s)'scale' \(Scale\).*custom_obj"):
        tfl.interop.from_tfmot(path)
    with pytest.raises(ValueError, match="layer '(prune_.*)?scale'"):
        tfl.interop.from_tfmot(path, custom_objects={"Scale": own})
    with keras.saving.CustomObjectScope({"Scale": Scale}):
        assert "scale/table" in tfl.masks_of(tfl.interop.from_tfmot(path))


def test_other_files_are_refused(files, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.h5"):
        migrate(tmp_path / "nowhere.h5")
    with pytest.raises(ValueError, match="(?s)SavedModel.*tf_keras.models.lo"):
        migrate(tmp_path)
    with pytest.raises(ValueError, match="save_weights"):
        migrate(files / "only.weights.h5")
    with pytest.raises(ValueError, match="before it was built"):
        migrate(files / "unbuilt.keras")
    (tmp_path / "text.h5").write_text("no model")
    with pytest.raises(tfl.files.DamagedFileError, match="neither"):
        migrate(tmp_path / "text.h5")
    ours = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    ours.save(tmp_path / "ours.keras")
    with pytest.raises(ValueError, match="saved by Keras 3.*load_model"):
        migrate(tmp_path / "ours.keras")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["fitted.h5", "fitted.keras"])
def test_truncated_files_are_named_and_left_alone(name, part, files, tmp_path):
    content = (files / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[:int(len(content) * part)])
    before = path.read_bytes()
    with pytest.raises(tfl.files.DamagedFileError, match=name):
        migrate(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_damaged_content_is_named(files, tmp_path):
    path = tmp_path / "changed.keras"
    with zipfile.ZipFile(files / "fitted.keras") as source:
        contents = {name: source.read(name) for name in source.namelist()}

    def rewritten(**changes):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {**contents, **changes}.items():
                archive.writestr(name, content)
        return path

    for config, error in (
        (b"[]", "not a JSON object"), (b"{", "not JSON"),
        (b'{"class_name": "Sequential"}', "incomplete"),
    ):
        with pytest.raises(tfl.files.DamagedFileError, match=error):
            migrate(rewritten(**{"config.json": config}))
    other = contents["config.json"].replace(b'"units": 8', b'"units": 9')
    with pytest.raises(ValueError, match="(?s)layer 'fc'.*Expected"):
        migrate(rewritten(**{"config.json": other}))
    weights = tmp_path / "weights.h5"
    weights.write_bytes(contents["model.weights.h5"])
    with h5py.File(weights, "a") as file:
        file["layers/prune_low_magnitude/vars/1"][0, 0] = 0.5
    with pytest.raises(ValueError, match="(?s)mask of 'kernel'.*zeros and on"):
        migrate(rewritten(**{"model.weights.h5": weights.read_bytes()}))


def test_neither_tfmot_nor_tf_keras_is_imported(files):
    assert tfl.masks_of(migrate(files / "fitted.keras"))
    foreign = {"tensorflow_model_optimization", "tf_keras"}
    assert not foreign & set(sys.modules)
