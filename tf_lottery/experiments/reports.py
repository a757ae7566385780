"""Progress that another process shows."""

from tf_lottery.experiments import progress as progress_lib
from tf_lottery.jobs import tasks
from tf_lottery.runs import results


class Report(progress_lib.Progress):
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
    """Shows the progress of tasks, which other processes do, as well.

    A task that is done again is shown once.
    """

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
                result = results.RoundResult.from_dict(values)
                self._progress.round_end(trial, result)
