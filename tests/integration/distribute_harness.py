"""Trains on two logical devices under a strategy; prints what came out.

    python -m tests.integration.distribute_harness DIRECTORY

Logical devices must be made before TensorFlow starts, so all cases run in
one process of their own. DIRECTORY takes the files of the runs.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import tf_lottery as tfl

SGD, Adam = keras.optimizers.SGD, keras.optimizers.Adam
OPTIMIZERS = {
    "momentum": lambda: SGD(0.1, momentum=0.9, nesterov=True, clipnorm=1.0),
    "ema": lambda: Adam(0.01, use_ema=True, ema_momentum=0.9),
    "adamw": lambda: keras.optimizers.AdamW(0.01, global_clipnorm=1.0),
    "muon": lambda: keras.optimizers.Muon(0.01),
}
BATCH = 24


class Killed(Exception):
    """Stands for a kill: nothing that is not on disk may matter."""


class Replicas(keras.callbacks.Callback):
    """Looks at every replica's own copy of the weights, at batch ends."""

    def __init__(self, kill_at=None):
        super().__init__()
        self.revived = self.seen = self.disagreeing = self.batches = 0
        self.copies, self.densities = set(), []
        self.kill_at = kill_at

    def on_train_batch_end(self, batch, logs=None):
        self.look()
        if self.batches == self.kill_at:
            raise Killed

    def look(self):
        self.batches += 1
        masks = tfl.masks_of(self.model)
        for key, variable in tfl.weights.variables(self.model).items():
            if not variable.trainable:
                continue
            values = copies(variable)
            self.copies.add(len(values))
            self.disagreeing += any(differ(v, values[0]) for v in values)
            for value in values if key in masks else []:
                self.revived += int(np.count_nonzero(value[~masks[key]]))
                self.seen += int((~masks[key]).sum())
        if masks:
            self.densities.append(tfl.masks.density(masks))

    def found(self):
        optimizer = self.model.optimizer
        wrapper = tfl.optimizers.find(optimizer)
        held = [] if wrapper is None else [
            keep.mask for _, keep in wrapper.held()
        ]
        return {
            "revived": self.revived,
            "seen": self.seen,
            "copies": sorted(self.copies),
            "copies_of_masks": sorted({len(copies(m)) for m in held}),
            "disagreeing": self.disagreeing + sum(
                any(differ(v, copies(variable)[0]) for v in copies(variable))
                for variable in ([] if optimizer is None
                                 else optimizer.variables)
            ),
            "densities": self.densities,
            "density": tfl.masks.density(tfl.masks_of(self.model)),
            "finite": all(
                bool(np.isfinite(v.numpy()).all())
                for v in self.model.trainable_variables
            ),
        }


def copies(variable):
    """The value that each replica has of a variable."""
    value = variable.value
    return [v.numpy() for v in getattr(value, "values", [value])]


def differ(a, b):
    return a.tobytes() != b.tobytes()


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 10)).astype("float32")
    return x, np.argmax(x @ rng.normal(size=(10, 4)), axis=1)


def loss(**kwargs):
    return keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, **kwargs
    )


def model(strategy, optimizer="momentum", synchronized=True):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        inputs = keras.Input((10,))
        x = keras.layers.Dense(16, "relu", name="fc")(inputs)
        x = keras.layers.BatchNormalization(
            synchronized=synchronized, name="norm"
        )(x)
        x = keras.layers.Dropout(0.2, name="drop")(x)
        outputs = keras.layers.Dense(4, name="logits", dtype="float32")(x)
        result = keras.Model(inputs, outputs)
        if optimizer is not None:
            result.compile(
                OPTIMIZERS[optimizer](), loss(), metrics=["accuracy"]
            )
    return result


def imp(**kwargs):
    return tfl.IterativeMagnitudePruning(
        **{
            "rounds": 2, "epochs_per_round": 2, "rate": 0.4, "verbose": 0,
            "monitor": "val_loss", **kwargs,
        }
    )


def fit(a_model, callback, watch, **kwargs):
    x, y = data()
    kwargs = {"x": x, "y": y, "batch_size": BATCH, "shuffle": False, **kwargs}
    if isinstance(callback, tfl.IterativeMagnitudePruning):
        kwargs["validation_data"] = (x, y)
    return a_model.fit(
        **kwargs, verbose=0,
        epochs=getattr(callback, "epochs", 2),
        callbacks=[c for c in (callback, watch) if c is not None],
    )


def state_of(a_model):
    digest = hashlib.sha256()
    for variable in a_model.variables + a_model.optimizer.variables:
        for value in copies(variable):
            digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    yield
    keras.config.set_dtype_policy(before)


def rounds(strategy, optimizer, dtype="float32", **kwargs):
    with policy(dtype):
        trained, watch = model(strategy, optimizer), Replicas()
        callback = imp(**kwargs)
        fit(trained, callback, watch)
    return {
        **watch.found(),
        "rounds": [result.density for result in callback.results],
        "effective": [r.effective_density for r in callback.results],
    }


def gradual(strategy):
    trained, watch = model(strategy, "muon"), Replicas()
    schedule = tfl.sparsity_schedules.PolynomialDecay(
        initial_sparsity=0.2, final_sparsity=0.75, begin_step=1, end_step=6
    )
    fit(trained, tfl.callbacks.GradualPruning(schedule), watch)
    return watch.found()


def pruned_and_held(strategy, directory):
    """Before training, by other masks, by a ticket, saved, stripped."""
    x, y = data()
    trained, watch = model(strategy), Replicas()
    tfl.prune(trained, 0.5, criterion="snip", data=(x, y))
    fit(trained, None, watch)
    rng = np.random.default_rng(1)
    tfl.hold(trained, {
        key: mask & (rng.random(mask.shape) < 0.5)
        for key, mask in tfl.masks_of(trained).items()
    })
    ticket = tfl.Ticket.of(trained)
    trained.fit(x, y, batch_size=48, verbose=0)
    ticket.apply(trained)
    watch.look()
    fit(trained, None, watch)
    found = watch.found()
    path = directory / "model.keras"
    trained.save(path)
    plain = tfl.strip(trained)
    alone = keras.models.load_model(path)
    with strategy.scope():
        loaded = keras.models.load_model(path)
    again = Replicas()
    fit(loaded, None, again)
    masks = tfl.masks_of(trained)
    return {
        **found,
        "loaded": again.found(),
        "same_masks": all(
            np.array_equal(mask, tfl.masks_of(other)[key])
            for other in (loaded, alone) for key, mask in masks.items()
        ),
        "predicts_alike": bool(np.allclose(
            plain.predict(x, verbose=0), alone.predict(x, verbose=0),
            atol=1e-5,
        )),
    }


def wrapped(strategy):
    """Layers hold the masks; a loop of one's own steps them."""
    x, y = data()
    source = model(strategy, None)
    with strategy.scope():
        trained = tfl.layers.wrap(source)
        optimizer = Adam(0.01)
        optimizer.build(trained.trainable_variables)
    tfl.prune(trained, 0.6)
    watch = Replicas()
    watch.set_model(trained)
    loss_of = loss(reduction=None)

    def replica_step(x, y):
        with tf.GradientTape() as tape:
            lost = tf.reduce_sum(loss_of(y, trained(x, training=True)))
            lost = lost / BATCH
        gradients = tape.gradient(lost, trained.trainable_variables)
        optimizer.apply(gradients, trained.trainable_variables)

    @tf.function
    def step(batch):
        strategy.run(replica_step, args=batch)

    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    for batch in strategy.experimental_distribute_dataset(batches):
        step(batch)
        watch.look()
    trained.optimizer = None
    return watch.found()


def resumed(strategy, directory, **kwargs):
    """A run that is killed, and one that is not.

    Statistics of normalisation differ between replicas here.
    """
    x, y = data()

    def run(name, kill_at=None):
        trained = model(strategy, "ema", synchronized=False)
        replay = tfl.data.Replay(x, y, BATCH)
        callback = imp(
            rewind_to="3it", directory=directory / name, data=replay, **kwargs
        )
        watch = Replicas(kill_at)
        fit(trained, callback, watch, x=replay, y=None, batch_size=None)
        return {
            "state": state_of(trained),
            "val_loss": [r.metrics["val_loss"] for r in callback.results],
            "tickets": [
                tfl.masks.density(callback.ticket(i).masks) for i in range(3)
            ],
            **watch.found(),
        }

    whole = run("whole")
    # In the second epoch of round 1; the states are of its first.
    with contextlib.suppress(Killed):
        run("killed", 12)
        raise RuntimeError("the run was not killed")
    killed = run("killed")
    same = ("state", "val_loss", "tickets")
    return {
        **whole,
        "same": [whole[key] == killed[key] for key in same],
        "again": killed,
        "files": sorted(
            str(path.relative_to(directory))
            for path in directory.rglob("*") if path.is_file()
        ),
    }


def several_workers_in_fit(strategy):
    """A strategy for several workers, here with one, and `fit`."""
    trained = model(strategy)
    found = {}
    for name, callback in {
        "imp": imp(),
        "gradual": tfl.callbacks.GradualPruning(
            tfl.sparsity_schedules.ConstantSparsity(0.5, begin_step=1)
        ),
    }.items():
        try:
            fit(trained, callback, None)
        except ValueError as error:
            found[name] = str(error)
    return found


def main():
    directory = pathlib.Path(sys.argv[1])
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
    tf.config.experimental.enable_op_determinism()
    # Before all others: it needs a context that has run nothing.
    several = tf.distribute.MultiWorkerMirroredStrategy()
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    cases = {
        "momentum": lambda: rounds(strategy, "momentum", rewind_to="3it"),
        "mixed": lambda: rounds(
            strategy, "adamw", "mixed_float16",
            rewind="learning_rate", rewind_to=2 / 8, rounds=1,
        ),
        "gradual": lambda: gradual(strategy),
        "prune_hold": lambda: pruned_and_held(strategy, directory),
        "wrapped": lambda: wrapped(strategy),
        "resumed": lambda: resumed(strategy, directory / "resumed"),
        "several": lambda: several_workers_in_fit(several),
    }
    for name in sys.argv[2:] or cases:
        sys.stdout.write(json.dumps({name: cases[name]()}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
