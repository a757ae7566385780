"""Images that do not fit into memory: ImageNet, read as it is needed."""

import os

import keras
import numpy as np

from tf_lottery.experiments import datasets
from tf_lottery.utils import backends
from tf_lottery.utils import checks
from tf_lottery.utils.backends import tf

# What every ImageNet model is trained with, in units of 0 to 255.
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)
_SPLITS = {"train": "train[1%:]", "val": "train[:1%]", "test": "validation"}
_SHUFFLED = 8192
_EVALUATED = 100


class Streamed:
    """A data set of JPEG images that `tensorflow_datasets` has prepared.

    The first hundredth of the training images is held out to validate; the
    official validation images are the test set. Training images are cropped at
    random (8 to 100 % of the area, aspect ratio 3/4 to 4/3), resized and
    mirrored half of the time; the others are cut to the middle 224/256.
    Reference: Szegedy et al. 2015, https://arxiv.org/abs/1409.4842.
    """

    def __init__(self, name, image_size):
        self.name = name
        self.image_shape = (image_size, image_size, 3)
        self._builder = _builder(name)
        self.classes = self._builder.info.features["label"].num_classes
        splits = self._builder.info.splits
        self.examples = splits[_SPLITS["train"]].num_examples
        self.test_images = splits[_SPLITS["test"]].num_examples

    def evaluation(self, part):
        """Returns a `tf.data.Dataset` of batches of `"val"` or `"test"`."""
        dataset = self._read(_SPLITS[part])
        dataset = dataset.map(
            lambda image, label: (self._centre(image), label),
            num_parallel_calls=-1,
        )
        return dataset.batch(_EVALUATED).prefetch(2)

    def one_pass(self, seed, number, batch_size, first):
        """Returns a pass, in an order of its own, from batch `first` on."""
        own = int(np.random.default_rng((seed, number)).integers(2**31))
        dataset = self._read(_SPLITS["train"], shuffle=own)
        dataset = dataset.shuffle(
            _SHUFFLED, own, reshuffle_each_iteration=False
        ).enumerate()
        # What is skipped is read, but not decoded.
        dataset = dataset.skip(first * batch_size).map(
            lambda i, found: (self._crop(found[0], (own, i)), found[1]),
            num_parallel_calls=-1,
        )
        return dataset.batch(batch_size, drop_remainder=True).prefetch(2)

    def _read(self, split, shuffle=None):
        tfds = datasets.import_tfds(self.name)
        options = tf.data.Options()
        options.deterministic = True
        return self._builder.as_dataset(
            split,
            as_supervised=True,
            shuffle_files=shuffle is not None,
            decoders={"image": tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(
                options=options,
                shuffle_seed=shuffle,
                shuffle_reshuffle_each_iteration=False,
                skip_prefetch=True,
                try_autocache=False,
            ),
        )

    def _crop(self, jpeg, seed):
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.io.extract_jpeg_shape(jpeg),
            tf.zeros((1, 0, 4)),
            seed,
            min_object_covered=0.0,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        window = tf.concat([begin[:2], size[:2]], 0)
        image = tf.image.decode_and_crop_jpeg(jpeg, window, channels=3)
        image = tf.image.stateless_random_flip_left_right(image, seed)
        return self._finished(image)

    def _centre(self, jpeg):
        shape = tf.io.extract_jpeg_shape(jpeg)[:2]
        side = tf.reduce_min(shape) * 224 // 256
        begin = (shape - side) // 2
        window = tf.concat([begin, [side, side]], 0)
        image = tf.image.decode_and_crop_jpeg(jpeg, window, channels=3)
        return self._finished(image)

    def _finished(self, image):
        image = tf.image.resize(image, self.image_shape[:2])
        image = tf.ensure_shape(image, self.image_shape)
        return (image - MEAN) / DEVIATION


class StreamedBatches(keras.callbacks.Callback):
    """A data set for `fit` that follows the optimizer's step.

    It is as `pipeline.Batches`, but a pass over the data ends with its last
    full batch. Where the next step is another one, after a rewind, reading
    starts again from there.
    """

    def __init__(self, images, batch_size, steps, seed=0):
        super().__init__()
        self.images = images
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self._passes = images.examples // batch_size
        if not self._passes:
            checks.refuse(
                "batch_size", batch_size, f"at most {images.examples}, the "
                "number of training images",
            )
        self._next = 0
        self._moved = True
        shapes = (batch_size, *images.image_shape), (batch_size,)
        self.dataset = backends.unbuffered(tf.data.Dataset.from_generator(
            self._generate,
            output_signature=(
                tf.TensorSpec(shapes[0], "float32"),
                tf.TensorSpec(shapes[1], "int64"),
            ),
        ))

    def on_epoch_begin(self, epoch, logs=None):
        step = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        self.move_to(step)

    def move_to(self, step):
        if step != self._next:
            self._next, self._moved = step, True

    def _generate(self):
        while True:
            number, first = divmod(self._next, self._passes)
            self._moved = False
            for batch in self.images.one_pass(
                self.seed, number, self.batch_size, first
            ):
                self._next += 1
                yield batch
                if self._moved:
                    break


def _builder(name):
    tfds = datasets.import_tfds(name)
    place = os.environ.get("TFDS_DATA_DIR")
    builder = tfds.builder(name, data_dir=place)
    if not builder.is_prepared():
        raise datasets.DatasetUnavailableError(
            f"Data set {name!r} is not in "
            f"'{place or '~/tensorflow_datasets'}'. Its images have to be "
            "downloaded by hand: see https://www.tensorflow.org/datasets/"
            f"catalog/{name}. Prepare it with `tfds build {name}`, and set "
            "TFDS_DATA_DIR to the directory."
        )
    return builder


STREAMS = ("imagenet2012",)
