"""A model, its data and the measuring of one trial."""

import keras
import numpy as np

from tf_lottery import weights as weights_lib
from tf_lottery.analysis import sources
from tf_lottery.experiments import compacting
from tf_lottery.experiments import feeds
from tf_lottery.experiments import histories
from tf_lottery.experiments import models
from tf_lottery.experiments import optimizers
from tf_lottery.experiments import progress as progress_lib

_PURPOSES = ("weights", "order", "controls")


class Bench:
    """Trains and measures. One compiled model serves a whole trial.

    So its train step is traced once. `change` makes another model of the
    preset's.
    """

    def __init__(self, preset, data, number=0, progress=None, change=None):
        self.preset, self.data, self.number = preset, data, number
        self.progress = progress or progress_lib.Progress()
        self.model = _compiled_model(
            preset, data, self.seed("weights"), change
        )
        self.feed = feeds.feed(preset, data, self.seed("order"))

    def seed(self, purpose, *numbers):
        """Returns the seed for one of `_PURPOSES`, told apart by numbers."""
        return seed(self.preset, self.number, purpose, *numbers)

    def fit(self, epochs, imp=None, callbacks=(), shared=0, measured=True):
        """Trains; returns the logs of each epoch, evaluated if `measured`.

        Another fit has trained `shared` epochs of `imp`.
        """
        if imp:
            imp.data_follow_steps = True
        watch = progress_lib.Watch(self.progress, self.number, imp, shared)
        compact = compacting.Compacting(self.preset, self.feed.test, imp)
        # The test set is measured before the model is rewound, the batches
        # are chosen after it.
        history = self.model.fit(
            self.feed.batches.dataset,
            steps_per_epoch=self.feed.batches.steps,
            validation_data=self.feed.validation if measured else None,
            epochs=epochs,
            callbacks=[
                *([self.feed.test] if measured else []),
                *([imp] if imp else []),
                *([compact] if self.preset.compact else []),
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

    def train(self, ticket, measured=True):
        """Trains a ticket to the end of a round; returns the logs."""
        ticket.apply(self.model)
        steps = self.preset.iterations - ticket.snapshot.step
        epochs = steps // self.preset.evaluate_every
        return self.fit(epochs, measured=measured)

    def retrain(self, ticket, order=0):
        """Trains a ticket in an order of the data; returns its test accuracy.

        The model is left as it was trained, the order is that of the trial
        again.
        """
        self.reorder(order)
        self.train(ticket, measured=False)
        self.reorder(0)
        return self.evaluate()["test_accuracy"]

    def weights(self):
        """Returns the model's weights by key, the states of seeds left out."""
        seeds = {
            key for key, variable in weights_lib.variables(self.model).items()
            if weights_lib.is_seed(variable)
        }
        found = sources.weights(self.model)
        return {key: found[key] for key in found if key not in seeds}

    def reorder(self, number):
        """Chooses the order of the training data; 0 is that of this trial."""
        numbers = (number,) if number else ()
        self.feed.batches.reseed(self.seed("order", *numbers))

    def evaluate(self):
        logs = self.model.evaluate(
            self.feed.validation, verbose=0, return_dict=True
        )
        self.feed.test.set_model(self.model)
        self.feed.test.on_epoch_end(0, logs)
        return logs


def seed(preset, trial, purpose, *numbers):
    """Returns the seed for a purpose in a trial, see `Bench.seed`."""
    purpose = _PURPOSES.index(purpose)
    entropy = (preset.seed, trial, purpose, *numbers)
    # Keras takes seeds below 2 ** 31.
    return int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1)


def _compiled_model(preset, data, seed, change):
    model = models.get(preset.model)(data.image_shape, data.classes, seed)
    model = model if change is None else change(model)
    model.compile(
        optimizer=optimizers.of(preset),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=preset.steps_per_execution,
    )
    return model
