"""Collecting: results of the tasks of a preset, in their order."""

import dataclasses
import functools

from tf_lottery.experiments import compared_tickets
from tf_lottery.experiments import histories
from tf_lottery.experiments import progress as progress_lib
from tf_lottery.experiments import records
from tf_lottery.experiments import trials
from tf_lottery.jobs import tasks
from tf_lottery.verdicts import comparisons
from tf_lottery.verdicts import rules


class Collector(progress_lib.Follower):
    """Lists the tasks of a preset, and reports their results in any order."""

    def __init__(self, report, directory, progress):
        super().__init__(progress)
        self._report, self._preset = report, report.preset
        self._directory = directory
        self._trials, self._actions = {}, {}

    def tasks(self):
        """Returns the tasks to begin with: the rounds of each trial."""
        return [
            self._task(
                number, "rounds", self._add_rounds, trials.find_tickets,
                cost=self._preset.rounds + 1,
            )
            for number in range(self._preset.trials)
        ]

    def done(self, task, result):
        return self._actions.pop(task.key)(result)

    def _task(self, number, name, action, function, *arguments, cost=1.0):
        """A task of a trial, and what is done with its result."""
        # What other machines call it, too.
        path = self._directory.trial(number).path.absolute()
        task = tasks.Task(
            f"trial-{number}/{name}", function,
            (self._preset, path, number, *arguments),
            group=f"trial-{number}", cost=cost,
        )
        self._actions[task.key] = action
        return task

    def _add_rounds(self, found):
        trial = _Trial(self._preset, found)
        self._trials[found.number] = trial
        self._save()
        return [*self._controls(trial), *self._variants(trial)]

    def _controls(self, trial):
        """The controls that no earlier process has trained."""
        place, missing = self._directory.trial(trial.number), []
        for what in trial.controls:
            path = place.control(*what)
            add = functools.partial(self._add_control, trial, what, path)
            if path.exists():
                self._progress.skip(len(histories.read(path)))
                add(None)
            else:
                missing.append(self._task(
                    trial.number, path.stem, add, trials.train_control,
                    *what,
                ))
        return missing

    def _variants(self, trial):
        if len(trial.found.rounds) < 2:
            return []
        place = self._directory.trial(trial.number)
        return [
            self._task(
                trial.number, place.variant(name).path.name,
                functools.partial(self._add_variant, trial, name),
                trials.run_variant, name, cost=self._preset.rounds,
            )
            for name in trials.variants(self._preset)
        ]

    def _add_control(self, trial, what, path, _):
        logs, every = histories.read(path), self._preset.evaluate_every
        steps = self._preset.iterations
        if what[1] == comparisons.EQUAL_COMPUTE:
            steps = len(logs) * every
        trial.outcomes[what] = records.Outcome.of(logs, steps, every)
        round_ = what[0]
        if trial.is_compared(round_):
            self._progress.controls_end(
                trial.number, trial.record.rounds[round_]
            )
            self._save()
        return ()

    def _add_variant(self, trial, name, outcomes):
        trial.variants[name] = outcomes
        self._save()
        return ()

    def _save(self):
        self._report.trials[:] = [
            self._trials[number].record for number in sorted(self._trials)
        ]
        self._directory.save(self._report)


class _Trial:
    """The rounds of a trial, and what came of its comparisons so far."""

    def __init__(self, preset, found):
        self.found, self.number = found, found.number
        self.outcomes, self.variants = {}, {}
        self._names = list(trials.variants(preset))
        whole = (comparisons.FULL_LENGTH, 0)
        steps = [each.outcome.steps for each in found.rounds]
        self.controls = [
            (number, *control)
            for number in rules.controlled_rounds(
                {each.round: each.density for each in found.rounds[1:]},
                preset.test_densities, preset.control_every,
            )
            for control in (whole, *compared_tickets.names(preset))
            if control != whole or steps[number] < steps[0]
        ]

    def is_compared(self, round):
        return all(
            what in self.outcomes for what in self.controls if what[0] == round
        )

    @property
    def record(self):
        """`records.Trial`, with the controls of rounds that have them all."""
        return dataclasses.replace(
            self.found, rounds=list(map(self._with_outcomes, self.found.rounds))
        )

    def _with_outcomes(self, round_):
        found = {}
        if self.is_compared(round_.round):
            for what in self.controls:
                if what[0] == round_.round:
                    found.setdefault(what[1], []).append(self.outcomes[what])
        for name in self._names:
            outcomes = self.variants.get(name, {})
            if round_.round in outcomes:
                found[name] = [outcomes[round_.round]]
        (own,) = found.pop(comparisons.FULL_LENGTH, [round_.outcome])
        return dataclasses.replace(round_, outcome=own, controls=found)
