"""Feeds: the data that a preset trains, validates and tests on."""

import dataclasses

import keras

from tf_lottery.experiments import augmentation
from tf_lottery.experiments import datasets
from tf_lottery.experiments import pipeline
from tf_lottery.experiments import streaming


@dataclasses.dataclass(frozen=True, eq=False)
class Feed:
    """What one trial trains on, validates on (`evaluate`) and is tested by."""

    batches: keras.callbacks.Callback
    validation: object
    test: pipeline.TestAccuracy


def load(preset):
    """Returns the data of a preset: a `Data`, or a `Streamed`."""
    if preset.dataset in streaming.STREAMS:
        return streaming.Streamed(preset.dataset, preset.image_size)
    return datasets.load(preset.dataset)


def feed(preset, data, seed):
    """Returns the `Feed` of one trial."""
    sizes = preset.batch_size, preset.evaluate_every
    if isinstance(data, streaming.Streamed):
        return Feed(
            streaming.StreamedBatches(data, *sizes, seed),
            data.evaluation("val"),
            pipeline.TestAccuracy(data.evaluation("test")),
        )
    augment = augmentation.AUGMENTATIONS[preset.augment]
    return Feed(
        pipeline.Batches(data.x_train, data.y_train, *sizes, seed, augment),
        pipeline.evaluation(data.x_val, data.y_val),
        pipeline.TestAccuracy(pipeline.chunks(data.x_test, data.y_test)),
    )
