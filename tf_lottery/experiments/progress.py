"""Progress of an experiment, as it is told."""

from typing import Any

import keras

from tf_lottery.experiments import presets
from tf_lottery.experiments import records
from tf_lottery.jobs import tasks
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
        """Called before the rounds of a comparison, or of a rewinding point."""

    def epoch_end(self) -> None:
        """Called after each epoch of each training."""

    def round_end(self, trial: int, result: results_lib.RoundResult) -> None:
        """Called after each round of pruning."""

    def controls_end(self, trial: int, round_: records.Round) -> None:
        """Called after the controls of a ticket were trained."""

    def workers(self, pulses: list[dict[str, Any]]) -> None:
        """Called about twice a second with the `jobs.pulses` of others."""


class Watch(keras.callbacks.Callback):
    """Tells a `Progress` about the epochs and rounds of a `fit`, after `imp`.

    Another fit has trained `shared` epochs for this one.
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


class Report(Progress):
    """The progress of one task, told to other processes by its pulse."""

    def __init__(self, pulse):
        self._pulse = pulse
        self._values = {"epochs": 0, "skipped": 0, "begin": [], "rounds": []}
        self.beat(now=True)

    def beat(self, now=False):
        """Tells how far it is, if it is time to."""
        self._pulse.beat(self._values, now)

    def end(self):
        self.beat(now=True)

    def trial_begin(self, trial):
        self._values["begin"] = ["trial_begin", trial]

    def variant_begin(self, trial, name):
        self._values["begin"] = ["variant_begin", trial, name]

    def skip(self, epochs):
        self._values["skipped"] += epochs

    def epoch_end(self):
        self._values["epochs"] += 1
        self.beat()

    def round_end(self, trial, result):
        self._values["rounds"].append([trial, result.to_dict()])
        self.beat(now=True)


class Follower(tasks.Listener):
    """Shows the progress of tasks that other processes do, each task once."""

    def __init__(self, progress):
        self._progress, self._epochs, self._rounds = progress, {}, set()

    def pulses(self, pulses):
        for pulse in pulses:
            if "epochs" in pulse:
                self._follow(pulse)
        if pulses:
            self._progress.workers(pulses)

    def _follow(self, pulse):
        key, skipped = pulse["key"], pulse["skipped"]
        seen = self._epochs.setdefault(key, 0)
        if skipped > seen:
            self._progress.skip(skipped - seen)
            seen = skipped
        for _ in range(seen, skipped + pulse["epochs"]):
            self._progress.epoch_end()
        self._epochs[key] = max(seen, skipped + pulse["epochs"])
        for trial, values in pulse["rounds"]:
            if (key, values["round"]) not in self._rounds:
                self._rounds.add((key, values["round"]))
                name, *arguments = pulse["begin"]
                getattr(self._progress, name)(*arguments)
                result = results_lib.RoundResult.from_dict(values)
                self._progress.round_end(trial, result)
