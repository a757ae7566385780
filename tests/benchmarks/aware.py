"""Training for int8: what it costs, what it saves, and TFMOT's beside it.

    python -m tests.benchmarks.aware [--quick] [--json PATH] [--directory DIR]
        [--only {step,mobilenet,tfmot}]

LeNet-300-100 on MNIST is pruned and clustered here; from the same weights it
is trained for int8 here, and by TFMOT in a process and environment of its own
(`python -m tests.benchmarks.peers tfmot`). MobileNetV2
(alpha 0.35) is trained on CIFAR-10, its file made without and with training
for int8. `--directory` keeps what was trained, and takes it from there.
"""

import pathlib
import tempfile

import keras
import numpy as np

import tf_lottery as tfl
from tests.benchmarks import harness
from tests.benchmarks import models
from tests.benchmarks import peers
from tf_lottery import experiments
from tf_lottery import export
from tf_lottery.export import encoding
from tf_lottery.export import entropy
from tf_lottery.export import flatbuffer
from tf_lottery.export import vela

# Sparsity and clusters of what TFMOT calls by these names.
_WAYS = {
    "QAT": (0.0, None), "PQAT": (0.8, None), "CQAT": (0.0, 16),
    "PCQAT": (0.8, 16),
}
_EPOCHS = 12


def main():
    parser = harness.parser(__doc__)
    parser.add_argument(
        "--directory", type=pathlib.Path, metavar="DIR",
        help="keeps what was trained; default: a temporary one",
    )
    parser.add_argument(
        "--only", choices=("step", "mobilenet", "tfmot"), help="a part of it"
    )
    args, rows = parser.parse_args(), []
    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as directory:
        place = args.directory or pathlib.Path(directory)
        if args.only in (None, "step"):
            rows.append(step(args.quick))
        if args.only in (None, "mobilenet"):
            rows += mobilenet(place, args.quick)
        if args.only in (None, "tfmot"):
            rows += tfmot(place, args.quick)
    harness.report("Training for int8", rows, args.json)


def step(quick):
    """Returns the row of the time of a training step of LeNet-300-100."""
    data = models.cached(*models.random_data((784,), 12_800), 128, 100)

    def make(change):
        net = _compiled(change(models.lenet()), 1e-3)
        return lambda: lambda: net.fit(data, verbose=0)

    times = harness.interleaved(
        {"dense": make(lambda net: net), "aware": make(tfl.quantize.aware)},
        *(1, 5) if quick else (3, 9),
    )
    return harness.ratio_row(
        times, "aware", "dense", 1.3, "LeNet: step with int8 / plain step"
    )


def mobilenet(place, quick):
    """Returns what files of MobileNetV2 lose, without and with training."""
    data = experiments.load("cifar10")
    # 1,000 test images tell too little: 10,000 are taken from the others.
    number = 2_000 if quick else 10_000
    train = data.x_train[:number], data.y_train[:number]
    test = (
        np.concatenate([data.x_train[-10_000:], data.x_test]),
        np.concatenate([data.y_train[-10_000:], data.y_test]),
    )
    epochs = 2 if quick else _EPOCHS
    net = _kept(
        place / f"mobilenet_{epochs}.keras",
        lambda: _trained(_mobilenet(data.image_shape), train, epochs, 2e-3),
    )
    aware = _kept(
        place / f"mobilenet_{epochs}_aware.keras",
        lambda: _trained(
            tfl.quantize.aware(net), train, max(1, epochs // 6), 1e-4
        ),
    )
    found = [_exported(m, train[0], test) for m in (net, aware)]
    base = found[0].metric
    return [
        harness.Row(
            f"MobileNetV2-0.35: points lost by int8, {how}",
            100 * (base - report.shipped.metric), target, "points",
            f"float {100 * base:.2f} %, {len(test[0]):,} images",
        )
        for report, how, target in zip(
            found, ("after training", "trained for it"), (None, 0.5)
        )
    ]


def _mobilenet(shape):
    keras.utils.set_random_seed(0)
    net = keras.applications.MobileNetV2(
        shape, alpha=0.35, weights=None, classes=10,
        classifier_activation=None,
    )
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Theirs is for a million steps.
            layer.momentum = 0.9
    return net


def tfmot(place, quick):
    """Returns files of TFMOT and of this package, from the same weights."""
    data, number = experiments.load("mnist"), 6_000 if quick else None
    train, test = (
        (x.reshape(len(x), -1)[:some], y[:some]) for x, y, some in (
            (data.x_train, data.y_train, number),
            (data.x_test, data.y_test, None),
        )
    )
    dense = _kept(
        place / "lenet.keras",
        lambda: _trained(models.lenet(), train, 3, 1e-3),
    )
    nets = {
        way: _kept(
            place / f"lenet_{way}.keras",
            lambda: _start(dense, train, *changes),
        ) for way, changes in _WAYS.items()
    }
    np.savez(
        place / "start.npz", x=train[0], y=train[1], **{
            f"{way}_{i}": array for way, net in nets.items()
            for i, array in enumerate(net.get_weights())
        },
    )
    if not all((place / f"{way}.tflite").exists() for way in _WAYS):
        reason = peers.why_not("tfmot")
        if reason:
            return [harness.Row("TFMOT", "skipped", note=reason)]
        peers.run("tfmot", "tfmot_aware_peer", place)
    rows = []
    for way, net in nets.items():
        aware = _trained(tfl.quantize.aware(net), train, 1, 2e-4)
        path = place / f"{way}_own.tflite"
        export.tflite(
            aware, path, "size", "int8", encoding="dense", seconds=0,
        )
        made = [
            _file(way, file, test)
            for file in (path, place / f"{way}.tflite")
        ]
        rows += [
            harness.Row(
                f"{way}, {who}: gzip -9", size, None, "bytes", note
            ) for who, (size, note) in zip(("tf_lottery", "TFMOT"), made)
        ]
    return rows


def _start(dense, train, sparsity, clusters):
    """Returns a copy of a trained LeNet, pruned and clustered."""
    net = keras.models.clone_model(dense)
    net.set_weights(dense.get_weights())
    if sparsity:
        tfl.prune(net, sparsity=sparsity, scope="layer")
        _trained(net, train, 2, 1e-3)
    if clusters:
        tfl.cluster(net, clusters)
        _trained(net, train, 1, 5e-4)
    return net


def _file(way, path, test):
    """Returns the compressed size of a file, and what else there is to say."""
    content = path.read_bytes()
    model = flatbuffer.read(content)
    kernels = [
        encoding.dense_values(model, use) for use in flatbuffer.weights(model)
    ]
    zeros = sum((k == 0).sum() for k in kernels) / sum(k.size for k in kernels)
    values = max(len(np.unique(k)) for k in kernels)
    flash = vela.compile(content, "ethos-u55-128")[1].flash / 1024
    return len(entropy.gzipped(content)), (
        f"{_accuracy(content, test):.2f} %, zeros {100 * zeros:.2f} %, at most "
        f"{values} values, flash {flash:.1f} KiB (Vela)"
    )


def _accuracy(content, test):
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=content)
    entry, = interpreter.get_input_details()
    end, = interpreter.get_output_details()
    interpreter.resize_tensor_input(entry["index"], test[0].shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(entry["index"], test[0].astype("float32"))
    interpreter.invoke()
    found = interpreter.get_tensor(end["index"]).argmax(-1)
    return 100 * float(np.mean(found == test[1]))


def _compiled(net, rate):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
    return net


def _trained(net, train, epochs, rate):
    steps = epochs * -(-len(train[0]) // 128)
    decay = keras.optimizers.schedules.CosineDecay(rate, steps)
    _compiled(net, decay).fit(
        *train, batch_size=128, epochs=epochs, verbose=0
    )
    return net


def _kept(path, make):
    if not path.exists():
        make().save(path)
    return tfl.load_model(path)


def _exported(net, x, test):
    with tempfile.TemporaryDirectory() as directory:
        return export.tflite(
            net, pathlib.Path(directory, "m.tflite"), "size", "int8",
            representative_data=x[:300], compare_on=test, seconds=0,
        )


if __name__ == "__main__":
    main()
