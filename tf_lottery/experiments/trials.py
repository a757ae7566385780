"""One trial: its tickets, what they are compared with, and its tasks.

The rounds of a trial are one task, since each prunes what the last one has
trained. After it, every training of a control is a task, and every variant.
A process keeps the bench that it had last for the next task of its trial.
"""

import contextlib

import keras

from tf_lottery import callbacks as callbacks_lib
from tf_lottery import schedules
from tf_lottery.analysis import levels
from tf_lottery.experiments import bench as bench_lib
from tf_lottery.experiments import compared_tickets
from tf_lottery.experiments import dense_networks
from tf_lottery.experiments import feeds
from tf_lottery.experiments import histories
from tf_lottery.experiments import outputs
from tf_lottery.experiments import records
from tf_lottery.runs import branches
from tf_lottery.runs import results
from tf_lottery.runs import run_directory
from tf_lottery.runs import ticket as ticket_lib
from tf_lottery.verdicts import comparisons

# On which statistics of batch normalisation are estimated along a line.
_EXAMPLES = 1000
_last = {}


class TrialRun:
    """Runs one trial in a directory, and resumes what is there."""

    def __init__(self, bench, place):
        self.bench, self.place = bench, place
        self.preset = bench.preset

    def find_tickets(self):
        place = self.place
        imp = self._pruning(place.path)
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

    def train_control(self, round, name, number):
        """Trains what a ticket is compared with, and writes its logs."""
        files = run_directory.RunDirectory(self.place.path)
        start = None
        if name == comparisons.FULL_LENGTH:
            start = files.load_weights(round, "start")
        ticket = ticket_lib.Ticket(
            files.load_masks(round), start or files.load_snapshot(), round
        )
        self.place.write(
            self.place.control(round, name, number),
            results.rows_to_csv(self._logs(name, number, ticket)),
        )

    def _logs(self, name, number, ticket):
        if name in dense_networks.MAKERS:
            return dense_networks.MAKERS[name](self.bench, ticket)
        if name != comparisons.FULL_LENGTH:
            ticket = compared_tickets.make(
                self.bench, name, number, ticket,
                lambda: branches.dense_weights(self.place.dense),
            )
        return self.bench.train(ticket)

    def run_variant(self, name):
        place = self.place.variant(name)
        if not branches.is_kept(place.path):
            branches.branch(self.place.dense, place.path)
        imp = self._pruning(place.path, **variants(self.preset)[name])
        logs = self._fit(
            imp, place.history, shared=self.preset.epochs_per_round
        )
        return {
            round_.round: round_.outcome
            for round_ in self._rounds(imp, logs)[1:]
        }

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
                records.Outcome.of(
                    [row for row in logs if row["round"] == result.round],
                    result.steps, self.preset.evaluate_every,
                ),
            )
            for result in imp.results
        ]

    def _pruning(self, directory, **changes):
        bench, limit = self.bench, self.preset.max_barrier
        if limit is not None:
            changes["max_barrier"] = limit
            changes["barrier"] = levels.ErrorBarrier(
                bench.feed.validation,
                recalibrate=bench.data.x_train[:_EXAMPLES],
            )
        return pruning(self.preset, directory=directory, **changes)


def pruning(preset, **changes):
    """Returns the `IterativeMagnitudePruning` of a preset, with changes."""
    arguments = {
        name: getattr(preset, name) for name in (
            "rounds", "epochs_per_round", "middle_rounds", "rate", "rewind",
            "rewind_to", "scope", "criterion", "pattern", "collapse",
            "exclude", "tolerance", "save_freq", "seed",
        )
    }
    return callbacks_lib.IterativeMagnitudePruning(
        **arguments | {"verbose": 0} | changes
    )


def variants(preset):
    """Returns the arguments of the callback by the variant's name in files."""
    found = {
        each.key: {"rewind": each.rewind}
        for each in comparisons.of_flags(preset.compare)
        if each.rewind is not None
    }
    for point, step in zip(preset.also_rewind_to, preset.other_rewind_steps):
        found[comparisons.of_point(step)] = {"rewind_to": point}
    return found


class KeepCandidate(keras.callbacks.Callback):
    """Writes the candidate ticket and what it trained to; comes after `imp`."""

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
        """Writes the last round's ticket if it is one and not there yet."""
        found = self._imp.results
        sparsest = results.candidate(found, self._imp.monitor)
        if sparsest is None or sparsest is not found[-1]:
            return
        ticket = self._imp.candidate_ticket()
        if self._place.candidate_round() != ticket.round:
            self._place.save_candidate(ticket, model)


def find_tickets(preset, path, number, progress):
    """Runs all rounds of a trial; returns a `records.Trial`."""
    progress.trial_begin(number)
    return _trial(preset, path, number, progress, fresh=True).find_tickets()


def train_control(preset, path, number, round, name, index, progress):
    """Trains a control, which writes its logs to a file."""
    trial = _trial(preset, path, number, progress)
    trial.train_control(round, name, index)


def run_variant(preset, path, number, name, progress):
    """Runs the rounds of a variant; returns a dict of outcomes."""
    progress.variant_begin(number, name)
    return _trial(preset, path, number, progress).run_variant(name)


@contextlib.contextmanager
def kept(preset, data):
    """Keeps data that are loaded already for the tasks of a preset."""
    _last.update(data=data, of=_data_of(preset))
    try:
        yield
    finally:
        _last.clear()


def _trial(preset, path, number, progress, fresh=False):
    """The trial on the last bench, unless that has to be a fresh one."""
    bench = _last.pop("bench", None)
    if fresh or bench is None or (bench.preset, bench.number) != (
        preset, number
    ):
        # The data of two trials may be too much for the memory.
        del bench
        if _last.get("of") != _data_of(preset):
            _last.update(data=feeds.load(preset), of=_data_of(preset))
        bench = bench_lib.Bench(preset, _last["data"], number)
    bench.progress = progress
    _last["bench"] = bench
    return TrialRun(bench, outputs.TrialDirectory(path))


def _data_of(preset):
    return preset.dataset, preset.image_size
