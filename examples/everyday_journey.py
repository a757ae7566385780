"""From a trained model to a small int8 file, one everyday step at a time.

A trained `.keras` file is pruned in five lines, fine-tuned with a frozen
layer in another process, stripped, shrunk and shipped as int8 TFLite. After
each step the test accuracy is printed; the zeros are there all the way.

    python examples/everyday_journey.py
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import keras
import numpy as np

import tf_lottery as tfl
from tf_lottery import experiments


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", default=None)
    parser.add_argument("--fine-tune", action="store_true",
                        help="do the step of the other process")
    args = parser.parse_args()
    directory = pathlib.Path(args.directory or tempfile.mkdtemp())
    if args.fine_tune:
        fine_tune(directory)
        return
    train(directory)
    prune(directory)
    subprocess.run(
        [sys.executable, __file__, "--directory", directory, "--fine-tune"],
        check=True,
    )
    ship(directory)


def train(directory):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((8, 8, 1)),
        keras.layers.Flatten(),
        keras.layers.Dense(300, "relu", name="fc1"),
        keras.layers.Dense(100, "relu", name="fc2"),
        keras.layers.Dense(10, name="logits"),
    ])
    model.compile("adam", LOSS, metrics=["accuracy"])
    model.fit(*TRAIN, epochs=12, verbose=0)
    say("trained", model)
    model.save(directory / "trained.keras")


def prune(directory):
    model = keras.saving.load_model(directory / "trained.keras")
    begin = int(model.optimizer.iterations)
    schedule = tfl.sparsity_schedules.PolynomialDecay(
        0.0, 0.8, begin_step=begin, end_step=begin + 150, frequency=10)
    model.fit(*TRAIN, epochs=6, verbose=0,
              callbacks=[tfl.callbacks.GradualPruning(schedule)])
    say("pruned to 80 %", model)
    model.save(directory / "pruned.keras")


def fine_tune(directory):
    """Runs in a process of its own, which knows the file alone."""
    model = keras.saving.load_model(directory / "pruned.keras")
    model.get_layer("fc1").trainable = False
    model.compile(keras.optimizers.Adam(1e-4), LOSS, metrics=["accuracy"])
    model.fit(*TRAIN, epochs=2, verbose=0)
    say("fine-tuned, fc1 frozen", model)
    model.save(directory / "tuned.keras")


def ship(directory):
    model = keras.saving.load_model(directory / "tuned.keras")
    plain = tfl.strip(model)
    say("stripped", plain)
    plain.save(directory / "stripped.keras")
    plan = tfl.structured.plan(model, ratio=0.3, round_to=4)
    small = tfl.structured.shrink(model, plan)
    small.fit(*TRAIN, epochs=2, verbose=0)
    weights = f"{model.count_params():,} -> {small.count_params():,} weights"
    say(f"shrunk, {weights}", small)
    path = directory / "model.tflite"
    tfl.export.tflite(
        small, path, target="size", quantize="int8",
        representative_data=DATA.x_train[:200],
    )
    print(f"int8, {path.stat().st_size:,} bytes".ljust(40), end=" ")
    print(f"accuracy {accuracy_of(path):.1%} on {len(DATA.y_test)} images")


def accuracy_of(path):
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(str(path))
    runner = interpreter.get_signature_runner()
    name = next(iter(runner.get_input_details()))
    right = 0
    for image, label in zip(DATA.x_test, DATA.y_test):
        (logits,) = runner(**{name: image[None]}).values()
        right += int(logits.argmax() == label)
    return right / len(DATA.y_test)


def say(step, model):
    x, y = DATA.x_test, DATA.y_test
    accuracy = np.mean(model.predict(x, verbose=0).argmax(-1) == y)
    zeros = [
        np.mean(kernel == 0) for kernel in model.get_weights()
        if kernel.ndim == 2
    ]
    print(
        f"{step:<40} accuracy {accuracy:.1%} on {len(y)} images, "
        f"zeros {', '.join(f'{z:.0%}' for z in zeros)}",
        flush=True,
    )


DATA = experiments.load("digits")
TRAIN = (DATA.x_train, DATA.y_train)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

if __name__ == "__main__":
    main()
