"""Lottery tickets on several machines, by a training loop of one's own.

Keras 3 cannot `fit` under `MultiWorkerMirroredStrategy`, but an optimizer
steps under it, and `tf_lottery.optimizers.Masked` is one. Here LeNet-300-100
is pruned and rewound on handwritten digits. Start the same command on every
machine, on a directory that all of them see; on the i-th:

    TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]},
                "task": {"type": "worker", "index": i}}' \\
        python examples/multi_worker_loop.py --directory /shared/run

Worker 0 writes. If a worker dies the others end with `UnavailableError`; start
all of them again: they resume from the last epoch that was saved, with the same
bits.
Without TF_CONFIG there is one worker, and it takes about ten seconds.
"""

import argparse
import hashlib
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

import tf_lottery as tfl
from tf_lottery import experiments

BATCH = 64
loss_of = keras.losses.SparseCategoricalCrossentropy(
    from_logits=True, reduction=None
)


def make_model():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(300, "relu", name="fc1"),
            keras.layers.Dense(100, "relu", name="fc2"),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    return model


def make_step(strategy, model):
    """One step of all replicas, each with its part of the batch."""

    def replica_step(x, y):
        with tf.GradientTape() as tape:
            # The optimizer sums gradients: divide by the whole batch.
            loss = tf.reduce_sum(loss_of(y, model(x, training=True))) / BATCH
        variables = model.trainable_variables
        model.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    @tf.function
    def step(x, y):
        losses = strategy.run(replica_step, args=(x, y))
        return strategy.reduce("SUM", losses, axis=None)

    return step


def train_epoch(strategy, step, data, epoch):
    """The batches follow from the epoch alone, so a resumed run has them."""
    order = np.random.default_rng(epoch).permutation(len(data.x_train))
    count = strategy.num_replicas_in_sync
    for first in range(0, len(order) - BATCH + 1, BATCH):
        batch = order[first:first + BATCH]

        def part(values):
            return strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(
                    values[batch[context.replica_id_in_sync_group::count]]
                )
            )

        loss = step(part(data.x_train), part(data.y_train))
    return float(loss)


def train(strategy, model, data, args):
    """Iterative magnitude pruning; each state on disk is a ticket."""
    path = args.directory / "state.ticket"
    writes = strategy.cluster_resolver.task_id in (None, 0)
    # Held from the start: a step that was traced before knows of no masks.
    tfl.hold(model, {
        key: np.ones(tuple(variable.shape), bool)
        for key, variable in tfl.weights.prunable(model).items()
    })
    start = tfl.holding.capture(model, step=0)
    round, epoch = 0, 0
    if path.exists():
        state = tfl.Ticket.load(path)
        state.apply(model)
        round, epoch = state.round, state.snapshot.step
        print(f"goes on after epoch {epoch} of round {round}", flush=True)
    step = make_step(strategy, model)
    while True:
        while epoch < args.epochs:
            loss = train_epoch(strategy, step, data, epoch)
            epoch += 1
            state = tfl.Ticket(
                tfl.masks_of(model), tfl.holding.capture(model, epoch), round
            )
            if writes:
                state.save(path)
            print(f"round {round}, epoch {epoch}: loss {loss:.4f}", flush=True)
        report(model, data, round)
        if round == args.rounds:
            return
        round, epoch = round + 1, 0
        tfl.prune(model, sparsity=1 - 0.8 ** round)
        tfl.holding.rewind(model, start)


def report(model, data, round):
    logits = model(data.x_test, training=False)
    found = np.argmax(keras.ops.convert_to_numpy(logits), axis=1)
    masks = tfl.masks_of(model)
    variables = tfl.weights.variables(model)
    revived = sum(
        np.count_nonzero(keras.ops.convert_to_numpy(variables[key])[~mask])
        for key, mask in masks.items()
    )
    print(
        f"round {round}: density {tfl.masks.density(masks):.1%}, {revived} "
        f"revived weights, test accuracy {np.mean(found == data.y_test):.1%}",
        flush=True,
    )


def digest(model):
    """A hash of all that training has changed on this worker."""
    found = hashlib.sha256()
    for variable in model.variables + model.optimizer.variables:
        found.update(keras.ops.convert_to_numpy(variable).tobytes())
    return found.hexdigest()


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--directory", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args(arguments)

    # First of all, as it must find a TensorFlow that has run nothing.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    data = experiments.load("digits")
    with strategy.scope():
        model = make_model()
    with tempfile.TemporaryDirectory() as temporary:
        args.directory = args.directory or pathlib.Path(temporary)
        args.directory.mkdir(parents=True, exist_ok=True)
        train(strategy, model, data, args)
    print(f"{strategy.num_replicas_in_sync} replicas, {digest(model)}")
    return model


if __name__ == "__main__":
    main()
