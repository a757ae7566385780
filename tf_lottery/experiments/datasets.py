"""Images to train on, split and standardised as in the papers."""

import contextlib
import dataclasses
import importlib.resources
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np

from tf_lottery.utils import checks

# Where tensorflow_datasets downloads from.
_HOSTS = {
    "mnist": "https://storage.googleapis.com",
    "fashion_mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
    ),
    "cifar10": "https://www.cs.toronto.edu",
    "cifar100": "https://www.cs.toronto.edu",
}


class DatasetUnavailableError(RuntimeError):
    """A data set is not on this machine and cannot be downloaded."""


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """One data set in three parts.

    Images are float32 of shape `(n, height, width, channels)`, each channel
    standardised with the mean and the standard deviation of the training
    part alone, so that nothing of the other two leaks into it. Labels are
    int32.
    """

    name: str
    classes: int
    x_train: np.ndarray
    y_train: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Tuple of integers, the shape of one image."""
        return self.x_train.shape[1:]

    @property
    def test_images(self) -> int:
        """Integer, the number of test images."""
        return len(self.y_test)


def load(name: str, split_seed: int = 0) -> Data:
    """Loads a data set by its name.

    Args:
        name: `"digits"` (8x8 images that come with tf_lottery), `"mnist"`,
            `"fashion_mnist"`, `"cifar10"`, `"cifar10_16x16"`, whose pixels
            are the means of two by two, or `"cifar100"` (through
            `tensorflow_datasets`, which honours the environment variable
            `TFDS_DATA_DIR` and downloads what it does not find).
        split_seed: Integer, seed of the split into training and validation
            part. Defaults to 0.

    Returns:
        `Data`: 1,000 / 350 / 447 images of `"digits"`, 55,000 / 5,000 /
        10,000 of MNIST and Fashion-MNIST, 45,000 / 5,000 / 10,000 of CIFAR.

    Raises:
        ValueError: If there is no data set of that name.
        DatasetUnavailableError: If it is not there and cannot be downloaded.

    Example:

    >>> data = tfl.experiments.load("digits")
    >>> data.x_train.shape, data.x_val.shape, data.x_test.shape
    ((1000, 8, 8, 1), (350, 8, 8, 1), (447, 8, 8, 1))
    """
    checks.choice("name", name, LOADERS)
    checks.seed("split_seed", split_seed)
    train, val, test = LOADERS[name](name, np.random.default_rng(split_seed))
    tables = [
        _standardiser(train[0][..., channel])
        for channel in range(train[0].shape[-1])
    ]
    arrays = []
    for images, labels in (train, val, test):
        arrays += [_look_up(tables, images), labels.astype("int32")]
    return Data(name, int(train[1].max()) + 1, *arrays)


def import_tfds(name):
    """Imports and returns `tensorflow_datasets`, or says what to do."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            f"Data set {name!r} needs tensorflow-datasets: {error}. Install "
            "it: pip install 'tf_lottery[data]'"
        ) from error
    return tensorflow_datasets


def _standardiser(images):
    """Returns a table from the values of a channel to standardised ones."""
    counts = np.zeros(256, "int64")
    for chunk in np.array_split(images, 50):
        counts += np.bincount(chunk.ravel(), minlength=256)
    values = np.arange(256)
    mean = np.average(values, weights=counts)
    std = np.sqrt(np.average((values - mean) ** 2, weights=counts))
    return ((values - mean) / std).astype("float32")


def _look_up(tables, images):
    standardised = np.empty(images.shape, "float32")
    for channel, table in enumerate(tables):
        standardised[..., channel] = table[images[..., channel]]
    return standardised


def _digits(name, rng):
    resource = importlib.resources.files(__package__) / "data" / "digits.npz"
    with resource.open("rb") as file:
        with np.load(file, allow_pickle=False) as content:
            images, labels = content["images"][..., None], content["labels"]
    return _cut(images, labels, rng, (1000, 350, 447))


def _from_tfds(name, rng):
    whole = _read_tfds(name)
    images, labels = whole["train"]
    train, val = _cut(images, labels, rng, (len(images) - 5000, 5000))
    return train, val, whole["test"]


def _halved(name, rng):
    return [
        (_means_of_four(images), labels)
        for images, labels in _from_tfds("cifar10", rng)
    ]


LOADERS: dict[str, Callable[[str, np.random.Generator], Any]] = {
    "digits": _digits,
    "mnist": _from_tfds,
    "fashion_mnist": _from_tfds,
    "cifar10": _from_tfds,
    "cifar10_16x16": _halved,
    "cifar100": _from_tfds,
}


def _means_of_four(images):
    n, height, width, channels = images.shape
    blocks = images.reshape(n, height // 2, 2, width // 2, 2, channels)
    return blocks.mean((2, 4), dtype="float32").round().astype("uint8")


def _cut(images, labels, rng, sizes):
    order = rng.permutation(len(images))
    parts = np.split(order, np.cumsum(sizes)[:-1])
    return [(images[part], labels[part]) for part in parts]


def _read_tfds(name):
    tfds = import_tfds(name)
    try:
        with _quiet_absl():
            # tensorflow_datasets itself looks only when it is imported.
            place = os.environ.get("TFDS_DATA_DIR")
            builder = tfds.builder(name, data_dir=place)
            if not builder.is_prepared():
                _check_network(_HOSTS[name])
                builder.download_and_prepare()
            return {
                split: _read_split(builder, split)
                for split in ("train", "test")
            }
    # Whatever goes wrong here (connection, disk, checksum, a damaged file),
    # the user needs to know the same thing.
    except Exception as error:
        raise _unavailable(name, error) from error


def _read_split(builder, split):
    """Returns the images and labels of a whole split.

    Parsing many records at a time takes a third of the time of `as_dataset`.
    """
    import tensorflow as tf

    if builder.info.file_format.value != "tfrecord":
        whole = builder.as_dataset(split, batch_size=-1, as_supervised=True)
        return tuple(tensor.numpy() for tensor in whole)

    channels = builder.info.features["image"].shape[-1]

    @tf.function
    def parse(records):
        found = tf.io.parse_example(
            records,
            {
                "image": tf.io.FixedLenFeature((), tf.string),
                "label": tf.io.FixedLenFeature((), tf.int64),
            },
        )
        images = tf.map_fn(
            lambda image: tf.io.decode_png(image, channels=channels),
            found["image"],
            fn_output_signature=tf.uint8,
        )
        return images, found["label"]

    paths = [str(path) for path in builder.info.splits[split].filepaths]
    records = tf.data.TFRecordDataset(paths).batch(5000)
    batches = [parse(batch) for batch in records]
    return tuple(np.concatenate(parts) for parts in zip(*batches))


@contextlib.contextmanager
def _quiet_absl():
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_network(host):
    """Fails within seconds; the download itself retries for minutes."""
    try:
        urllib.request.urlopen(host, timeout=10).close()
    except urllib.error.HTTPError:
        # It answered, whatever it thinks of the question.
        return


def _unavailable(name, error):
    place = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return DatasetUnavailableError(
        f"Data set {name!r} is not in '{place}' and could not be downloaded "
        f"({type(error).__name__}: {str(error)[:200]}). Set TFDS_DATA_DIR to "
        "the directory of a prepared copy, or run again with a network, or "
        "use `lenet-digits`, whose data comes with tf_lottery."
    )
