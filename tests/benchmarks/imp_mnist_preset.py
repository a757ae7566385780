"""Child of `imp_mnist`: the package's own preset, data and pipeline.

It loads through `tensorflow_datasets`, validates on 5,000 images of the
training set and tests on the test set, both after each epoch of 469 steps.
"""

import sys

from tf_lottery import experiments

preset = experiments.preset(
    "lenet-mnist", optimizer="sgd", learning_rate=0.1, batch_size=128,
    iterations=2 * 469, evaluate_every=469, rounds=3, control_trials=0,
)
report = experiments.run(preset, sys.argv[2])
found = [100 * row["test_accuracy"] for row in report.rows()]
print("test accuracy", *(f"{accuracy:.1f}" for accuracy in found))
