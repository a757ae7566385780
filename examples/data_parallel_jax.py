"""Tickets by several machines: IMP under JAX, every process on its share.

Keras trains one model on all processes (`keras.distribution.DataParallel`):
each feeds its share of the data, gradients are averaged, and all hold the same
weights and masks, bit for bit. Process 0 writes the run directory; started
again after a kill, all processes resume from it. Without further arguments two
processes are started here, over loopback; takes about half a minute:

    python examples/data_parallel_jax.py

On several machines, which must see one directory, start on each of them

    python examples/data_parallel_jax.py --coordinator FIRST_HOST:12345 \
        --processes 4 --process 0 --directory /shared/run

with `--process` 0, 1, 2 and 3. Needs the extra `jax`.
"""

import argparse
import hashlib
import os
import socket
import subprocess
import sys

os.environ["KERAS_BACKEND"] = "jax"


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--process", type=int, help="default: start all here")
    parser.add_argument("--coordinator", help="host:port of process 0")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--directory", help="to save and resume the run")
    return parser.parse_args()


def train(args):
    """What every process does."""
    import jax

    # Processors talk to each other by gloo; accelerators by their own means.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    import keras

    # The same seed everywhere: replicas must start equal.
    keras.utils.set_random_seed(0)
    keras.distribution.initialize(
        args.coordinator, args.processes, args.process
    )
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(auto_shard_dataset=False)
    )
    import tf_lottery as tfl

    (x, y), validation = load(args)
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.Flatten(),
            keras.layers.Dense(300, "relu", name="fc1"),
            keras.layers.Dense(100, "relu", name="fc2"),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.0012),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    # Each process has its part of every batch: 60 examples in all.
    data = tfl.data.Replay(x, y, 60 // args.processes, drop_remainder=True)
    imp = tfl.IterativeMagnitudePruning(
        rounds=args.rounds,
        epochs_per_round=args.epochs,
        rate=0.3,
        rewind_to=0.1,
        data=data,
        directory=args.directory,
        verbose=0,
    )

    class Digests(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if len(imp.results) > imp.round:
                result = imp.results[-1]
                print(
                    f"round {result.round}: density {result.density:.1%}, "
                    f"validation accuracy {logs['val_accuracy']:.1%}, "
                    f"digest {digest(model)}",
                    flush=True,
                )

    model.fit(
        data,
        validation_data=validation,
        validation_batch_size=len(validation[0]),
        epochs=imp.epochs,
        callbacks=[imp, Digests()],
        verbose=0,
    )


def load(args):
    """Returns the share of a process of training and validation data."""
    from tf_lottery import experiments

    data = experiments.load("digits")

    def share(*arrays):
        # Shares of equal size, or processes would wait for each other.
        size = len(arrays[0]) // args.processes * args.processes
        return tuple(a[args.process:size:args.processes] for a in arrays)

    return (
        share(data.x_train, data.y_train),
        share(data.x_test, data.y_test),
    )


def digest(model):
    """A hash of all weights, masks and the optimizer's state."""
    import keras

    state = hashlib.sha256()
    for variable in (*model.variables, *model.optimizer.variables):
        state.update(keras.ops.convert_to_numpy(variable).tobytes())
    return state.hexdigest()[:16]


def start_all(args):
    """Starts all processes on this machine; returns what each printed."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        coordinator = f"localhost:{probe.getsockname()[1]}"
    started = [
        subprocess.Popen(
            [
                sys.executable, __file__, *sys.argv[1:],
                "--coordinator", coordinator, "--process", str(process),
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        for process in range(args.processes)
    ]
    printed = [process.communicate()[0] for process in started]
    for number, process in enumerate(started):
        if process.returncode:
            sys.exit(f"Process {number} failed.")
    return printed


def main():
    args = parse()
    if args.process is not None:
        train(args)
        return
    printed = start_all(args)
    rounds = [
        [line for line in text.splitlines() if line.startswith("round")]
        for text in printed
    ]
    print("\n".join(rounds[0]))
    if any(found != rounds[0] for found in rounds):
        sys.exit(f"The processes differ: {rounds}")
    print(f"{args.processes} processes agree bit for bit in every round.")


if __name__ == "__main__":
    main()
