"""A model, its data and the measuring of one trial."""

import keras
import numpy as np

from tf_lottery.experiments import feeds
from tf_lottery.experiments import histories
from tf_lottery.experiments import models
from tf_lottery.experiments import optimizers
from tf_lottery.experiments import progress as progress_lib
from tf_lottery.experiments import records

_PURPOSES = ("weights", "order", "controls")


class Bench:
    """Trains and measures. One compiled model serves a whole trial.

    So its train step is traced once for all rounds and comparisons.

    Args:
        preset: `tf_lottery.experiments.Preset`.
        data: What `feeds.load` returned.
        number: Integer, number of the trial. Defaults to 0.
        progress: `progress.Progress`. Defaults to silence.
    """

    def __init__(self, preset, data, number=0, progress=None):
        self.preset, self.number = preset, number
        self.progress = progress or progress_lib.Progress()
        self.model = _compiled_model(preset, data, self.seed("weights"))
        self.feed = feeds.feed(preset, data, self.seed("order"))

    def seed(self, purpose, *numbers):
        """Returns the seed for a purpose in this trial.

        Args:
            purpose: `"weights"`, `"order"` or `"controls"`.
            *numbers: Integers that tell seeds of one purpose apart.
        """
        purpose = _PURPOSES.index(purpose)
        entropy = (self.preset.seed, self.number, purpose, *numbers)
        # Keras takes seeds below 2 ** 31.
        return int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1)

    def fit(self, epochs, imp=None, callbacks=(), shared=0):
        """Trains; returns the logs of each epoch.

        Args:
            epochs: Integer.
            imp: `IterativeMagnitudePruning`, or `None` for one training.
            callbacks: Others, which see what `imp` adds to the logs.
            shared: Integer, epochs of the logs that another fit has trained.
        """
        watch = progress_lib.Watch(self.progress, self.number, imp, shared)
        # The test set is measured before the model is rewound, the batches
        # are chosen after it.
        history = self.model.fit(
            self.feed.batches.dataset,
            steps_per_epoch=self.feed.batches.steps,
            validation_data=self.feed.validation,
            epochs=epochs,
            callbacks=[
                self.feed.test,
                *([imp] if imp else []),
                *callbacks,
                self.feed.batches,
                watch,
            ],
            shuffle=False,
            verbose=0,
        )
        logs = histories.rows_of(history)
        # A run that was finished before trains no epoch.
        watch.know(len(logs))
        return logs

    def train(self, ticket):
        """Trains a ticket to the end of a round; returns the logs."""
        ticket.apply(self.model)
        steps = self.preset.iterations - ticket.snapshot.step
        return self.fit(steps // self.preset.evaluate_every)

    def evaluate(self):
        """Evaluates on validation and test set; returns the logs."""
        logs = self.model.evaluate(
            self.feed.validation, verbose=0, return_dict=True
        )
        self.feed.test.set_model(self.model)
        self.feed.test.on_epoch_end(0, logs)
        return logs

    def outcome(self, logs):
        """Returns the `records.Outcome` of the logs of one training."""
        return records.Outcome.of(
            logs, self.preset.iterations, self.preset.evaluate_every
        )


def _compiled_model(preset, data, seed):
    model = models.get(preset.model)(data.image_shape, data.classes, seed)
    model.compile(
        optimizer=optimizers.of(preset),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=preset.steps_per_execution,
    )
    return model
