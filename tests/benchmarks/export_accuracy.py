"""Accuracy of every exported file on the whole test set of MNIST.

    python -m tests.benchmarks.export_accuracy [--quick] [--json PATH]

LeNet-300-100, trained, pruned to 90 %, trained on; `--quick` takes the
digits that come with tf_lottery.
"""

import pathlib
import tempfile

import keras

import tf_lottery as tfl
from tests.benchmarks import harness
from tf_lottery import experiments
from tf_lottery import export


def main():
    args = harness.parser(__doc__).parse_args()
    data = experiments.load("digits" if args.quick else "mnist")
    model = experiments.models.lenet_300_100(data.image_shape)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    for sparsity in (0.0, 0.9):
        tfl.prune(model, sparsity=sparsity)
        model.fit(data.x_train, data.y_train, batch_size=128, epochs=2,
                  verbose=0)
    with tempfile.TemporaryDirectory() as directory:
        report = export.tflite(
            model, pathlib.Path(directory, "m.tflite"), "auto", "auto",
            data.x_train[:200], (data.x_test, data.y_test), seconds=0.2,
        )
    rows = [
        harness.Row(
            f"{row.name}: points from the Keras model",
            100 * abs(row.metric - report.metric),
            0.0 if row.quantize == "float32" else 0.3, "points",
            f"{100 * row.metric:.2f} %, {row.nbytes:,} bytes"
            + (", shipped" if row.shipped else ""),
        )
        for row in report.rows
    ]
    harness.report(f"Accuracy on {data.name}", rows, args.json)


if __name__ == "__main__":
    main()
