"""One trial: its tickets, and what they are compared with."""

import dataclasses

import keras

from tf_lottery import branches
from tf_lottery import callbacks as callbacks_lib
from tf_lottery import comparisons
from tf_lottery import results
from tf_lottery import schedules
from tf_lottery.experiments import compared_tickets
from tf_lottery.experiments import histories
from tf_lottery.experiments import records
from tf_lottery.verdicts import rules


class TrialRun:
    """Runs one trial in a directory, and resumes what is there.

    Args:
        bench: `tf_lottery.experiments.bench.Bench`.
        place: `tf_lottery.experiments.outputs.TrialDirectory`.
    """

    def __init__(self, bench, place):
        self.bench, self.place = bench, place
        self.preset = bench.preset

    def find_tickets(self):
        """Runs all rounds; returns a `records.Trial` without controls."""
        place = self.place
        self.imp = imp = self._pruning(place.path)
        keep = KeepCandidate(imp, place)
        points = {
            schedules.Point(steps=step): (
                place.variant(comparisons.of_point(step)).path
            )
            for step in self.preset.other_rewind_steps
        }
        logs = self._fit(
            imp, place.history,
            [
                keep,
                branches.KeepDense(imp, place.dense),
                branches.KeepPoints(
                    imp, points, self.preset.epochs_per_round
                ),
            ],
        )
        keep.finish(self.bench.model)
        found = results.candidate(imp.results, imp.monitor)
        return records.Trial(
            self.bench.number,
            self._rounds(imp, logs),
            None if found is None else found.round,
        )

    def add_controls(self, trial, save):
        """Trains what the tickets are compared with, into the trial.

        Args:
            trial: `records.Trial` that `find_tickets` returned.
            save: Callable, called after each ticket.
        """
        for index in rules.controlled_rounds(
            {each.round: each.density for each in trial.rounds[1:]},
            self.preset.test_densities, self.preset.control_every,
        ):
            trial.rounds[index] = self._with_controls(trial.rounds[index])
            save()
        if len(trial.rounds) < 2:
            return
        for name, arguments in self._variants().items():
            self._add_variant(trial, name, arguments)
            save()

    def _variants(self):
        """Returns the arguments of the callback, by name in files."""
        found = {
            each.key: {"rewind": each.rewind}
            for each in comparisons.of_flags(self.preset.compare)
            if each.rewind is not None
        }
        for point, step in zip(
            self.preset.also_rewind_to, self.preset.other_rewind_steps
        ):
            found[comparisons.of_point(step)] = {"rewind_to": point}
        return found

    def _with_controls(self, round_):
        found = {}
        ticket = self.imp.ticket(round_.round)
        for name, number, make in compared_tickets.tickets(
            self.bench, ticket,
            lambda: branches.dense_weights(self.place.dense),
        ):
            logs = self._train_once(round_.round, name, number, make)
            found.setdefault(name, []).append(self.bench.outcome(logs))
        if not found:
            return round_
        round_ = dataclasses.replace(round_, controls=found)
        self.bench.progress.controls_end(self.bench.number, round_)
        return round_

    def _train_once(self, round, name, number, make):
        path = self.place.control(round, name, number)
        if path.exists():
            logs = histories.read(path)
            self.bench.progress.skip(len(logs))
            return logs
        logs = self.bench.train(make())
        self.place.write(path, results.rows_to_csv(logs))
        return logs

    def _add_variant(self, trial, name, arguments):
        """Runs the rounds of a variant from the end of the dense round."""
        place = self.place.variant(name)
        if not branches.is_kept(place.path):
            branches.branch(self.place.dense, place.path)
        imp = self._pruning(place.path, **arguments)
        self.bench.progress.variant_begin(self.bench.number, name)
        logs = self._fit(
            imp, place.history, shared=self.preset.epochs_per_round
        )
        for round_ in self._rounds(imp, logs)[1:len(trial.rounds)]:
            ticket = trial.rounds[round_.round]
            found = {**ticket.controls, name: [round_.outcome]}
            trial.rounds[round_.round] = dataclasses.replace(
                ticket, controls=found
            )

    def _fit(self, imp, path, others=(), shared=0):
        callbacks = [*others, histories.HistoryFile(path)]
        logs = self.bench.fit(imp.epochs, imp, callbacks, shared)
        self.place.write(path, results.rows_to_csv(logs))
        return logs

    def _rounds(self, imp, logs):
        return [
            records.Round(
                result.round,
                result.density,
                result.effective_density,
                result.seconds,
                self.bench.outcome(
                    [entry for entry in logs if entry["round"] == result.round]
                ),
            )
            for result in imp.results
        ]

    def _pruning(self, directory, **changes):
        preset = self.preset
        arguments = {
            "rounds": preset.rounds,
            "epochs_per_round": preset.epochs_per_round,
            "rate": preset.rate,
            "rewind_to": preset.rewind_to,
            "scope": preset.scope,
            "collapse": preset.collapse,
            "exclude": preset.exclude,
            "directory": directory,
            "save_freq": preset.save_freq,
            "seed": preset.seed,
            "verbose": 0,
        }
        return callbacks_lib.IterativeMagnitudePruning(**arguments | changes)


class KeepCandidate(keras.callbacks.Callback):
    """Writes the candidate ticket so far, and what it trained to.

    Place it after `imp` in the list of callbacks.

    Args:
        imp: `IterativeMagnitudePruning`.
        place: `tf_lottery.experiments.outputs.TrialDirectory`.
    """

    def __init__(self, imp, place):
        super().__init__()
        self._imp, self._place = imp, place
        self._seen = None

    def on_epoch_begin(self, epoch, logs=None):
        if self._seen is None:
            self._seen = len(self._imp.results)

    def on_epoch_end(self, epoch, logs=None):
        if len(self._imp.results) != self._seen:
            self._seen = len(self._imp.results)
            self.finish(self.model)

    def finish(self, model):
        """Writes the last round's ticket if it is one and not there yet.

        A later candidate is a sparser one, so that only the last round can
        be one that is not written.

        Args:
            model: `keras.Model` as that round has trained it.
        """
        found = self._imp.results
        sparsest = results.candidate(found, self._imp.monitor)
        if sparsest is None or sparsest is not found[-1]:
            return
        ticket = self._imp.candidate_ticket()
        if self._place.candidate_round() != ticket.round:
            self._place.save_candidate(ticket, model)
