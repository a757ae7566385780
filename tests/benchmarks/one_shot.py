"""What one-shot pruning loses: a narrow ResNet-20 on CIFAR-10 at 16x16.

    python -m tests.benchmarks.one_shot [MODEL.keras ...] [--quick]
        [--json PATH]

No training, 1,024 calibration examples, statistics of batch normalisation
renewed; accuracies are of the data set's 5,000 validation and its test
examples. Magnitude has the better of layer and global scope, `"obc"` is
global, with 8 iterations (`--quick`: 1). Of 70 % of the weights, and of
channels that take a fifth of the multiplications, a search by what the outputs
change by stands next to the best other scope. Without models one is trained:
those of `examples/compress_networks.py --keep` are ready.
"""

import functools

import keras
import numpy as np

import tf_lottery as tfl
from tests.benchmarks import harness

_CASES = (
    ("50 %", 0.5, "unstructured"), ("60 %", 0.6, "unstructured"),
    ("2:4", 0.5, "2:4"),
)


def main():
    parser = harness.parser(__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL.keras")
    args = parser.parse_args()
    data, rows = tfl.experiments.load("cifar10_16x16"), []
    for path in args.models or [None]:
        model = keras.models.load_model(path) if path else _trained(data)
        rows += _rows(model, data, 1 if args.quick else 8)
    harness.report(__doc__.splitlines()[0], rows, args.json)


def _trained(data):
    model = tfl.experiments.models.resnet_20_narrow((16, 16, 3), seed=0)
    x, y = data.x_train[:-5000], data.y_train[:-5000]
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(
            3e-3, 14 * -(-len(x) // 128)
        )),
        keras.losses.SparseCategoricalCrossentropy(True), metrics=["accuracy"],
    )
    model.fit(x, y, batch_size=128, epochs=14, verbose=0)
    return model


def _rows(model, data, iterations):
    number = len(data.x_train) - 5000
    some = data.x_train[np.linspace(0, number - 1, 1024).astype(int)]
    held = (
        np.concatenate([data.x_val, data.x_test]),
        np.concatenate([data.y_val, data.y_test]),
    )

    def drop(pruned):
        tfl.recalibrate(pruned, some)
        if not pruned.compiled:
            pruned.compile(loss=model.loss, metrics=["accuracy"])
        return dense - pruned.evaluate(*held, verbose=0)[1]

    def lost(sparsity, pattern, criterion, scope, iterations=1):
        pruned = tfl.strip(model)
        tfl.prune(
            pruned, sparsity, criterion, scope, pattern, data=some,
            iterations=iterations,
        )
        return drop(pruned)

    def narrowed(scope):
        return drop(tfl.structured.shrink(model, tfl.structured.plan(
            model, macs=0.8, scope=scope, data=some
        )))

    dense = model.evaluate(*held, verbose=0)[1]
    for name, sparsity, pattern in _CASES:
        magnitude = min(
            lost(sparsity, pattern, "magnitude", scope)
            for scope in ("layer", "global")
        )
        obc = lost(sparsity, pattern, "obc", "global", iterations)
        yield harness.Row(
            f"{name}: accuracy lost by \"obc\" / by magnitude",
            obc / max(magnitude, 1e-9), 0.5, "x",
            f"{100 * obc:.2f} / {100 * magnitude:.2f} points of "
            f"{100 * dense:.2f} %",
        )
    for name, run, scopes in (
        ("70 % by magnitude", functools.partial(
            lost, 0.7, "unstructured", "magnitude"
        ), ("layer", "global", "erk")),
        ("70 % by \"obc\"", functools.partial(
            lost, 0.7, "unstructured", "obc"
        ), ("layer", "global")),
        ("channels, 80 % of the MACs", narrowed, (
            "layer", "global", "isomorphic"
        )),
    ):
        found = {scope: run(scope) for scope in (*scopes, "search")}
        best = min(found[scope] for scope in scopes)
        yield harness.Row(
            f"{name}: accuracy lost by a search / by the best other scope",
            found["search"] / max(best, 1e-9), 1.0, "x",
            ", ".join(f"{s} {100 * v:.2f}" for s, v in found.items()),
        )


if __name__ == "__main__":
    main()
