"""Trains in child processes that are killed, and prints what came out.

    python -m tests.callbacks.kill_harness < jobs.jsonl

A job, a line of JSON, names a scenario and the events at which its children
die, one after the other, until one of them ends by itself. Importing
TensorFlow takes most of a child's time, so children are forked from a process
that has imported it and done nothing else.
"""

import functools
import hashlib
import json
import os
import pathlib
import signal
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import tf_lottery as tfl
from tf_lottery import files
from tf_lottery import masks
from tf_lottery.runs import run_directory


def _movement(model, before, trained):
    return float(sum(
        np.abs(array - before.weights[key]).sum()
        for key, array in trained.weights.items()
    ))


SCENARIOS = {
    "adam": {},
    "late": {"rewind_to": "8it"},
    "learning_rate": {"rewind": "learning_rate", "rewind_to": "3it"},
    "fine_tune": {"rewind": "none"},
    "every_2_steps": {"save_freq": 2, "rewind_to": "5it"},
    "every_round": {"save_freq": "round"},
    "arrays": {},
    "ema": {},
    "schedule": {"rewind_to": "1ep"},
    "mixed": {},
    "callbacks": {},
    "lengths": {
        "epochs_per_round": [3, 2, 3], "rewind": "learning_rate",
        "rewind_to": "8it", "barrier": _movement, "max_barrier": 1e9,
    },
    "plan": {
        "rewind": "none", "save_freq": "round", "plan": functools.partial(
            tfl.structured.plan, criterion="fpgm", scope="global"
        ),
    },
}
OPTIMIZERS = {
    "ema": lambda: keras.optimizers.Adam(
        0.01, use_ema=True, ema_overwrite_frequency=4
    ),
    "schedule": lambda: keras.optimizers.SGD(
        keras.optimizers.schedules.CosineDecay(0.1, 18), momentum=0.9
    ),
}


class Killer:
    """Dies at the n-th of the events that may matter."""

    def __init__(self, at):
        self.at, self.count = at, 0

    def event(self):
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner, name):
        """Makes every call of a function two events, before and after."""
        function = getattr(owner, name)

        def wrapped(*args, **kwargs):
            self.event()
            result = function(*args, **kwargs)
            self.event()
            return result

        setattr(owner, name, wrapped)

    def half_written(self):
        """Makes writing a file an event between two halves of a chunk."""
        write = files.write_atomic

        def halves(path, chunks):
            chunks = [bytes(chunk) for chunk in chunks]

            def cut():
                for chunk in chunks:
                    yield chunk[:len(chunk) // 2]
                    self.event()
                    yield chunk[len(chunk) // 2:]

            write(path, cut())

        files.write_atomic = halves


class Events(keras.callbacks.Callback):
    """Every hook of `fit` is an event: also before the first batch, and
    between the last one and the end."""

    def __init__(self, killer):
        super().__init__()
        self.killer = killer

    def on_train_begin(self, logs=None):
        self.killer.event()

    def on_train_end(self, logs=None):
        self.killer.event()

    def on_train_batch_begin(self, batch, logs=None):
        self.killer.event()

    def on_train_batch_end(self, batch, logs=None):
        self.killer.event()

    def on_test_batch_end(self, batch, logs=None):
        self.killer.event()

    def on_epoch_end(self, epoch, logs=None):
        self.killer.event()

    def on_epoch_begin(self, epoch, logs=None):
        self.killer.event()


def train(name, directory, rounds=2, killer=None):
    """Trains one scenario; returns what must not depend on kills."""
    keras.utils.set_random_seed(0)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    if name == "mixed":
        keras.config.set_dtype_policy("mixed_float16")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 10)).astype("float32")
    y = np.argmax(x @ rng.normal(size=(10, 4)), axis=1)
    inputs = keras.Input((10,))
    h = keras.layers.Dense(16, "relu", name="fc")(inputs)
    h = keras.layers.BatchNormalization(name="norm")(h)
    # Without a seed it draws, under torch, from what no file has.
    h = keras.layers.Dropout(0.2, seed=1, name="drop")(h)
    model = keras.Model(inputs, keras.layers.Dense(4, name="logits")(h))
    model.compile(
        OPTIMIZERS.get(name, lambda: keras.optimizers.Adam(0.01))(),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    data = tfl.data.Replay(
        x, y, 16, augment=lambda x, rng: x + rng.normal(0, 0.1, x.shape)
    )
    feed = {"x": data}
    if name == "arrays":
        feed = {"x": x, "y": y, "batch_size": 16, "shuffle": False}
    imp = tfl.IterativeMagnitudePruning(
        rounds=rounds,
        rate=0.4,
        monitor="val_loss",
        directory=directory,
        data=None if name == "arrays" else data,
        round_callbacks=_round_callbacks if name == "callbacks" else None,
        verbose=2,
        **{"epochs_per_round": 3} | SCENARIOS[name],
    )
    callbacks = [imp] + ([Events(killer)] if killer else [])
    history = model.fit(
        **feed, validation_data=(x, y), epochs=imp.epochs,
        callbacks=callbacks, verbose=0,
    )
    return {
        "state": _hash(
            [v.numpy() for v in model.variables + model.optimizer.variables]
        ),
        "masks": _hash(list(tfl.masks_of(model).values())),
        "tickets": [
            _hash([*ticket.masks.values(), *ticket.snapshot.weights.values()])
            for ticket in map(imp.ticket, range(rounds + 1))
        ],
        "history": history.history,
        "epochs": history.epoch,
        "results": [
            {k: v for k, v in result.to_dict().items() if k != "seconds"}
            for result in imp.results
        ],
    }


def _round_callbacks():
    return [
        keras.callbacks.ReduceLROnPlateau(
            monitor="val_loss", patience=1, factor=0.5, min_delta=0.5
        ),
        keras.callbacks.EarlyStopping(
            monitor="val_loss", patience=1, min_delta=0.3,
            restore_best_weights=True,
        ),
    ]


def _hash(arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def child(name, directory, rounds=2, kill_at=None, sig=None):
    """Runs a forked child; returns its exit status and what it printed."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            killer = Killer(kill_at)
            if sig is not None:
                killer.event = _signal_at(killer, kill_at, sig)
            killer.half_written()
            killer.around(os, "fsync")
            killer.around(os, "replace")
            killer.around(run_directory.RunDirectory, "open")
            killer.around(run_directory.RunDirectory, "close")
            killer.around(masks, "select")
            try:
                found = train(name, directory, rounds, killer)
                found["events"] = killer.count
            except Exception as error:
                found = {"error": f"{type(error).__name__}: {error}"}
            with open(write, "w") as pipe:
                json.dump(found, pipe)
            status = 0
        except KeyboardInterrupt:
            status = 130
        finally:
            os._exit(status)
    os.close(write)
    with open(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    return status, json.loads(text) if text else None


def _signal_at(killer, at, sig):
    def event():
        killer.count += 1
        if killer.count == at:
            os.kill(os.getpid(), sig)

    return event


def run(job, directory):
    """Runs a job to its end; returns the last child's word."""
    statuses = []
    for kill_at in [*job.get("kills", []), None]:
        sig = getattr(signal, job["signal"]) if "signal" in job else None
        status, found = child(
            job["name"], directory, job.get("rounds", 2), kill_at,
            sig if kill_at is not None else None,
        )
        statuses.append(status)
        if found is not None:
            return {"statuses": statuses, **found}
    raise RuntimeError(f"no child of {job} ended by itself: {statuses}")


def main():
    # Under `nohup`, or in the background of a shell, they are ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for line in sys.stdin:
        job = json.loads(line)
        if "directory" in job:
            found = run(job, job["directory"])
        else:
            with tempfile.TemporaryDirectory() as directory:
                found = run(job, str(pathlib.Path(directory) / "run"))
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
