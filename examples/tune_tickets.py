"""Searches for the best way to prune a small network, with keras-tuner.

    python examples/tune_tickets.py [--trials 10] [--rounds 6] [--epochs 5]

The width of the network and how it is pruned are searched together. Trials
that differ only after their dense round share it.
"""

import argparse
import tempfile

import keras
import rich.console

import tf_lottery as tfl
from tf_lottery import experiments


def build(hp):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(hp.Choice("units", [50, 100]), "relu"),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(2e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("trials", 10), ("rounds", 6), ("epochs", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    data = experiments.load("digits")
    hypermodel = tfl.tuner.TicketHyperModel(
        build,
        objective="density",
        rate=(0.2, 0.5),
        rounds=arguments.rounds,
        rewind_to=[0, "1ep"],
        criterion=["magnitude", "lamp"],
    )
    console = rich.console.Console(width=100)
    with tempfile.TemporaryDirectory() as directory:
        tuner = tfl.tuner.RandomSearch(
            hypermodel, max_trials=arguments.trials, directory=directory
        )
        tuner.search(
            data.x_train, data.y_train, epochs=arguments.epochs,
            validation_data=(data.x_val, data.y_val), verbose=0,
        )
        console.print(tuner.report().render())
        best = tuner.get_best_models()[0]
    console.print(f"The best model keeps {density(best):.1%} of its weights.")


def density(model):
    kernels = [
        keras.ops.convert_to_numpy(v)
        for v in tfl.weights.prunable(model).values()
    ]
    return sum((k != 0).sum() for k in kernels) / sum(k.size for k in kernels)


if __name__ == "__main__":
    main()
