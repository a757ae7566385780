"""Tickets carry masks and the weights to start from, in one file."""

import dataclasses
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import tests
import tf_lottery as tfl
from tests import conftest
from tests.conftest import loss
from tf_lottery import files
from tf_lottery import holding

SGD, Adam = keras.optimizers.SGD, keras.optimizers.Adam


def make(optimizer=None, name="functional", **kwargs):
    model = conftest.MODELS[name]()
    model.compile(optimizer or Adam(0.01), loss(), **kwargs)
    return model


def lenet():
    return keras.Sequential(
        [
            keras.Input((784,)),
            layers.Dense(300, "relu", name="fc1"),
            layers.Dense(100, "relu", name="fc2"),
            layers.Dense(10, name="logits"),
        ]
    )


def state(model):
    """All that a model and its optimizer hold."""
    variables = {
        key: np.array(v) for key, v in tfl.weights.variables(model).items()
    }
    if getattr(model, "optimizer", None) is not None:
        for i, v in enumerate(tfl.optimizers.state(model.optimizer)):
            variables[f"optimizer/{i}"] = np.array(v)
    masks = {f"mask/{k}": v for k, v in tfl.masks_of(model).items()}
    return variables | masks


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def assert_same_ticket(a, b):
    assert_equal(a.masks, b.masks)
    assert_equal(a.snapshot.weights, b.snapshot.weights)
    for x, y in zip(a.snapshot.optimizer, b.snapshot.optimizer, strict=True):
        np.testing.assert_array_equal(x, y)
    for name in ("round", "metrics", "pattern", "provenance"):
        assert getattr(a, name) == getattr(b, name)
    assert a.snapshot.step == b.snapshot.step


def late_ticket(data, model=None, density=0.3):
    """A ticket whose rewinding point lies behind some training."""
    model = model or make()
    model.fit(*data, batch_size=16, epochs=1, verbose=0)
    return tfl.Ticket(
        conftest.random_masks(model, density),
        holding.capture(model, step=6),
        round=3,
        metrics={"loss": 0.25, "val_accuracy": 0.5},
        provenance={"seed": 1, "rate": {"*": 0.2}},
    )


@pytest.fixture(scope="module")
def ticket():
    """A ticket of the functional model with Adam at step 6."""
    rng = np.random.default_rng(1)
    return late_ticket((rng.normal(size=(96, 10)), rng.integers(0, 4, 96)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.ticket"


def test_save_and_load(ticket, path):
    ticket.save(path)
    loaded = tfl.Ticket.load(path)
    assert_same_ticket(loaded, ticket)
    assert loaded.density == ticket.density
    assert loaded.density + loaded.sparsity == pytest.approx(1)
    assert loaded.density == tfl.masks.density(ticket.masks)
    assert 0.2 < loaded.density < 0.4
    assert repr(loaded) == (
        f"<Ticket of round 3, density {ticket.density:.4g}, 3 masks, step 6>"
    )


@pytest.mark.some(1)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_save_and_load_in_other_precision(dtype, data, path):
    keras.config.set_dtype_policy(dtype)
    ticket = late_ticket(data)
    ticket.save(path)
    assert_same_ticket(tfl.Ticket.load(path), ticket)


def test_ticket_of_a_model(compiled):
    masks = tfl.prune(compiled, 0.5)
    ticket = tfl.Ticket.of(compiled)
    assert_equal(ticket.masks, masks)
    assert ticket.snapshot.step == 0 and ticket.snapshot.optimizer == []
    assert ticket.provenance["keras"] == keras.__version__
    before = {k: np.array(v) for k, v in ticket.snapshot.weights.items()}
    for variable in compiled.trainable_variables:
        variable.assign_add(np.ones(variable.shape))
    tfl.prune(compiled, 0.9)
    # It is a copy, not a view.
    assert_equal(ticket.snapshot.weights, before)
    assert_equal(ticket.masks, masks)
    with pytest.raises(ValueError, match="no weight 'fc9/kernel'"):
        tfl.Ticket.of(compiled, {"fc9/kernel": np.ones((2, 2), bool)})


@pytest.mark.some(2)
@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("name", conftest.MODELS)
def test_apply_to_another_instance(name, fitted, data, path):
    ticket = late_ticket(data, make(SGD(0.1, momentum=0.9), name))
    ticket.save(path)
    keras.utils.set_random_seed(5)
    model = make(SGD(0.1, momentum=0.9), name)
    if fitted:
        model.fit(*data, verbose=0, epochs=2)
    tfl.Ticket.load(path).apply(model)
    assert_equal(tfl.masks_of(model), ticket.masks)
    for key, variable in tfl.weights.variables(model).items():
        value = ticket.snapshot.weights[key]
        value = np.where(ticket.masks.get(key, True), value, 0)
        np.testing.assert_array_equal(np.array(variable), value, err_msg=key)
    # The masks are held in every later fit.
    ends = conftest.BatchEnds()
    for _ in range(2):
        model.fit(*data, verbose=0, callbacks=[ends])
    assert ends.revived == 0 and ends.seen > 0
    assert_equal(tfl.masks_of(model), ticket.masks)


@pytest.mark.slow
def test_same_optimizer_gets_its_state_back(data):
    """A model that is rewound trains as it did from there, bit for bit."""
    model = make()
    ticket = late_ticket(data, model)
    other = make()
    other.fit(*data, verbose=0, epochs=2)
    ends = []
    for each in (model, other):
        ticket.apply(each)
        assert int(each.optimizer.iterations) == 6
        for slot, array in zip(
            tfl.optimizers.state(each.optimizer), ticket.snapshot.optimizer
        ):
            # Slots of pruned weights are zero, the others as they were.
            value = np.array(slot)
            assert ((value == array) | (value == 0)).all()
            assert np.count_nonzero(value) or not np.count_nonzero(array)
        each.fit(*data, verbose=0, shuffle=False)
        ends.append(state(each))
    assert_equal(*ends)


@pytest.mark.parametrize(
    "optimizer, rate",
    [
        (lambda: SGD(0.1), 0.1),
        (lambda: keras.optimizers.Adagrad(0.1), 0.1),
        (
            lambda: SGD(
                keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)
            ),
            0.5**6,
        ),
    ],
    ids=["sgd", "adagrad", "schedule"],
)
def test_another_optimizer_starts_afresh_at_the_step(
    optimizer, rate, ticket, data
):
    model = make(optimizer())
    model.fit(*data, verbose=0, epochs=2)
    ticket.apply(model)
    fresh = make(optimizer())
    fresh.optimizer.build(fresh.trainable_variables)
    assert int(model.optimizer.iterations) == 6
    theirs = tfl.optimizers.state(fresh.optimizer)
    for mine, their in zip(
        tfl.optimizers.state(model.optimizer)[1:], theirs[1:], strict=True
    ):
        np.testing.assert_array_equal(np.array(mine), np.array(their))
    assert float(model.optimizer.learning_rate) == pytest.approx(rate)


def test_an_optimizer_with_slots_alike_starts_afresh(data):
    """Momentum of SGD, and its learning rate, are nothing for Lion."""
    ticket = late_ticket(data, make(SGD(0.1, momentum=0.9)))
    model = make(keras.optimizers.Lion(0.001))
    ticket.apply(model)
    state = [np.array(v) for v in tfl.optimizers.state(model.optimizer)]
    assert [a.shape for a in state] == [
        a.shape for a in ticket.snapshot.optimizer
    ]
    assert state[0] == 6 and state[1] == np.float32(0.001)
    assert not any(np.count_nonzero(slot) for slot in state[2:])


@pytest.mark.slow
def test_loss_scaling_is_part_of_the_optimizer(data):
    wrapped = keras.optimizers.LossScaleOptimizer(Adam(0.01))
    ticket = late_ticket(data, make(wrapped))
    assert ticket.snapshot.optimizer_name == "LossScaleOptimizer/Adam"
    model = make(keras.optimizers.LossScaleOptimizer(Adam(0.01)))
    tfl.prune(model, 0.1)
    ticket.apply(model)
    assert int(model.optimizer.iterations) == 6
    for slot, array in zip(
        tfl.optimizers.state(model.optimizer), ticket.snapshot.optimizer
    ):
        assert ((np.array(slot) == array) | (np.array(slot) == 0)).all()


@pytest.mark.slow
def test_a_ticket_without_state_starts_afresh_at_step_0(data, compiled):
    ticket = tfl.Ticket.of(compiled, conftest.random_masks(compiled))
    model = make()
    model.fit(*data, verbose=0)
    assert int(model.optimizer.iterations) == 3
    ticket.apply(model)
    assert int(model.optimizer.iterations) == 0
    inner = tfl.optimizers.innermost(model.optimizer)
    slots = [v for v in inner.variables if len(v.shape) == 2]
    assert len(slots) == 6
    assert not any(np.count_nonzero(v) for v in slots)


@pytest.mark.slow
def test_apply_in_a_fresh_process(ticket, path, tmp_path):
    model = make()
    ticket.save(path)
    ticket.apply(model)
    code = (
        "import sys, keras, numpy as np, tf_lottery as tfl, "
        "tests.runs.test_ticket as t\n"
        "keras.layers.Dense(3)\n"
        "model = t.make()\n"
        "tfl.Ticket.load(sys.argv[1]).apply(model)\n"
        "np.savez(sys.argv[2], **t.state(model))"
    )
    subprocess.run(
        [sys.executable, "-c", code, path, tmp_path / "state.npz"],
        cwd=tests.ROOT, check=True,
        capture_output=True,
    )
    assert_equal(dict(np.load(tmp_path / "state.npz")), state(model))


def test_applying_takes_other_masks_off(compiled, data):
    """The model is the ticket afterwards, also where that is denser."""
    ticket = tfl.Ticket.of(
        compiled, {"fc1/kernel": np.random.rand(10, 12) < 0.5}
    )
    tfl.prune(compiled, 0.9)
    compiled.fit(*data, verbose=0)
    ticket.apply(compiled)
    masks = tfl.masks_of(compiled)
    np.testing.assert_array_equal(
        masks.pop("fc1/kernel"), ticket.masks["fc1/kernel"]
    )
    assert all(mask.all() for mask in masks.values()) and len(masks) == 2
    kernel = compiled.get_layer("fc2").kernel.numpy()
    np.testing.assert_array_equal(
        kernel, ticket.snapshot.weights["fc2/kernel"]
    )
    ticket.apply(compiled)
    assert tfl.masks.count(tfl.masks_of(compiled)) == (
        ticket.masks["fc1/kernel"].sum() + 12 * 12 + 12 * 4
    )


@pytest.mark.slow
def test_statistics_and_seeds_are_rewound(data):
    model = make()
    ticket = late_ticket(data, model)
    model.fit(*data, verbose=0)
    weights = tfl.weights.variables(model)
    keys = ("norm/moving_mean", "drop/seed_generator_state")
    for key in keys:
        array = ticket.snapshot.weights[key]
        assert (np.array(weights[key]) != array).any()
    ticket.apply(model)
    for key in keys:
        np.testing.assert_array_equal(
            np.array(weights[key]), ticket.snapshot.weights[key]
        )


def test_models_may_differ_in_dropout(data, compiled):
    """Where there is no weight, there is nothing to fit."""
    ticket = late_ticket(data, make(name="sequential"))
    model = keras.Sequential(
        [
            keras.Input((10,)),
            layers.Dense(16, "relu", name="fc1"),
            layers.Dropout(0.5),
            layers.Dense(4, name="logits"),
        ]
    )
    model.compile("adam", loss())
    ticket.apply(model)
    assert_equal(tfl.masks_of(model), ticket.masks)
    tfl.Ticket.of(model).apply(make(name="sequential"))


def test_size_of_a_file(path):
    model = lenet()
    masks = conftest.random_masks(model)
    ticket = tfl.Ticket.of(model, masks)
    ticket.save(path)
    weights = sum(int(np.prod(v.shape)) for v in model.weights)
    masked = tfl.masks.size(masks)
    assert path.stat().st_size <= masked / 8 + 4 * weights + 4096


def test_unused_slots_take_no_space(path):
    model = lenet()
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    ticket = tfl.Ticket(
        conftest.random_masks(model), holding.capture(model, step=0)
    )
    ticket.save(path)
    weights = sum(int(np.prod(v.shape)) for v in model.weights)
    assert path.stat().st_size <= weights / 8 + 4 * weights + 8192
    loaded = tfl.Ticket.load(path)
    assert_same_ticket(loaded, ticket)
    loaded.apply(model)


def test_a_header_says_what_the_ticket_is(ticket, path):
    ticket.save(path)
    _, header = files.read_arrays(path)
    assert header["format"] == "tf_lottery.ticket"
    assert header["version"] == 1
    assert header["shapes"]["fc1/kernel"] == [10, 12]
    assert header["density"] == pytest.approx(ticket.density)
    assert (header["round"], header["step"]) == (3, 6)
    assert header["optimizer"] == "Adam"
    json.dumps(header)


def test_a_verdict_is_saved_and_controls_have_none(ticket, compiled, path):
    judged = dataclasses.replace(ticket, verdict="not tested: one trial")
    judged.save(path)
    assert tfl.Ticket.load(path).verdict == "not tested: one trial"
    assert tfl.controls.random_masks(judged, 0).verdict == ""
    assert tfl.controls.random_reinitialize(judged, compiled, 0).verdict == ""


def test_a_ticket_of_the_first_release_has_no_verdict(ticket, path):
    ticket.save(path)
    arrays, header = files.read_arrays(path)
    del header["verdict"]
    files.write_arrays(path, arrays, header)
    assert tfl.Ticket.load(path).verdict == ""


def assert_untouched(model, do, match):
    before, optimizer = state(model), model.optimizer
    with pytest.raises(ValueError, match=match) as error:
        do()
    assert_equal(state(model), before)
    assert model.optimizer is optimizer
    return str(error.value)


@pytest.mark.parametrize("fitted", [False, True])
def test_another_architecture(fitted, ticket, data):
    model = make(name="sequential")
    if fitted:
        tfl.prune(model, 0.5)
        model.fit(*data, verbose=0)
    message = assert_untouched(
        model, lambda: ticket.apply(model), "another architecture"
    )
    assert "fc1/kernel: (10, 12) in the ticket, (10, 16) in the" in message
    assert "fc2/kernel: (12, 12) in the ticket, absent in the" in message


def test_another_number_of_layers():
    """Shared keys of the same shapes do not make it fit."""
    short = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
    long = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4), layers.Dense(4)]
    )
    for model in (short, long):
        model.compile("sgd", "mse")
    ticket = tfl.Ticket.of(short, conftest.random_masks(short))
    assert_untouched(long, lambda: ticket.apply(long), "dense_1/kernel: abs")


def test_a_frozen_layer(ticket):
    model = make()
    model.get_layer("fc1").trainable = False
    model.compile("adam", loss())
    ticket.apply(model)
    assert_equal(tfl.masks_of(model), ticket.masks)
    model.get_layer("fc1").trainable = True
    model.compile("adam", loss())
    assert_equal(tfl.masks_of(model), ticket.masks)


def test_uncompiled_and_unbuilt_models(ticket):
    model = conftest.functional()
    ticket.apply(model)
    assert_equal(tfl.masks_of(model), ticket.masks)
    model = keras.Sequential([layers.Dense(3)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="is not built"):
        ticket.apply(model)


def test_a_newer_version(ticket, path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("tf_lottery.runs.ticket.FORMAT_VERSION", 7)
        ticket.save(path)
    with pytest.raises(ValueError, match="version 7.*up to 1") as error:
        tfl.Ticket.load(path)
    assert not isinstance(error.value, files.DamagedFileError)
    assert str(path) in str(error.value)


def test_damaged_files(ticket, path):
    ticket.save(path)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(data), 50):
        altered = bytearray(data)
        altered[place] ^= 1 << rng.integers(8)
        for broken in (bytes(altered), data[:place]):
            path.write_bytes(broken)
            with pytest.raises(files.DamagedFileError, match=path.name):
                tfl.Ticket.load(path)
            assert path.read_bytes() == broken


def test_files_that_are_no_ticket(path):
    with pytest.raises(FileNotFoundError, match=path.name):
        tfl.Ticket.load(path)
    files.write_arrays(path, {}, {"format": "something"})
    with pytest.raises(files.DamagedFileError, match="not a ticket.*'somet"):
        tfl.Ticket.load(path)


NONSENSE = {
    "shape": lambda a, h: h["shapes"].update({"fc1/kernel": [10, 99]}),
    "shape kind": lambda a, h: h.update(shapes=[1]),
    "no shape": lambda a, h: h["shapes"].pop("fc1/kernel"),
    "no round": lambda a, h: h.pop("round"),
    "no step": lambda a, h: h.pop("step"),
    "version": lambda a, h: h.update(version="new"),
    "no version": lambda a, h: h.pop("version"),
    "part": lambda a, h: a.update({"other/x": np.ones(1)}),
    "number": lambda a, h: a.update({"optimizer/x": np.ones(1)}),
    "bits": lambda a, h: a.update(
        {"mask/fc1/kernel": np.ones(2, "uint8")}
    ),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_a_signed_ticket_of_nonsense(what, ticket, path):
    ticket.save(path)
    arrays, header = files.read_arrays(path)
    NONSENSE[what](arrays, header)
    files.write_arrays(path, arrays, header)
    with pytest.raises(files.DamagedFileError, match=path.name):
        tfl.Ticket.load(path)


def test_saving_fails_without_a_trace(ticket, tmp_path):
    with pytest.raises(FileNotFoundError):
        ticket.save(tmp_path / "none" / "a.ticket")
    odd = dataclasses.replace(ticket, provenance={"criterion": print})
    with pytest.raises(TypeError, match="JSON-serialisable"):
        odd.save(tmp_path / "a.ticket")
    assert list(tmp_path.iterdir()) == []


def test_metrics_may_be_numbers_of_numpy(ticket, path):
    metrics = {"loss": np.float32(0.5)}
    dataclasses.replace(ticket, metrics=metrics).save(path)
    assert tfl.Ticket.load(path).metrics == {"loss": 0.5}
