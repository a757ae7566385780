"""What is told while an experiment runs."""

import keras


class Progress:
    """Is told what happens; does nothing. Subclasses show it."""

    def begin(self, preset):
        """Called once, when the data is loaded.

        Args:
            preset: `Preset`.
        """

    def epoch_end(self):
        """Called after each epoch of each training."""

    def round_end(self, trial, result):
        """Called after each round of pruning.

        Args:
            trial: Integer, number of the trial.
            result: `tf_lottery.results.RoundResult`.
        """

    def controls_end(self, trial, round_):
        """Called after the controls of a ticket were trained.

        Args:
            trial: Integer, number of the trial.
            round_: `tf_lottery.experiments.records.Round`.
        """


class Watch(keras.callbacks.Callback):
    """Tells a `Progress` about the epochs and rounds of a `fit`.

    Args:
        progress: `Progress`.
        trial: Integer, number of the trial.
        imp: The `IterativeMagnitudePruning` of the fit, which must come
            earlier in the list of callbacks, or `None`.
    """

    def __init__(self, progress, trial, imp=None):
        super().__init__()
        self._progress = progress
        self._trial = trial
        self._imp = imp
        self._seen = 0

    def on_epoch_end(self, epoch, logs=None):
        self._progress.epoch_end()
        if self._imp is not None and len(self._imp.results) > self._seen:
            self._seen = len(self._imp.results)
            self._progress.round_end(self._trial, self._imp.results[-1])
