"""Progress of an experiment, as it is told."""

from typing import Any

import keras

from tf_lottery.experiments import presets
from tf_lottery.experiments import records
from tf_lottery.runs import results as results_lib


class Progress:
    """Is told what happens; does nothing. Subclasses show it."""

    def begin(self, preset: presets.Preset) -> None:
        """Called once, when the data is loaded."""

    def trial_begin(self, trial: int) -> None:
        """Called before the rounds of each trial."""

    def skip(self, epochs: int) -> None:
        """Called when an earlier process has trained epochs already."""

    def variant_begin(self, trial: int, name: str) -> None:
        """Called before the rounds of a variant of the pruning.

        Args:
            trial: Integer, number of the trial.
            name: String, one of `COMPARISONS` or a rewinding point.
        """

    def epoch_end(self) -> None:
        """Called after each epoch of each training."""

    def round_end(self, trial: int, result: results_lib.RoundResult) -> None:
        """Called after each round of pruning."""

    def controls_end(self, trial: int, round_: records.Round) -> None:
        """Called after the controls of a ticket were trained."""

    def workers(self, pulses: list[dict[str, Any]]) -> None:
        """Called about twice a second while other processes work.

        Args:
            pulses: List of dicts, one of each: `key` of its task, `host`,
                `pid`, `memory` in bytes.
        """


class Watch(keras.callbacks.Callback):
    """Tells a `Progress` about the epochs and rounds of a `fit`.

    `imp` must come earlier in the list of callbacks; `shared` epochs were
    trained by another fit for this one.
    """

    def __init__(self, progress, trial, imp=None, shared=0):
        super().__init__()
        self._progress = progress
        self._trial = trial
        self._imp = imp
        self._seen = None
        self._known = shared

    def on_epoch_begin(self, epoch, logs=None):
        if self._seen is None:
            self._seen = len(self._imp.results) if self._imp else 0
            self.know(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self._known += 1
        self._progress.epoch_end()
        if self._imp is not None and len(self._imp.results) > self._seen:
            self._seen = len(self._imp.results)
            self._progress.round_end(self._trial, self._imp.results[-1])

    def know(self, epochs):
        """Says how many epochs are done, whoever has trained them."""
        if epochs > self._known:
            self._progress.skip(epochs - self._known)
            self._known = epochs
