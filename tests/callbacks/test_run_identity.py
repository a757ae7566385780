"""A run resumes only as itself, whatever ends it or lies in its directory."""

import errno
import gc
import json
import os
import shutil
import signal
import threading

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tests import conftest
from tf_lottery import files
from tf_lottery.callbacks import identity
from tf_lottery.callbacks import interrupt
from tf_lottery.files import locks
from tf_lottery.runs import run_directory

SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"]
HOOKS = [
    "on_train_begin", "on_epoch_begin", "on_train_batch_begin",
    "on_train_batch_end", "on_test_batch_end", "on_epoch_end", "on_train_end",
]
pytestmark = conftest.tensorflow_only("what is tested is the same elsewhere")


def make(activation="relu", loss="mse", metrics=("mae",)):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((4,)), keras.layers.Dense(6, activation),
        keras.layers.Dense(2),
    ])
    model.compile(
        keras.optimizers.SGD(0.1), loss, metrics=list(metrics),
        run_eagerly=True,
    )
    return model


def replay(seed=0, shift=0, dtype="float32"):
    x = np.random.default_rng(seed).normal(size=(32, 4)).astype(dtype)
    return tfl.data.Replay(x, x[:, :2] + shift, 16)


def run(directory, others=(), rounds=1, model=None, data=None, **kwargs):
    model = model or make()
    data = data or replay()
    imp = tfl.IterativeMagnitudePruning(
        rounds=rounds, epochs_per_round=1, monitor="val_loss", data=data,
        directory=directory, verbose=0, **kwargs,
    )
    model.fit(
        data, validation_data=(data.x, data.y), epochs=imp.epochs,
        callbacks=[imp, *others], verbose=0,
    )
    return imp


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished") / "run"
    run(directory)
    return directory


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


@pytest.mark.parametrize("changed, what", [
    ({"model": lambda: make("tanh")}, "activation: 'relu' there, 'tanh' now"),
    ({"model": lambda: make(loss="mae")}, "loss: 'mse' there, 'mae' now"),
    ({"model": lambda: make(metrics=["mse"])}, "metrics"),
    ({"data": lambda: replay(shift=1)}, "data, first_batches"),
    ({"data": lambda: replay(seed=1)}, "data, first_batches"),
    ({"data": lambda: replay(dtype="float64")}, "data, dtypes"),
])
def test_another_run_is_refused_and_shown(changed, what, finished):
    arguments = {name: make_it() for name, make_it in changed.items()}
    with pytest.raises(ValueError, match=f"(?s)holds another run.*{what}"):
        run(finished, rounds=2, **arguments)


def test_the_same_run_resumes_whatever_was_named_before(copied):
    keras.layers.Dense(3), keras.layers.Dense(4)
    assert len(run(copied, rounds=2).results) == 3


@pytest.mark.parametrize("name", [
    "snapshot.safetensors", "rounds/01/masks.safetensors",
    "state-0.safetensors",
])
def test_files_of_another_run_of_equal_shape(name, copied, tmp_path):
    other = tmp_path / "other"
    run(other, model=make("tanh"))
    for path in [name] if "state" not in name else [
        name, "state-1.safetensors"
    ]:
        shutil.copy(other / path, copied / path)
    with pytest.raises(files.DamagedFileError, match="belongs to another run"):
        run(copied, rounds=2)


def test_masks_of_another_round(copied):
    shutil.copy(
        copied / "rounds/00/masks.safetensors",
        copied / "rounds/01/masks.safetensors",
    )
    with pytest.raises(files.DamagedFileError, match="masks of round 0"):
        run(copied, rounds=2)


def test_every_file_names_the_run(finished):
    run_id = json.loads((finished / "config.json").read_text())["run"]
    for path in finished.rglob("*.safetensors"):
        assert files.read_arrays(path)[1]["run"] == run_id
    assert run(finished).ticket(1).provenance["run"] == run_id


def change_config(directory, **changes):
    path = directory / "config.json"
    config = json.loads(path.read_text()) | changes
    removed = [name for name, value in changes.items() if value is None]
    path.write_text(json.dumps(
        {k: v for k, v in config.items() if k not in removed}
    ))


def test_other_versions(copied):
    change_config(copied, versions={"python": "3.10", "keras": "3.0"})
    assert len(run(copied).results) == 2
    with pytest.raises(ValueError, match="(?s)'3.10' there.*not guaranteed"):
        run(copied, rounds=2)
    with pytest.warns(UserWarning, match="not guaranteed"):
        imp = run(copied, rounds=2, other_versions=True)
    assert len(imp.results) == 3
    # What the run began with stays written down.
    config = json.loads((copied / "config.json").read_text())
    assert config["versions"]["keras"] == "3.0"


def test_a_run_of_the_first_release_resumes(copied):
    change_config(
        copied, run=None, model=None, loss=None, metrics=None,
        loss_weights=None, weighted_metrics=None,
    )
    for path in copied.rglob("*.safetensors"):
        arrays, header = files.read_arrays(path)
        del header["run"]
        if path.name == "masks.safetensors":
            arrays = {k.removeprefix("mask/"): v for k, v in arrays.items()}
        files.write_arrays(path, arrays, header)
    (copied / "model.json").unlink()
    for rounds in (2, 3):
        assert len(run(copied, rounds=rounds).results) == rounds + 1


def test_descriptions_of_models_do_not_depend_on_the_process():
    for make_model in conftest.MODELS.values():
        assert identity.of_model(make_model()) == identity.of_model(
            make_model()
        )
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2, lambda x: x)]
    )
    assert json.dumps(identity.of_model(model))


class At(keras.callbacks.Callback):
    """Does something once, at a hook."""

    def __init__(self, hook, do):
        super().__init__()
        self.done = False
        setattr(self, hook, lambda *args, **kwargs: self.once(do))

    def once(self, do):
        if not self.done:
            self.done = True
            do()


def send(name):
    return lambda: os.kill(os.getpid(), getattr(signal, name))


@pytest.fixture
def handlers():
    """Handlers of the user's, which note signals and end training."""
    seen = []

    def note(number, frame):
        seen.append(signal.Signals(number).name)
        raise InterruptedError

    before = {n: signal.signal(getattr(signal, n), note) for n in SIGNALS}
    yield seen, note
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


def assert_released(directory, note):
    assert all(signal.getsignal(getattr(signal, n)) is note for n in SIGNALS)
    assert (directory / "lock").read_text() == ""


@pytest.mark.parametrize("name", conftest.slow_but(["SIGTERM"], SIGNALS))
def test_a_signal_arrives_once_wherever_it_comes(name, handlers, tmp_path):
    seen, note = handlers
    for hook in HOOKS:
        directory = tmp_path / hook
        with pytest.raises(InterruptedError):
            run(directory, [At(hook, send(name))])
        assert seen == [name]
        seen.clear()
        assert len(run(directory).results) == 2
        assert seen == []
        assert_released(directory, note)


@pytest.mark.parametrize("step", ["train_step", "test_step"])
@pytest.mark.parametrize("at", [1, 2])
def test_a_signal_within_a_step_is_met_after_saving(
    step, at, handlers, tmp_path
):
    seen, note = handlers
    model, calls = make(), []
    function = getattr(model, step)

    def counted(*args):
        calls.append(1)
        if len(calls) == at:
            send("SIGTERM")()
            # It is held back, so this step is whole.
            assert seen == []
        return function(*args)

    setattr(model, step, counted)
    with pytest.raises(InterruptedError):
        run(tmp_path / "run", model=model)
    assert seen == ["SIGTERM"]
    assert_released(tmp_path / "run", note)
    position = run_directory.RunDirectory(tmp_path / "run").load_state()[1]
    assert position["clock"]["offset"] + position["clock"]["before"] > 0


def test_data_that_begin_anew_within_an_epoch(handlers, tmp_path):
    def start(model):
        imp = tfl.IterativeMagnitudePruning(
            rounds=1, epochs_per_round=2, monitor="loss", verbose=0,
            directory=tmp_path, save_freq="round",
        )
        model.fit(
            replay().as_dataset().repeat(), steps_per_epoch=4, verbose=0,
            epochs=imp.epochs, callbacks=[imp],
        )
        return imp.results

    model = make()
    step, sent = model.train_step, iter([lambda: None, send("SIGTERM")])
    model.train_step = lambda data: next(sent)() or step(data)
    with pytest.raises(InterruptedError):
        start(model)
    with pytest.warns(UserWarning, match="middle of an epoch.*by `data=`"):
        found = start(make())
    # Data that do not tell their length: one epoch was cut, not all.
    assert [each.steps for each in found] == [8, 8]


def test_a_handler_that_returns_lets_training_go_on(handlers, tmp_path):
    seen, _ = handlers
    signal.signal(signal.SIGTERM, lambda *args: seen.append("mine"))
    model = make()
    step = model.train_step

    def train_step(*args):
        send("SIGTERM")()
        return step(*args)

    model.train_step = train_step
    assert len(run(tmp_path, model=model).results) == 2
    assert seen == ["mine"] * 4


@pytest.mark.parametrize("hook", ["step", "round", "monitor"])
def test_an_exception_releases_lock_and_handlers(hook, handlers, tmp_path):
    _, note = handlers
    model, arguments = make(), {}

    def fail(*args):
        raise RuntimeError("broken")

    if hook == "step":
        model.train_step = fail
    if hook == "round":
        arguments["round_callbacks"] = lambda: [At("on_train_batch_end", fail)]
    if hook == "monitor":
        arguments["exclude"] = ["nothing"]
    with pytest.raises((RuntimeError, ValueError)) as error:
        run(tmp_path / "run", model=model, **arguments)
    del error
    if hook != "monitor":
        assert_released(tmp_path / "run", note)


@pytest.mark.slow
def test_after_another_callback_failed_signals_are_passed_on(
    handlers, tmp_path
):
    """Each once, to the handler of the user's, also after several fits."""
    seen, note = handlers

    def fail():
        raise RuntimeError("broken")

    kept = make()
    for at in ("on_epoch_end", "on_train_batch_end"):
        with pytest.raises(RuntimeError, match="broken"):
            run(tmp_path / at, [At(at, fail)], model=kept)
    for name in SIGNALS:
        with pytest.raises(InterruptedError):
            send(name)()
    assert seen == SIGNALS
    gc.collect()
    assert all(signal.getsignal(getattr(signal, n)) is note for n in SIGNALS)


@pytest.mark.slow
def test_what_is_forgotten_gives_handlers_back(handlers):
    _, note = handlers
    session = type("Session", (), {"close": lambda self: None})()
    one = interrupt.Interrupt(session.close)
    with one.held_back():
        assert signal.getsignal(signal.SIGINT) is not note
    del one
    gc.collect()
    assert signal.getsignal(signal.SIGINT) is note


@pytest.mark.slow
def test_two_rounds_in_one_fit(tmp_path):
    other = tfl.IterativeMagnitudePruning(
        rounds=1, epochs_per_round=1, monitor="val_loss", verbose=0
    )
    with pytest.raises(ValueError, match="Two `Iterative.*one `fit`"):
        run(tmp_path, [other])
    # One after the other they may.
    model = make()
    assert run(None, model=model) and run(None, model=model)


@pytest.mark.slow
def test_two_threads_in_one_directory(tmp_path):
    found = []

    def second():
        try:
            run(tmp_path)
        except locks.InUseError as error:
            found.append(str(error))

    def start():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    run(tmp_path, [At("on_train_batch_end", start)])
    assert len(found) == 1 and "thread" in found[0]


def test_a_fit_in_another_thread(tmp_path):
    results = []
    thread = threading.Thread(
        target=lambda: results.append(run(tmp_path).results)
    )
    thread.start()
    thread.join()
    assert len(results[0]) == 2


def test_a_wrong_monitor_is_told_at_the_first_epoch(tmp_path):
    ends = []
    watcher = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ends.append(epoch)
    )
    for name in ("acc", "val_acc"):
        imp = tfl.IterativeMagnitudePruning(
            rounds=1, epochs_per_round=3, monitor=name, verbose=0
        )
        data = replay()
        with pytest.raises(ValueError, match=f"monitor='{name}'"):
            make().fit(
                data, validation_data=(data.x, data.y), epochs=imp.epochs,
                callbacks=[imp, watcher], verbose=0,
            )
    assert ends == []


def test_validation_that_is_yet_to_come_is_waited_for():
    imp = tfl.IterativeMagnitudePruning(
        rounds=1, epochs_per_round=2, monitor="val_mae", verbose=0
    )
    data = replay()
    with pytest.warns(UserWarning, match="first epoch had no validation"):
        make().fit(
            data, validation_data=(data.x, data.y), epochs=imp.epochs,
            callbacks=[imp], validation_freq=2, verbose=0,
        )
    assert len(imp.results) == 2


@pytest.mark.parametrize("number, advice", [
    (errno.ENOSPC, "Free some space"), (errno.EROFS, "writable"),
])
def test_a_full_disk_says_what_is_safe(number, advice, copied, monkeypatch):
    write = os.fsync
    calls = []

    def fail(descriptor):
        calls.append(1)
        if len(calls) > 6:
            raise OSError(number, os.strerror(number))
        write(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=f"(?s){copied}.*whole.*{advice}"):
        run(copied, rounds=2)
    monkeypatch.undo()
    assert len(run(copied, rounds=2).results) == 3


def test_a_directory_that_is_removed(tmp_path):
    directory = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="Bring the directory back"):
        run(directory, [
            At("on_train_batch_end", lambda: shutil.rmtree(directory))
        ])


def test_a_clock_that_is_set_back(copied, monkeypatch):
    """States are told apart by their number, not by their time."""
    for path in copied.rglob("*"):
        os.utime(path, (0, 0))
    assert len(run(copied, rounds=2).results) == 3
