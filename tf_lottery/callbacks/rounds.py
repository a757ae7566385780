"""Rounds of training inside one `fit`."""

import dataclasses
import numbers
import sys
import warnings
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import Literal

import numpy as np

from tf_lottery import data as data_lib
from tf_lottery import holding
from tf_lottery import internals
from tf_lottery import masks as masks_lib
from tf_lottery import paths
from tf_lottery.callbacks import epoch_end
from tf_lottery.callbacks import planned
from tf_lottery.callbacks import pruner
from tf_lottery.callbacks import round_callbacks as round_callbacks_lib
from tf_lottery.callbacks import run_record
from tf_lottery.callbacks import session
from tf_lottery.callbacks import watchdog
from tf_lottery.pruning import prunable
from tf_lottery.runs import results as results_lib
from tf_lottery.runs import rounds as rounds_lib
from tf_lottery.utils import checks
from tf_lottery.utils import processes
from tf_lottery.utils import types
from tf_lottery.weights import snapshots


class Rounds(pruner.Pruner):
    """The base class of callbacks that train in rounds, and resume them.

    Subclasses say in `next_round` what happens between two rounds, and call
    `begin_rounds`.
    """

    # Whether the data of `fit` go on from the optimizer's step by themselves.
    data_follow_steps = False

    def __init__(
        self,
        plan: rounds_lib.RoundPlan,
        stop: results_lib.StopRule,
        round_callbacks: types.Callbacks | None,
        directory: types.Path | None,
        save_freq: int | Literal["epoch", "round"],
        replay: data_lib.Replay | None,
        other_versions: bool,
        verbose: int,
        barrier: Callable[..., float] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(save_freq, numbers.Integral):
            checks.whole("save_freq", save_freq)
        else:
            checks.choice("save_freq", save_freq, ("epoch", "round"))
        checks.optional(checks.path, "directory", directory)
        checks.flag("other_versions", other_versions)
        if not isinstance(verbose, bool):
            checks.whole("verbose", verbose, 0)
        self.monitor = stop.monitor
        self.directory = directory
        self.save_freq = save_freq
        self.other_versions = other_versions
        self.verbose = verbose
        self.barrier = barrier
        self._plan, self._stop, self._replay = plan, stop, replay
        self._round_callbacks = round_callbacks_lib.RoundCallbacks(
            round_callbacks
        )
        self._clock = rounds_lib.Clock(plan)
        self._record = run_record.RunRecord(self.monitor)
        self._session: Any = session.NoSession()

    def next_round(
        self, masks: Mapping[str, np.ndarray], start: snapshots.Snapshot
    ) -> tuple[dict[str, np.ndarray], snapshots.Snapshot | None]:
        """Does what lies between two rounds, given the masks of the last.

        Returns the masks of the next round and the `Snapshot` that it alone
        starts from, or `None` where it starts from the rewinding point,
        `start`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement `next_round`."
        )

    @property
    def results(self) -> list[results_lib.RoundResult]:
        """List of `tf_lottery.runs.results.RoundResult`, one for each round."""
        return self._record.results

    @property
    def round(self) -> int:
        """Integer, the round in training."""
        return self._clock.round

    @property
    def epoch(self) -> int:
        """Integer, the epoch in training, counted from 0 in every round."""
        return self._clock.epoch

    @property
    def step(self) -> int:
        """Integer, the training step reached, counted from initialisation.

        Rewinding sets it back.
        """
        return self._clock.now

    @property
    def epochs(self) -> int:
        """Integer, the epochs of all rounds, to pass to `fit`.

        Where the rewinding point is a number of steps, later rounds may be
        shorter; `fit` then ends earlier by itself.
        """
        return self._plan.epochs

    def begin_rounds(
        self, weights: prunable.Prunable | planned.Planned
    ) -> None:
        """Begins the first round, or resumes a run."""
        pruner.check_is_alone(self)
        self._weights = weights
        if self.directory is not None and self.was_early:
            raise ValueError(
                f"Model '{self.model.name}' was built inside `fit`, after its "
                "epochs had begun, so its run could not be resumed. Give it "
                "an input shape (`keras.Input`) or call it on a batch of data "
                f"first. Received: directory={self.directory!r}"
            )
        plan = dataclasses.replace(
            self._plan, steps_per_epoch=self.params.get("steps")
        )
        plan.check(self.params.get("epochs"), self.model.steps_per_execution)
        self._clock = rounds_lib.Clock(plan)
        self._end = epoch_end.EpochEnd(self.model)
        self._validated = self._restoring = False
        if self.directory is not None:
            self._session = session.Session(
                self.directory, self.save_freq, self._replay
            )
        position = self._session.open(self.model, plan, self.protocol())
        with self._session.released():
            self._begin(position)

    def _begin(self, position):
        self._record = run_record.RunRecord(
            self.monitor,
            {**self.protocol(), **self._session.provenance},
            self._session.files,
        )
        internals.layers.draw_from_states(self.model)
        masks = self._weights.masks()
        holding.hold(self.model, masks)
        if position is not None:
            self._resume(position)
            return
        self._begin_round(masks)
        self._record.take_start(self.model, self._clock)

    def on_epoch_begin(self, epoch: int, logs: types.Logs = None) -> None:
        if self.is_early(self.on_epoch_begin, epoch):
            return
        with self._session.working():
            self._start_epoch(epoch, logs)
        self._session.meet()

    def _start_epoch(self, epoch, logs):
        clock = self._clock
        if epoch != clock.fit_epoch:
            raise ValueError(
                f"`fit` is at epoch {epoch}, but the rounds are at epoch "
                f"{clock.fit_epoch}. `initial_epoch` and "
                "`BackupAndRestore` cannot be used next to rounds: pass "
                "`directory=` to save and resume a run."
            )
        if self._restoring:
            self._restore_rest()
        else:
            self._session.save_before_epoch(
                clock, self._record, self._round_callbacks.callbacks
            )
        if clock.round_over:
            masks, start = self.next_round(
                self._masks, self._record.start_after(clock)
            )
            clock.start_round(clock.round + 1)
            self._begin_round(masks, start)
        clock.start_epoch(epoch)
        if self._replay is not None:
            self._replay.start(clock.round, clock.now)
        self._call("on_epoch_begin", clock.epoch, logs)

    def on_train_batch_begin(
        self, batch: int, logs: types.Logs = None
    ) -> None:
        if self.is_early(self.on_train_batch_begin, batch):
            return
        self._end.meet()
        self._call("on_train_batch_begin", batch, logs)
        self._session.guard("train")

    def on_train_batch_end(self, batch: int, logs: types.Logs = None) -> None:
        with self._session.released():
            self._clock.see_batch(batch)
            self._record.take_start(self.model, self._clock)
            stop = self._call("on_train_batch_end", batch, logs)
            if stop or self._clock.epoch_is_done:
                self._end.ask(batch + 1 == self.params.get("steps"))
            self._session.save_within_epoch(
                self._clock, self._record, self._round_callbacks.callbacks
            )

    def on_test_begin(self, logs: types.Logs = None) -> None:
        self._validated = True
        self._call("on_test_begin", logs)

    def on_test_batch_begin(self, batch: int, logs: types.Logs = None) -> None:
        self._call("on_test_batch_begin", batch, logs)
        self._session.guard("test")

    def on_test_batch_end(self, batch: int, logs: types.Logs = None) -> None:
        self._call("on_test_batch_end", batch, logs)

    def on_test_end(self, logs: types.Logs = None) -> None:
        self._call("on_test_end", logs)

    def on_epoch_end(self, epoch: int, logs: types.Logs = None) -> None:
        with self._session.working():
            self._finish_epoch({} if logs is None else logs)

    def _finish_epoch(self, logs):
        clock = self._clock
        self._end.finish()
        epoch = clock.epoch
        clock.end_epoch()
        self._record.take_start(self.model, clock)
        density = masks_lib.density(self._masks)
        logs |= {
            "round": clock.round, "density": density, "sparsity": 1 - density,
        }
        self._record.note_epoch(logs, clock.now)
        self._call("on_epoch_end", epoch, logs)
        if clock.fit_epoch == 1:
            may_come = not self._validated and self._plan.lengths[0] > 1
            self.monitor.check_early(logs, may_come)
        stopped = self._round_callbacks.clear_stop()
        if self.verbose >= 2:
            self._check_masks()
        if stopped or clock.is_last_epoch:
            self._end_round(logs)

    def on_train_end(self, logs: types.Logs = None) -> None:
        with self._session.working():
            if self._restoring:
                self._restore_rest()
            if not self._clock.round_over:
                self._round_callbacks.end(logs)
            self._end.finish()
        self._session.close()
        self._session.meet()

    def _begin_round(self, masks, start=None):
        self._masks = masks
        self._record.begin_round(masks, start)
        self._begin_round_callbacks()

    def _begin_round_callbacks(self):
        epochs = self._clock.plan.epochs_of(self._clock.round)
        self._round_callbacks.begin(
            self.model, {**self.params, "epochs": epochs}
        )

    def _end_round(self, logs):
        clock = self._clock
        self._round_callbacks.end(logs)
        self.monitor.check(logs)
        clock.round_over = True
        if not watchdog.is_finite(self.model, logs):
            self.model.stop_training = True
            watchdog.keep_last_good_round(
                self.model, self._record, clock.round
            )
            return
        self._check_masks()
        result = self._record.end_round(
            logs | self._level(), clock.now,
            _effective_density(self.model, self._masks),
        )
        said = result.describe(self.monitor, self.results[0])
        self._write(f"Round {clock.round}/{self._plan.rounds}: {said}")
        if self._stop.is_met(self.results):
            self.model.stop_training = True
            self._session.save(clock, self._record, [], last_logs=logs)

    def _level(self):
        """The error barrier between this round and the one before."""
        if self.barrier is None:
            return {}
        before, step = self._record.trained, self._clock.now
        weights = holding.capture(self.model, step).weights
        trained = snapshots.Snapshot(step, weights)
        self._record.set_trained(trained)
        if before is None:
            return {}
        return {"barrier": self.barrier(self.model, before, trained)}

    def _check_masks(self):
        watchdog.check_masks(
            self._weights.variables, self._masks, self._clock.round
        )

    def _resume(self, position):
        clock = self._clock
        self._session.resume(clock, self._record, position)
        self._masks = self._record.masks(clock.round)
        holding.hold(self.model, self._masks)
        self._session.checkpoint.restore_model()
        finished = clock.round_over and self._stop.is_met(self.results)
        self._session.check_versions(finished, self.other_versions)
        follow = self.data_follow_steps or self._replay is not None
        if clock.is_cut and not follow:
            warnings.warn(
                f"The run in '{self.directory}' resumes in the middle of an "
                "epoch, while the data of `fit` begin anew: it will end with "
                "other bits than one that was not disturbed. Give `fit` a "
                "`tf_lottery.data.Replay`, and the callback the same by "
                "`data=`, or save at ends of epochs: `save_freq='epoch'`.",
                stacklevel=2,
            )
        if not clock.round_over:
            self._begin_round_callbacks()
            self._session.checkpoint.restore_callbacks(
                self._round_callbacks.callbacks, position
            )
        self._restoring = True
        internals.models.set_first_epoch(
            self.model, self.params["epochs"] if finished else clock.fit_epoch
        )
        where = "is finished" if finished else (
            f"resumes in round {clock.round}, step {clock.now}"
        )
        self._write(f"The run in '{self.directory}' {where}.")

    def _restore_rest(self):
        """Restores what Keras resets after `on_train_begin`."""
        self._restoring = False
        internals.models.set_first_epoch(self.model, None)
        batch = None
        if self._replay is not None and not self._clock.round_over:
            batch = self._replay.batch(self._clock.round, self._clock.now)
        self._session.restore_history(batch)

    def _call(self, hook, *args):
        return self._round_callbacks.call(hook, *args)

    def _write(self, line):
        if self.verbose and processes.is_first():
            sys.stdout.write(f"{line}\n")


def _effective_density(model, masks):
    """The effective density, or `None` where no rule says how paths run."""
    try:
        return paths.effective_density(model, masks)
    except ValueError:
        return None
