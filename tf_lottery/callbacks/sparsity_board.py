"""Sparsity in TensorBoard: by epoch, by round, and against the metrics."""

import numbers
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tf_lottery import holding
from tf_lottery.callbacks import pruner as pruner_lib
from tf_lottery.callbacks.board import cards
from tf_lottery.callbacks.board import files
from tf_lottery.callbacks.board import readings
from tf_lottery.callbacks.board import summaries
from tf_lottery.utils import checks
from tf_lottery.utils import processes
from tf_lottery.utils import types

# What callbacks add to the logs that is no metric.
_NO_METRICS = ("round", "density", "sparsity")
# Thousandths of a per cent: TensorBoard's axis then reads 80k for 80 %.
_SPARSITY_STEPS = 100_000


class SparsityBoard(keras.callbacks.Callback):
    """Shows in TensorBoard what is pruned, and what becomes of the model.

    In the same `fit` as `IterativeMagnitudePruning`, `GradualPruning` or
    `DynamicSparseTraining` it shows what these do; otherwise the masks that
    the model holds (`tf_lottery.hold`, `prune`, `Ticket.apply`), or a dense
    model as density 1. `keras.callbacks.TensorBoard` may write to the same
    log directory.

    Below the log directory it writes these runs, for the dashboards that
    TensorBoard has:

    - `sparsity/epochs`, step = epoch of `fit`: `density` and
      `effective_density` (see `tf_lottery.paths`), of all weights and of
      each; `revived_weights`, pruned weights that are not zero.
    - `sparsity/round_00` and so on, one for each round, step = training step
      counted from initialisation: `metrics/...`, curves that lie over one
      another; the round's hyperparameters, density among them, for the
      HParams dashboard. Where training has no rounds: `sparsity/training`.
    - `sparsity/against_sparsity`, step = sparsity in thousandths of a per
      cent (80k is 80 %): `against_sparsity/...`, the metrics at the end of
      each round, or as long as a sparsity lasted.
    - `sparsity/rounds`, step = round: `rounds/...`, the records of the
      rounds; histograms of the weights that are kept, and only those;
      pictures of the masks, outputs x inputs; the rounds as a table. Where
      training has no rounds these are in `sparsity/epochs`.

    Training that goes on (`IterativeMagnitudePruning(directory=...)`, another
    `fit` of the same model) goes on in the same log directory: what was
    written after the point where it goes on is replaced. Training that
    begins anew takes the place of an older one, whose files are kept under
    names that TensorBoard does not read.

    Args:
        log_dir: Path of the log directory. Defaults to `"logs"`.
        histogram_freq: Integer, every how many rounds the histograms are
            written; without rounds, epochs. 0 is never. Defaults to 1.
        image_freq: Integer, as `histogram_freq` for the pictures, which are
            left out where the masks are as they were. Defaults to 1.
        hparams: Dict from name to number, string or boolean, for the HParams
            dashboard next to what the pruning callback tells. Defaults to
            `None`.

    Raises:
        ValueError, TypeError: For an invalid argument.
        ImportError: If TensorBoard is not installed, or too old.
        OSError: When training begins, if `log_dir` cannot be written.

    Example:

    >>> import os, tempfile
    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    >>> model.compile("adam", "mse")
    >>> masks = tfl.prune(model, sparsity=0.5)
    >>> x = np.ones((16, 4))
    >>> with tempfile.TemporaryDirectory() as logs:
    ...     board = tfl.callbacks.SparsityBoard(logs)
    ...     _ = model.fit(x, x[:, :1], callbacks=[board], verbose=0)
    ...     print(sorted(os.listdir(os.path.join(logs, "sparsity"))))
    ['against_sparsity', 'epochs', 'training']
    """

    def __init__(
        self,
        log_dir: types.Path = "logs",
        histogram_freq: int = 1,
        image_freq: int = 1,
        hparams: Mapping[str, float | str | bool] | None = None,
    ) -> None:
        super().__init__()
        summaries.check_tensorboard()
        checks.path("log_dir", log_dir)
        checks.whole("histogram_freq", histogram_freq, 0, " (0: never)")
        checks.whole("image_freq", image_freq, 0, " (0: never)")
        what = "name to number, string or boolean"
        checks.optional(checks.mapping, "hparams", hparams, what)
        for value in (hparams or {}).values():
            checks.kind(
                "hparams", value, (str, numbers.Real), f"a dict from {what}"
            )
        self.log_dir = str(log_dir)
        self.histogram_freq = histogram_freq
        self.image_freq = image_freq
        self.hparams = dict(hparams or {})
        self._has_written = False

    def on_train_begin(self, logs: types.Logs = None) -> None:
        # Of several processes that train together one writes.
        self._writes = processes.is_first()
        if not self._writes:
            return
        files.check_writable(self.log_dir)
        self._first_step = self._steps()
        self._was_trained = self._first_step > 0 or self._has_written
        self._pruner: Any = None
        self._reader: readings.Reader | None = None
        self._log: files.Log | None = None
        self._round: int | None = None
        self._results_before: int | None = None
        self._level = self._shown = self._reading = None

    def on_epoch_begin(self, epoch: int, logs: types.Logs = None) -> None:
        if not self._writes:
            return
        self._find_pruner()
        if not self._has_rounds:
            return
        if self._log is None:
            self._results_before = len(self._pruner.results)
            return
        # Where this callback stands before the one that prunes, a round is
        # over only now; its weights are still there.
        self._write_rounds()
        self._log.flush()

    def on_epoch_end(self, epoch: int, logs: types.Logs = None) -> None:
        if not self._writes:
            return
        if self._log is None:
            self._open(epoch)
        if self._reader is None:
            self._reader = readings.Reader(self.model)
        self._reading = reading = self._reader.read()
        if self._has_rounds:
            self._round = self._pruner.round
        step, metrics = epoch + self._shift, _metrics(logs)
        scalars = reading.densities() | {"revived_weights": reading.revived}
        self._log.add("epochs", step, summaries.scalars(scalars))
        self._write_metrics(metrics)
        if self._has_rounds:
            self._write_rounds()
        else:
            self._write_level(metrics)
            self._write_pictures("epochs", step)
        self._log.flush()
        self._has_written = True

    def on_train_end(self, logs: types.Logs = None) -> None:
        if not self._writes:
            return
        if self._log is None:
            # A finished run begins no epoch.
            self._find_pruner()
            if not self._has_rounds:
                return
            self._open(None)
        if self._has_rounds:
            self._write_rounds()
        else:
            self._end_training()
        self._log.flush()
        self._reader = self._reading = self._shown = None

    @property
    def _directory(self):
        return f"{self.log_dir.rstrip('/')}/sparsity"

    @property
    def _has_rounds(self):
        return self._pruner is not None and self._pruner.results is not None

    def _find_pruner(self):
        self._pruner = next(iter(pruner_lib.beside(self)), None)

    def _protocol(self):
        return {} if self._pruner is None else self._pruner.protocol()

    def _open(self, epoch):
        """Finds out where the curves go on; `None` is no epoch at all."""
        # Rounds are numbered by their own callback, whatever was trained
        # before them.
        goes_on = epoch != 0 or (self._was_trained and not self._has_rounds)
        self._log = files.Log(self._directory, goes_on)
        self._shift = self._step_shift = self._rounds_done = 0
        if goes_on and epoch == 0:
            # Another `fit` counts its epochs from 0 again.
            self._shift = 1 + self._last_step("epochs")
            # So does an optimizer that is new.
            self._step_shift = max(
                0, self._last_step("training") - self._first_step
            )
        if goes_on and self._has_rounds:
            before = self._results_before
            if before is None:
                before = len(self._pruner.results)
            self._rounds_done = min(1 + self._last_step("rounds"), before)
        where = "rounds" if self._has_rounds else "epochs"
        first = self._shift + (epoch or 0) if where == "epochs" else 0
        if not self._has_rounds or not self._rounds_done:
            card = cards.protocol_card(
                self.model, self._pruner, self._protocol() | self.hparams
            )
            values = [summaries.text("protocol", card)]
            self._log.add(where, first, values)

    def _write_metrics(self, metrics):
        run, step = "training", self._training_step()
        hparams = cards.hparams_of(self._protocol())
        if self._has_rounds:
            run, step = f"round_{self._pruner.round:02d}", self._pruner.step
            hparams["round"] = self._pruner.round
        if self._has_rounds or self._pruner is None:
            hparams["density"] = self._reading.density
        if self._log.begin(run, step):
            session = summaries.session(hparams | self.hparams)
            self._log.add(run, 0, session)
        self._log.add(run, step, _scalars("metrics", metrics))

    def _write_rounds(self):
        """Writes the records of the rounds that are over and not written."""
        results = self._pruner.results
        for result in results[self._rounds_done:]:
            self._write_round(result)
            run = f"round_{result.round:02d}"
            # Its curves, if an earlier process wrote them, are whole.
            self._log.begin(run, result.steps + 1)
            self._log.add(run, result.steps, [summaries.session_end()])
        if len(results) > self._rounds_done:
            last = results[-1].round
            card = cards.rounds_card(results, self._pruner.monitor)
            values = [summaries.text("rounds", card)]
            self._log.add("rounds", last, values)
            if last == self._round:
                self._write_pictures("rounds", last)
            self._rounds_done = len(results)

    def _write_round(self, result):
        metrics = _metrics(result.metrics)
        effective = {"effective_density": result.effective_density}
        densities = {f"density/{k}": v for k, v in result.densities.items()}
        scalars = {
            "density": result.density, **effective, **densities, **metrics,
            "steps": result.steps, "seconds": result.seconds,
            "early_stop_step": result.early_stop_step,
        }
        if result.round == self._round:
            scalars |= self._reading.densities()
            scalars["revived_weights"] = self._reading.revived
        self._log.add("rounds", result.round, _scalars("rounds", scalars))
        self._write_against(result.sparsity, metrics | effective)

    def _write_level(self, metrics):
        """Notes the metrics of a sparsity until another one follows."""
        level = self._level
        if level is not None and level[0] != self._reading.density:
            self._write_against(1 - level[0], level[1])
        if self._reading.live is not None:
            effective = self._reading.densities()["effective_density"]
            metrics = metrics | {"effective_density": effective}
        self._level = (self._reading.density, metrics)

    def _write_against(self, sparsity, metrics):
        step = round(sparsity * _SPARSITY_STEPS)
        name = "against_sparsity"
        self._log.add(name, step, _scalars(name, metrics))

    def _end_training(self):
        density, metrics = self._level
        self._write_against(1 - density, metrics)
        step = self._training_step()
        self._log.add("training", step, [summaries.session_end()])
        card = cards.layers_card(self._reading)
        last = self._last_epoch
        self._log.add("epochs", last, [summaries.text("layers", card)])

    def _write_pictures(self, run, step):
        """Writes histograms and pictures where it is time for them."""
        self._last_epoch = step
        reading = self._reading
        if self.histogram_freq and step % self.histogram_freq == 0:
            self._log.add(run, step, self._reader.histograms(reading))
        due = self.image_freq and step % self.image_freq == 0
        # The reader returns the same masks as long as they do not change.
        if due and reading.masks is not self._shown:
            self._log.add(run, step, self._reader.images(reading))
            self._shown = reading.masks

    def _last_step(self, run):
        return files.last_step(self._directory, run)

    def _training_step(self):
        return self._steps() + self._step_shift

    def _steps(self):
        """Integer, the steps that the optimizer has done."""
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is None:
            return 0
        holding.synchronise(self.model)
        return int(ops.convert_to_numpy(optimizer.iterations))


def _metrics(logs):
    return {
        name: value
        for name, value in (logs or {}).items()
        if name not in _NO_METRICS and isinstance(value, numbers.Real)
    }


def _scalars(group, values):
    return summaries.scalars({
        f"{group}/{name}": value
        for name, value in values.items() if value is not None
    })
