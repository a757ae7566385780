"""What zeros are worth on Arm's Ethos-U, by its compiler's estimate.

    python -m tests.benchmarks.ethos_u [--quick] [--json PATH]

LeNet-300-100 and a DS-CNN (arXiv 1711.07128, small) are trained on MNIST,
dense, then pruned in steps, and the DS-CNN clustered and trained for int8 as
well; the network of 18 M MACs has random weights.
Nothing runs on hardware. `--quick` trains on fewer images, and takes a small
MobileNetV2 for the time that exporting takes.
"""

import pathlib
import tempfile
import time

import keras

import tf_lottery as tfl
from tests.benchmarks import export_nets
from tests.benchmarks import harness
from tests.benchmarks import models
from tf_lottery import experiments
from tf_lottery import export

layers = keras.layers
_IMAGES = 12_000


def main():
    args = harness.parser(__doc__).parse_args()
    data = experiments.load("mnist")
    x, y = data.x_train, data.y_train
    if args.quick:
        x, y = x[:_IMAGES // 4], y[:_IMAGES // 4]
    test = data.x_test, data.y_test
    flat = [a.reshape(len(a), -1) for a in (x, test[0])]
    rows = lenet((flat[0], y), (flat[1], test[1]))
    rows += ds_cnn((x[:_IMAGES], y[:_IMAGES]), test)
    rows += [two_to_four(), export_time(args.quick)]
    harness.report("Ethos-U, estimated", rows, args.json)


def lenet(train, test):
    """Returns the rows of LeNet-300-100 on U55-128."""
    dense, pruned = _trained(models.lenet(), train, test, "ethos-u55-128")
    lost = 100 * (dense.metric - pruned.shipped.metric)
    a, b = dense.npu.file, pruned.npu.file
    return [
        _row("LeNet 95 %, U55-128: points lost to dense float", lost, 0.3,
             "points", f"{100 * pruned.shipped.metric:.2f} %"),
        _ratio("LeNet 95 %, U55-128: flash / dense", b.flash, a.flash, 1 / 10),
        _ratio("LeNet 95 %, U55-128: time / dense", b.cycles, a.cycles, 1 / 6),
        _ratio("LeNet 95 %: filled / trained dense, flash",
               pruned.npu.dense.flash, a.flash, 1.1),
    ]


def ds_cnn(train, test):
    """Returns the rows of DS-CNN on U55-128; depthwise layers stay dense."""
    dense, pruned = _trained(
        _ds_cnn(), train, test, "ethos-u55-128", (0.6, 0.8), "layer", 16
    )
    lost = 100 * (dense.metric - pruned.shipped.metric)
    a, b = dense.npu.file, pruned.npu.file
    net = "DS-CNN 80 %, 16 clusters, U55-128"
    return [
        _row(f"{net}: points lost to dense float", lost, 1.0, "points",
             f"{100 * pruned.shipped.metric:.2f} %"),
        _ratio(f"{net}: coded weights / dense", b.encoded_weights,
               a.encoded_weights, 1 / 3),
        _ratio(f"{net}: flash / dense", b.flash, a.flash, 1 / 2),
        _ratio(f"{net}: time / dense", b.cycles, a.cycles, None),
    ]


def _trained(
    net, train, test, target, steps=(0.5, 0.8, 0.9, 0.95), scope="global",
    clusters=None,
):
    """Trains, exports, prunes in steps; returns the reports of both."""
    _fit(net, train, 4)
    dense = _export(net, target, train[0], test)
    for sparsity in steps:
        tfl.prune(net, sparsity=sparsity, scope=scope)
        _fit(net, train, 2)
    if clusters:
        tfl.cluster(net, clusters)
        _fit(net, train, 2)
        net = tfl.quantize.aware(net)
        _fit(net, train, 2, 2e-4)
    return dense, _export(net, target, train[0], test)


def _fit(net, train, epochs, rate=1e-3):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
    net.fit(*train, batch_size=128, epochs=epochs, verbose=0)


def _ds_cnn(width=64, blocks=4):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(width, (10, 4), 2, "same", use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    for _ in range(blocks):
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Conv2D(width, 1, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(x))


def two_to_four():
    """Returns the row of 2:4 zeros, which U85 skips."""
    found = {}
    for pattern in (None, "unstructured", "2:4"):
        net = _cnn()
        if pattern:
            tfl.prune(net, sparsity=0.5, pattern=pattern)
        report = _export(net, "ethos-u85-256", export_nets.normal(net, 20))
        found[pattern] = report.npu.file.cycles
        macs = report.macs
    return _row(
        f"CNN of {macs / 1e6:.1f} M MACs, 2:4, U85-256: time / dense",
        found["2:4"] / found[None], 0.7, "x",
        f"unstructured 50 %: {found['unstructured'] / found[None]:.3f}",
    )


def _cnn():
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((32, 32, 3))])
    for width, stride in (
        (40, 1), (64, 2), (128, 2), (128, 2), (128, 1), (128, 1)
    ):
        net.add(layers.Conv2D(
            width, 3, stride, padding="same", activation="relu"
        ))
    net.add(layers.GlobalAveragePooling2D())
    net.add(layers.Dense(10))
    return net


def export_time(quick):
    """Returns the row of the wall time of an export with Vela."""
    import tensorflow as tf

    size, width = (96, 0.35) if quick else (224, 1.0)
    net = export_nets.prune(keras.applications.MobileNetV2(
        (size, size, 3), alpha=width, weights=None,
        # Shares of 1,000 classes, untrained, are less than an int8 step.
        classifier_activation=None,
    ), 0.8)
    x = export_nets.normal(net, 100)
    # Untrained and pruned, outputs would be less than an int8 step.
    tfl.recalibrate(net, x)

    def plain():
        converter = tf.lite.TFLiteConverter.from_keras_model(net)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [x[i:i + 1]] for i in range(len(x))
        )
        converter.convert()

    # Of its own the first conversion of a process takes longer.
    export_nets.converted(export_nets.lenet(0.5))
    seconds = [_seconds(plain), _seconds(
        lambda: _export(net, "ethos-u55-256", x)
    )]
    return _row(
        f"MobileNetV2-{width} {size}: export with Vela / plain conversion",
        seconds[1] / seconds[0], 3.0, "x",
        f"{seconds[1]:.1f} s / {seconds[0]:.1f} s",
    )


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _export(net, target, x, test=None):
    with tempfile.TemporaryDirectory() as directory:
        return export.tflite(
            net, pathlib.Path(directory, "m.tflite"), target,
            representative_data=x[:200], compare_on=test,
        )


def _ratio(what, found, dense, target):
    return _row(
        what, found / dense, target, "x", f"{found:,} / {dense:,}; Vela"
    )


def _row(what, reached, target, unit, note):
    return harness.Row(what, reached, target, unit, note)


if __name__ == "__main__":
    main()
