"""Networks to compress, trained here or by others, and their examples."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable

import keras
import numpy as np
import shrink_transformer
from laboratory import sensing

import tf_lottery as tfl
from tf_lottery import experiments
from tf_lottery import files
from tf_lottery.export import children
from tf_lottery.export import metrics
from tf_lottery.export import samples

models = experiments.models
SAMPLES = 1024


@dataclasses.dataclass(frozen=True)
class Network:
    """A network, how it is trained, and what of it is to be small.

    Attributes:
        data: String, a data set of `experiments.load`, or a task of
            `sensing`, which brings its network along.
        build: Function of the shape of an example and a seed.
        epochs: Integer; 0 for one that comes trained, without labels.
        rate: Float, the first learning rate of Adam, which falls to zero.
        batch: Integer, of training.
        max_drop: Float, by how much the metric may be worse.
        target: String, see `tfl.compress`.
        quantize: The same.
        files: Integer, the batch size that is fixed in files, or `None`.
        finish: Function of the trained network and its training inputs that
            returns what takes its place, or `None`.
    """

    data: str
    build: Callable[..., keras.Model] | None = None
    epochs: int = 0
    rate: float = 0.0
    batch: int = 64
    max_drop: float = 0.01
    target: str = "size"
    quantize: str = "int8"
    files: int | None = None
    finish: Callable[[keras.Model, np.ndarray], keras.Model] | None = None

    def __str__(self):
        if not self.epochs:
            return f"{self.data}, trained by others, judged by agreement"
        return (
            f"{self.data}, Adam {self.rate} falling along a cosine, "
            f"{self.epochs} epochs"
        )


def transformer(shape, seed):
    """The transformer of `shrink_transformer.py`, narrower and half as deep.
    """
    keras.utils.set_random_seed(seed)
    return shrink_transformer.transformer(width=48, depth=2)


def mobilenet(shape, seed):
    """MobileNetV2 of a third of the width."""
    keras.utils.set_random_seed(seed)
    body = keras.applications.MobileNetV2(
        shape, alpha=0.35, include_top=False, weights=None, pooling="avg"
    )
    return keras.Model(
        body.input, keras.layers.Dense(10, name="logits")(body.output),
        name="mobilenet_v2",
    )


def renewed(model, x):
    """Statistics that move by a thousandth a step come late: they are anew."""
    tfl.recalibrate(model, x[:10000])
    return model


_LENET = functools.partial(
    Network, build=models.lenet_300_100, epochs=12, rate=1.2e-3, batch=60
)
NETWORKS = {
    "lenet_300_100": _LENET("mnist"),
    "resnet_20_narrow": Network(
        "cifar10_16x16", models.resnet_20_narrow, 14, 3e-3, 128
    ),
    "transformer": Network(
        "cifar10_16x16", transformer, 8, 2e-3, 256, quantize="dynamic",
        finish=lambda model, x: tfl.structured.centre(model),
    ),
    "mobilenet_v2": Network(
        "cifar10", mobilenet, 14, 3e-3, 128, finish=renewed
    ),
    "ds_cnn": Network("keywords", None, 8, 2e-3),
    "ds_cnn, flash": Network(
        "keywords", None, 8, 2e-3, target="ethos-u55-128", files=1
    ),
    "onet": Network("faces", max_drop=0.05),
    "bi_gru": Network("sleep", max_drop=0.1, files=1),
    "lenet_300_100 on digits": _LENET("digits", max_drop=0.02),
}


class Subject:
    """A network of one seed, and its examples.

    Those to choose on are the last 5,000 training examples, a fifth at most,
    or, where there are no labels, half of those held out.

    Attributes:
        network: `Network`.
        name: String, with the seed.
        model: `keras.Model`, trained; nobody changes it.
        train: Tuple of inputs and labels.
        choose: The same, to choose on.
        held: The same, on which nothing is chosen.
        some: Inputs to calibrate on.
        metric: Function of labels and outputs, or `None`: accuracy.
    """

    def __init__(self, name, seed, keep):
        self.network, self.name = NETWORKS[name], f"{name}-{seed}"
        self._seed = seed
        self._path = keep / f"{name.partition(',')[0]}-{seed}.keras"
        own = self.network.data in sensing.TASKS
        self._task = sensing.TASKS[self.network.data](seed) if own else None
        (x, y), others = _read(self.network.data, self._task)
        self.metric = None
        if self.network.epochs:
            number = len(x) - min(5000, len(x) // 5)
            self.train = x[:number], y[:number]
            self.choose = x[number:], y[number:]
            self.held = others
        else:
            self.metric = self._task.score
            self.train = x, np.zeros(len(x))
            half = len(others[0]) // 2
            self.choose, self.held = (
                keras.tree.map_structure(lambda a: a[rows], others)
                for rows in (slice(half), slice(half, None))
            )
        number = len(self.train[0])
        chosen = np.linspace(0, number - 1, min(SAMPLES, number)).round()
        self.some = self.train[0][chosen.astype(int)]

    @functools.cached_property
    def model(self):
        network = self.network
        if not network.epochs:
            return self._task.net
        if self._path.exists():
            return keras.saving.load_model(self._path)
        x, y = self.train
        model = self._task.net if self._task else network.build(
            x.shape[1:], seed=self._seed
        )
        epochs = network.epochs
        if network.data.startswith("cifar"):
            # Half the epochs of twice the examples.
            x, y = np.concatenate([x, x[:, :, ::-1]]), np.concatenate([y, y])
            epochs //= 2
        keras.utils.set_random_seed(self._seed)
        steps = epochs * -(-len(x) // network.batch)
        compile_like(model, network.rate, steps)
        model.fit(x, y, batch_size=network.batch, epochs=epochs, verbose=0)
        if network.finish:
            model = network.finish(model, x)
            compile_like(model, network.rate, steps)
        files.save_model(model, self._path)
        return model

    def reached(self, path):
        """Returns the metric of a file on the held-out examples."""
        x, y = self.held
        with contextlib.ExitStack() as stack:
            outputs = samples.outputs_of(
                children.started(stack, children.TENSORFLOW),
                pathlib.Path(path).read_bytes(), [x], self.network.files or 500,
            )
        return metrics.Metric(self.metric)(
            y, outputs if len(outputs) > 1 else outputs[0]
        )


def compile_like(model, rate, steps):
    """Compiles a model for a learning rate that falls to zero."""
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(rate, steps)
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def _read(name, task):
    """Returns training examples, and others."""
    if task:
        return task.train, task.test
    found = experiments.load(name)
    return (found.x_train, found.y_train), (
        np.concatenate([found.x_val, found.x_test]),
        np.concatenate([found.y_val, found.y_test]),
    )
