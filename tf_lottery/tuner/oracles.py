"""keras-tuner's oracles, which lose nothing when a process dies."""

import json
import time

from keras_tuner.src.engine import stateful

from tf_lottery import files
from tf_lottery.tuner.library import keras_tuner

_UNFINISHED = ("RUNNING", "INVALID")
# Failed trials are results here. Errors end a search in `TicketTuner`.
_ENDLESS = 2**31


class _WrittenWhole(stateful.Stateful):
    """Stands below `Oracle`, and writes what that wants to have saved."""

    def save(self, fname):
        text = json.dumps(self.get_state())
        files.write_text(fname, text)
        return text


class _Oracle:
    """What all oracles here do; comes before one of keras-tuner's.

    On a chief it knows when each worker was heard of last, from one thread.
    """

    def __init__(self, is_chief=False, **kwargs):
        super().__init__(
            max_consecutive_failed_trials=_ENDLESS,
            # The trial of a worker that died may run once more.
            max_retries_per_trial=int(is_chief),
            **kwargs,
        )
        self.verbose = 0
        self.is_chief = is_chief
        self.listener = None
        self.heard = {}
        self._interrupted = {}

    def create_trial(self, tuner_id):
        self.hear(tuner_id)
        return super().create_trial(tuner_id)

    def get_trial(self, trial_id):
        for tuner_id, trial in self.ongoing_trials.items():
            if trial.trial_id == trial_id:
                self.hear(tuner_id)
        return super().get_trial(trial_id)

    def end_trial(self, trial):
        if trial.trial_id in self._retry_queue:
            self._retry_queue.remove(trial.trial_id)
        super().end_trial(trial)
        # Only now it is not ongoing any more.
        self.save()
        if self.listener is not None:
            self.listener(self.trials[trial.trial_id])

    def hear(self, tuner_id):
        self.heard[tuner_id] = time.monotonic()

    def give_up(self, seconds):
        """Gives trials of silent workers to others; the second time they fail.
        """
        now = time.monotonic()
        for tuner_id in [*self.tuner_ids]:
            if now - self.heard.get(tuner_id, now) < seconds:
                continue
            self.tuner_ids.discard(tuner_id)
            trial = self.ongoing_trials.get(tuner_id)
            if trial is not None:
                trial.status = "INVALID"
                trial.message = (
                    f"Worker '{tuner_id}' was not heard of for {seconds:g} s."
                )
                self.end_trial(trial)

    def set_state(self, state):
        super().set_state(state)
        self._interrupted = dict(self.ongoing_trials)

    def reload(self):
        super().reload()
        # Its files tell of a trial when it began or ended, the oracle's file
        # a moment later.
        left = [
            trial_id for trial_id, trial in sorted(self.trials.items())
            if trial.status in _UNFINISHED
        ]
        if self.is_chief:
            # Workers may have gone on while there was no chief.
            self.ongoing_trials = {
                tuner_id: self.trials[trial.trial_id]
                for tuner_id, trial in self._interrupted.items()
                if trial.trial_id in left
            }
            for tuner_id, trial in self.ongoing_trials.items():
                self.tuner_ids.add(tuner_id)
                self.hear(tuner_id)
                left.remove(trial.trial_id)
        self._retry_queue = left[::-1]
        for trial_id in left:
            self._run_times[trial_id] = 0

    def _save_trial(self, trial):
        # keras-tuner's own writes a file that a kill leaves half.
        trial_id = trial.trial_id
        files.write_text(
            f"{self._get_trial_dir(trial_id)}/trial.json",
            json.dumps(trial.get_state()),
        )


class RandomOracle(
    _Oracle, keras_tuner.oracles.RandomSearchOracle, _WrittenWhole
):
    """Random search."""


class HyperbandOracle(
    _Oracle, keras_tuner.oracles.HyperbandOracle, _WrittenWhole
):
    """Hyperband, https://arxiv.org/abs/1603.06560."""

    def __init__(self, max_trials=None, **kwargs):
        super().__init__(**kwargs)
        self.max_trials = max_trials


class BayesianOracle(
    _Oracle, keras_tuner.oracles.BayesianOptimizationOracle, _WrittenWhole
):
    """Bayesian optimisation with a Gaussian process."""
