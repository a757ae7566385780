"""Rounds that train what masks have left of a network alone."""

import warnings

import keras

from tf_lottery import holding
from tf_lottery.experiments import optimizers
from tf_lottery.structured import standins
from tf_lottery.structured import vacancies

# The multiplications that a round must save for a smaller network to be made:
# several times as long as that takes on two cores.
_WORTH = 5e10
_STEPS = ("train_function", "test_function")


def warn_if_left_alone(preset, model):
    """Warns if rounds always train the whole network; compiles the model."""
    model.compile(optimizers.of(preset))
    try:
        vacancies.Vacancies(model, {})
        reason = standins.reason(model)
    except ValueError as error:
        reason = str(error)
    if reason is not None:
        warnings.warn(
            "Argument `compact` changes nothing, all rounds train the whole "
            f"network: {reason}.",
            stacklevel=3,
        )


class Compacting(keras.callbacks.Callback):
    """Lets a `StandIn` train and evaluate for a model; comes after `imp`.

    The model has its own weights, slots, masks and metrics back before any
    callback hears of the end of a batch. Whether it pays follows from masks
    and numbers of steps, so that a run that was interrupted ends as it would
    have.
    """

    def __init__(self, preset, test, imp=None):
        super().__init__()
        self._steps = preset.iterations - preset.rewind_step
        self._batch_size = preset.batch_size
        self._test, self._imp = test, imp
        self._round = None

    def on_train_begin(self, logs=None):
        # A fit that has failed may have left a smaller one.
        self._restore()

    def on_epoch_begin(self, epoch, logs=None):
        round = self._imp.round if self._imp else 0
        if round != self._round:
            self._round = round
            self._restore()
            self._replace()

    def on_train_end(self, logs=None):
        self._restore()

    def _replace(self):
        masks = holding.masks_of(self.model)
        if all(mask.all() for mask in masks.values()):
            return
        try:
            found = vacancies.Vacancies(self.model, masks)
        except ValueError:
            return
        saved = found.saved(self._batch_size) * self._steps
        if saved < _WORTH or standins.reason(self.model, found.cut):
            return
        standin = standins.StandIn(self.model, masks, found)
        small = standin.model
        small.make_train_function()
        small.make_test_function()

        def train_function(iterator):
            logs = small.train_function(iterator)
            standin.give()
            return logs

        def test_function(iterator):
            return small.test_function(iterator)

        # Keras looks for layers in what is set in the usual way.
        attributes = vars(self.model)
        for function in (train_function, test_function):
            function.whole = attributes[function.__name__]
            attributes[function.__name__] = function
        self._test.set_model(small)

    def _restore(self):
        attributes = vars(self.model)
        for name in _STEPS:
            function = attributes.get(name)
            function = getattr(function, "unguarded", function)
            if hasattr(function, "whole"):
                attributes[name] = function.whole
        self._test.set_model(self.model)
