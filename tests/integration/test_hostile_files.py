"""Files of others' making: refused, or as good as honest ones."""

import json
import math
import os
import resource
import subprocess
import sys
import tracemalloc
import warnings
import zipfile

import h5py
import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st

import tf_lottery as tfl
from tf_lottery import files
from tf_lottery.export import children
from tf_lottery.files import arrays
from tf_lottery.runs import codec
from tf_lottery.structured import plans

MANY = hypothesis.settings(
    max_examples=150, deadline=None, derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**70) | st.floats()
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def ticket():
    rng = np.random.default_rng(0)
    weights = {
        "fc/kernel": rng.normal(size=(9, 5)).astype("float32"),
        "fc/bias": np.broadcast_to(np.float32(0), (5,)),
    }
    return tfl.Ticket(
        {"fc/kernel": rng.random((9, 5)) < 0.5},
        tfl.weights.snapshots.Snapshot(3, weights, [np.int64(3)], "SGD"),
        round=2, metrics={"loss": 0.5}, provenance={"seed": 1},
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("tickets") / "a.ticket"


@pytest.fixture(scope="module")
def honest(path):
    ticket().save(path)
    return files.read_arrays(path)


def load(path, arrays, header):
    files.write_arrays(path, arrays, header)
    return tfl.Ticket.load(path)


def is_honest(found):
    """What whoever uses a ticket may rely on."""
    weights = found.snapshot.weights
    return (
        all(weights[k].shape == m.shape for k, m in found.masks.items())
        and all(m.dtype == bool for m in found.masks.values())
        and type(found.round) is int and found.round >= 0
        and type(found.snapshot.step) is int and found.snapshot.step >= 0
        and isinstance(found.pattern, str)
        and isinstance(found.provenance, dict)
        and all(isinstance(v, (int, float)) for v in found.metrics.values())
        and all(np.isfinite(w).all() for w in weights.values())
    )


@pytest.mark.slow
@MANY
@hypothesis.given(data=st.data())
def test_tickets_with_any_field(data, path, honest):
    arrays, header = honest
    name = data.draw(st.sampled_from(sorted(header)))
    changed = {**header, name: data.draw(JSON)}
    if data.draw(st.booleans()):
        del changed[name]
    try:
        found = load(path, arrays, changed)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert is_honest(found)


@MANY
@hypothesis.given(data=st.data())
def test_tickets_with_any_shape(data, path, honest):
    arrays, header = honest
    shape = data.draw(st.lists(st.integers(-1, 2**40), max_size=4))
    shapes = {**header["shapes"], "fc/kernel": shape}
    if shape != [9, 5]:
        with pytest.raises(files.DamagedFileError):
            load(path, arrays, {**header, "shapes": shapes})


@pytest.mark.parametrize("change", [
    {"version": -5}, {"version": True}, {"version": "1"}, {"step": "x"},
    {"step": -1}, {"round": 1.5}, {"metrics": {"loss": "x"}},
    {"metrics": [1]}, {"pattern": 3}, {"provenance": "x"}, {"optimizer": 1},
], ids=str)
def test_fields_that_loaded_once(change, path, honest):
    arrays, header = honest
    with pytest.raises(files.DamagedFileError, match="do not fit together"):
        load(path, arrays, header | change)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("repeated", [False, True])
def test_weights_that_are_not_finite(value, repeated, path, honest):
    arrays, header = honest
    array = np.full((5,), value, "float32")
    if repeated:
        array = np.broadcast_to(np.float32(value), (5,))
    else:
        array[:3] = 0
    with pytest.raises(files.DamagedFileError, match="not finite"):
        load(path, {**arrays, "weight/fc/bias": array}, header)


def peak(function):
    """The bytes that a call takes at most."""
    tracemalloc.start()
    try:
        function()
    except ValueError:
        pass
    size = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return size


@pytest.mark.parametrize("name", [
    "weight/fc/bias", "weight/fc/kernel", "mask/fc/kernel", "optimizer/0",
])
def test_a_small_file_takes_little_memory(name, path, honest):
    """Of a repeated value there is one, however often it is repeated."""
    arrays, header = honest
    shape, size = (1 << 15, 1 << 12), (1 << 15, 1 << 12)
    if name.startswith("mask"):
        size = (1 << 24,)
    array = np.broadcast_to(arrays[name].dtype.type(1), size)
    changed = {**header, "shapes": {"fc/kernel": list(shape)}}
    files.write_arrays(path, {**arrays, name: array}, changed)
    assert path.stat().st_size < 4000
    assert peak(lambda: tfl.Ticket.load(path)) < 1 << 20


def test_honest_tickets_take_what_they_hold(path):
    shape = (1500, 1000)
    big = tfl.Ticket(
        {"k": np.random.default_rng(0).random(shape) < 0.5},
        tfl.weights.snapshots.Snapshot(0, {"k": np.ones(shape, "float32")}),
    )
    big.save(path)
    assert path.stat().st_size > 6e6
    assert peak(lambda: tfl.Ticket.load(path)) < 4 * path.stat().st_size


def test_many_names_for_the_same_bytes(path):
    entry = {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}
    header = {f"mask/{i}": entry for i in range(3)}
    with pytest.raises(ValueError, match="overlap"):
        arrays._check_offsets(header, 8)


def test_a_header_that_is_too_long(path, monkeypatch):
    files.write_arrays(path, {}, {"a": "b" * 5000})
    monkeypatch.setattr(arrays, "_LONGEST_HEADER", 4096)
    with pytest.raises(files.DamagedFileError, match="more than 4096"):
        files.read_arrays(path)
    with pytest.raises(ValueError, match="too much room"):
        files.write_arrays(path, {}, {"a": "b" * 5000})


def test_temporary_names_are_new_and_follow_no_link(tmp_path, monkeypatch):
    names = []
    real = os.open

    def spy(name, flags, *args, **kwargs):
        if str(name).endswith(".tmp"):
            names.append(str(name))
            assert flags & os.O_EXCL and flags & os.O_NOFOLLOW
        return real(name, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", spy)
    for _ in range(3):
        files.write_text(tmp_path / "a", "text")
    assert len(set(names)) == 3
    assert os.listdir(tmp_path) == ["a"]


@MANY
@hypothesis.given(
    masks=st.dictionaries(
        st.text("ab/", min_size=1, max_size=4),
        st.lists(st.integers(0, 4), max_size=3), max_size=3,
    ),
    slots=st.integers(0, 12),
)
def test_the_codec_gives_back_what_it_got(masks, slots):
    rng = np.random.default_rng(0)
    masks = {key: rng.random(shape) < 0.5 for key, shape in masks.items()}
    found = codec.decode_masks(*codec.encode_masks(masks))
    assert found.keys() == masks.keys()
    assert all((found[key] == masks[key]).all() for key in masks)
    snapshot = tfl.weights.snapshots.Snapshot(
        4, {k: rng.normal(size=m.shape) for k, m in masks.items()},
        list(range(slots)), "Adam",
    )
    again = codec.decode_snapshot(*codec.encode_snapshot(snapshot))
    assert again.weights == snapshot.weights
    assert again.optimizer == snapshot.optimizer
    assert (again.step, again.optimizer_name) == (4, "Adam")


PLAN = plans.Plan(
    [
        plans.PlannedGroup(
            "a", ["a"], [["a/kernel", 1, "out"], ["b/kernel", 0, "in"]], 8,
            [1, 5, 6],
        ),
        plans.PlannedGroup("b", ["b"], [["b/kernel", 1, "out"]], 3, [0, 2]),
    ],
    [{"path": "c", "role": "units", "units": 4, "reason": "model output"}],
    {"units": 11, "params": 92, "macs": 80, "bytes": 368},
    {"units": 5, "params": 48, "macs": 40, "bytes": 192},
    {"criterion": "magnitude"},
)


def places(values, path=()):
    """Every place in nested values, but for what arguments say."""
    yield path
    inner = values.items() if isinstance(values, dict) else (
        enumerate(values) if isinstance(values, list) else ()
    )
    for key, value in inner:
        if key != "arguments":
            yield from places(value, (*path, key))


@MANY
@hypothesis.given(data=st.data())
def test_plans_with_any_field(data):
    """What is read is a plan that says the same when it is written again."""
    fields = json.loads(PLAN.to_json())
    *way, last = data.draw(
        st.sampled_from([path for path in places(fields) if path])
    )
    inside = fields
    for key in way:
        inside = inside[key]
    before = inside[last]
    inside[last] = data.draw(JSON.filter(lambda value: value != before))
    try:
        found = structured_plan(fields)
    except ValueError as error:
        assert "no plan" in str(error)
        return
    assert type(inside[last]) is type(before)
    assert found.report() and found.removed >= 0
    assert json.loads(found.to_json()) == fields


def structured_plan(fields):
    return plans.Plan.from_json(json.dumps(fields))


def test_an_honest_plan_is_read():
    assert plans.Plan.from_json(PLAN.to_json()) == PLAN


MODEL = {
    "class_name": "Sequential",
    "config": {"name": "s", "layers": [
        {"class_name": "InputLayer", "config": {
            "batch_input_shape": [None, 10], "dtype": "float32", "name": "i",
        }},
        {"class_name": "Dense", "config": {"name": "d", "units": 5}},
    ]},
}


def write_h5(path, kernel=None, units=5, layer=None):
    model = json.loads(json.dumps(MODEL))
    model["config"]["layers"][1]["config"]["units"] = units
    if layer is not None:
        model["config"]["layers"].insert(1, layer)
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15"
        file.attrs["model_config"] = json.dumps(model)
        group = file.create_group("model_weights/d")
        group.attrs["weight_names"] = [b"d/kernel:0", b"d/bias:0"]
        group["d/bias:0"] = np.zeros(5, "float32")
        (kernel or honest_kernel)(group)
    return path


def honest_kernel(group):
    group["d/kernel:0"] = np.ones((10, 5), "float32")


def external(group):
    group.create_dataset(
        "d/kernel:0", (10, 5), "float32", external=[("/etc/passwd", 0, 200)]
    )


def virtual(group):
    layout = h5py.VirtualLayout((10, 5), "float32")
    layout[:] = h5py.VirtualSource("other.h5", "kernel", (10, 5))
    group.create_virtual_dataset("d/kernel:0", layout)


def external_link(group):
    group["d/kernel:0"] = h5py.ExternalLink("other.h5", "kernel")


def soft_link(group):
    group["d/kernel:0"] = h5py.SoftLink("/model_weights/d/d/bias:0")


def circle(group):
    honest_kernel(group)
    group["again"] = group


def compressed(group):
    group.create_dataset(
        "d/kernel:0", (10, 10**8), "float32", compression="gzip"
    )


@pytest.mark.parametrize("kernel, what", [
    (external, "in another file"), (virtual, "in another file"),
    (external_link, "not followed"), (soft_link, "not followed"),
    (circle, "several names"), (compressed, "would take 4000000000 bytes"),
])
@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_hdf5_that_reads_elsewhere_or_grows(kernel, what, suffix, tmp_path):
    path = write_h5(tmp_path / "a.h5", kernel)
    if suffix == "keras":
        path = pack(path)
    with pytest.raises(files.DamagedFileError, match=what):
        tfl.interop.from_tfmot(path)


def pack(path, **contents):
    """A `.keras` file with the arrays of an `.h5` file."""
    archive = path.with_suffix(".keras")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("config.json", json.dumps(MODEL))
        file.writestr(
            "model.weights.h5", contents.get("weights", path.read_bytes())
        )
    return archive


def test_an_archive_that_grows(tmp_path):
    path = pack(write_h5(tmp_path / "a.h5"), weights=bytes(50 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(files.DamagedFileError, match="would take 52428800"):
        tfl.interop.from_tfmot(path)


def test_layers_that_are_larger_than_the_file(tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = write_h5(tmp_path / "a.h5", units=40_000_000)
    with pytest.raises(files.DamagedFileError, match="440000000 weights"):
        tfl.interop.from_tfmot(path)
    # In KiB. What was refused takes no memory later either.
    keras.layers.Dense(2).build((None, 2))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 100_000


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    LAMBDA = json.dumps(keras.saving.serialize_keras_object(lambda x: x))


@pytest.mark.parametrize("layer", [
    {"class_name": "StringLookup", "config": {"vocabulary": "SECRET"}},
    {"class_name": "TextVectorization", "config": {"vocabulary": "SECRET"}},
    {"class_name": "TimeDistributed", "config": {"layer": {
        "class_name": "StringLookup", "config": {"vocabulary": "SECRET"},
    }}},
    {"class_name": "TFSMLayer", "config": {"filepath": "SECRET"}},
    {"class_name": "Lambda", "config": {"function": ["SECRET", None, None]}},
    {"class_name": "Dense", "config": {"units": 10, "activation": "LAMBDA"}},
], ids=lambda layer: layer["class_name"])
@pytest.mark.parametrize("unsafe", [False, True])
def test_layers_that_run_code_or_read_files(layer, unsafe, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("alpha\n")
    layer = json.loads(
        json.dumps(layer)
        .replace("SECRET", str(secret)).replace('"LAMBDA"', LAMBDA)
    )
    path = write_h5(tmp_path / "a.h5", layer=layer)
    if unsafe:
        keras.config.enable_unsafe_deserialization()
    try:
        with pytest.raises(ValueError, match="cannot be expressed"):
            tfl.interop.from_tfmot(path)
    finally:
        from keras.src.backend.common import global_state

        global_state.set_global_attribute("safe_mode_saving", None)


def test_an_honest_file_is_read(tmp_path):
    path = write_h5(tmp_path / "a.h5")
    model = tfl.interop.from_tfmot(path)
    assert float(model(np.ones((1, 10)))[0, 0]) == 10
    assert math.prod(model.layers[0].kernel.shape) == 50


SPENDER = """
import sys
sys.argv = ["runner"]
exec(open({source!r}).read().rpartition("if __name__")[0])
_limit_memory(64 << 20)
try:
    bytearray(1 << 30)
except MemoryError:
    print("refused", flush=True)
bytearray(1 << 20)
_limit_time({seconds})
while True:
    pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no limits")
def test_children_are_limited_in_memory_and_time():
    script = SPENDER.format(source=children.runner.__file__, seconds=0.1)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True,
        timeout=60,
    )
    assert done.stdout == "refused\n"
    assert done.returncode < 0
