"""Watch a lottery ticket being found, in TensorBoard.

Rounds of pruning next to Keras' own TensorBoard callback, in the same log
directory: densities, curves of the rounds over one another, metrics against
sparsity, histograms of the weights that are kept, pictures of the masks, a
table of the rounds and hyperparameters. Takes about ten seconds:

    python examples/watch_in_tensorboard.py --log-dir logs
    tensorboard --logdir logs

`--dataset mnist` needs tensorflow-datasets and the data, and takes minutes.
"""

import argparse
import pathlib
import tempfile

import keras

import tf_lottery as tfl
from tf_lottery import experiments


def make_model(shape):
    model = keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Conv2D(8, 3, activation="relu", name="conv"),
            keras.layers.MaxPooling2D(name="pool"),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dense(300, "relu", name="fc1"),
            keras.layers.Dense(100, "relu", name="fc2"),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(1.2e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def train(args, log_dir):
    keras.utils.set_random_seed(0)
    data = experiments.load(args.dataset)
    imp = tfl.IterativeMagnitudePruning(
        rounds=args.rounds, epochs_per_round=args.epochs, rate=0.4
    )
    model = make_model(data.x_train.shape[1:])
    model.fit(
        data.x_train,
        data.y_train,
        validation_data=(data.x_val, data.y_val),
        epochs=imp.epochs,
        batch_size=60,
        callbacks=[
            imp,
            keras.callbacks.TensorBoard(log_dir),
            tfl.callbacks.SparsityBoard(log_dir),
        ],
        verbose=0,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--log-dir", help="where to keep the log directory")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        log_dir = pathlib.Path(args.log_dir or temporary)
        train(args, log_dir)
        runs = sorted(
            path.parent.relative_to(log_dir)
            for path in log_dir.rglob("*tfevents*")
        )
    print("Runs that TensorBoard shows:", *dict.fromkeys(runs), sep="\n  ")
    if args.log_dir:
        print(f"Look at them: tensorboard --logdir {args.log_dir}")


if __name__ == "__main__":
    main()
