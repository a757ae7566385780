"""One process at work on a run: when it is saved, and how it resumes."""

import contextlib
import warnings

from tf_lottery import files
from tf_lottery import optimizers
from tf_lottery import weights as weights_lib
from tf_lottery.callbacks import checkpoint
from tf_lottery.callbacks import identity
from tf_lottery.callbacks import interrupt
from tf_lottery.runs import run_directory
from tf_lottery.runs import ticket as ticket_lib
from tf_lottery.utils import processes


class NoSession:
    """A run without a directory: nothing is saved, no signal is held back."""

    files = None
    provenance = {}

    def open(self, model, plan, config):
        return None

    def close(self):
        """Has nothing to give back."""

    meet = close

    def guard(self, step):
        """Leaves signals as they are."""

    def working(self):
        return contextlib.nullcontext()

    released = working

    def save(self, *args, **kwargs):
        """Saves nothing."""

    save_before_epoch = save_within_epoch = save


class Session:
    """One process at work on the run of a directory.

    Without a `Replay` it cannot resume exactly in the middle of an epoch.
    """

    def __init__(self, directory, save_freq, data):
        self.files = run_directory.RunDirectory(
            directory, writes=processes.is_first()
        )
        self.save_freq = save_freq
        self.data = data
        self._interrupt = interrupt.Interrupt(self.close)
        self._saved = None

    def open(self, model, plan, config):
        """Takes the directory; returns the state to resume from, or `None`."""
        self._model = model
        self.checkpoint = checkpoint.Checkpoint(model, self.files)
        described = identity.of_model(model)
        config = {
            **config,
            "model": identity.digest(described),
            **identity.of_training(model),
            **_surroundings(model, plan),
        }
        # Of several processes each has a share of its own.
        if self.data is not None and processes.count() == 1:
            config["data"] = {**config["data"], **identity.of_data(self.data)}
        position = processes.in_turn(lambda: self._open(config, described))
        processes.check_equal(
            self.files.saves,
            f"Processes found other states in '{self.files.path}'. Choose a "
            "directory that all of them see, on a file system they share.",
        )
        return position

    def _open(self, config, model):
        self.files.open(config, model)
        return self.checkpoint.load()

    @property
    def provenance(self):
        """Dict, what tickets say of the run besides its arguments."""
        return {"run": self.files.run}

    def check_versions(self, finished, allowed):
        if finished or not self.files.other_versions:
            return
        message = (
            f"The run in '{self.files.path}' was begun with other versions:\n"
            "  " + "\n  ".join(self.files.other_versions) + "\n"
            "What was trained before stays as it is. It is not guaranteed "
            "that the rest comes out as it would have: kernels, random "
            "numbers and defaults may have changed."
        )
        if not allowed:
            raise ValueError(
                f"{message} Go back to these versions, or pass "
                "`other_versions=True` to resume it all the same."
            )
        warnings.warn(message, stacklevel=2)

    def close(self):
        self._interrupt.stop()
        self.files.close()

    def meet(self):
        """Does what a signal asked for that was held back."""
        self._interrupt.act()

    def guard(self, step):
        """Holds signals back during a step, `"train"` or `"test"`."""
        self._interrupt.guard(self._model, f"{step}_function")

    def working(self):
        return self._interrupt.held_back()

    @contextlib.contextmanager
    def released(self):
        """Gives the directory back if a context fails."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def save_before_epoch(self, clock, record, callbacks):
        """Saves if it is due, all callbacks having seen the last epoch."""
        due = (
            self._saved is None
            or clock.round_over
            or self.save_freq == "epoch"
            or self._steps_are_due(clock)
        )
        if due:
            self.save(clock, record, callbacks)

    def save_within_epoch(self, clock, record, callbacks):
        """Saves between two batches if it is due; meets a signal.

        In the last batch it waits until the epoch is saved.
        """
        if clock.epoch_is_done:
            return
        # A whole round is too much to lose, even if only replayed data can
        # resume exactly from here.
        asked = self.data is not None or self.save_freq != "epoch"
        signalled = self._interrupt.signal is not None
        if signalled and asked or self._steps_are_due(clock):
            with self.working():
                self.save(clock, record, callbacks, within_epoch=True)
        self.meet()

    def save(
        self, clock, record, callbacks, within_epoch=False, last_logs=None
    ):
        """Saves the state of training; `History` is still to see last logs."""
        history = getattr(self._model, "history", None)
        history = {} if history is None else dict(history.history)
        for key, value in (last_logs or {}).items():
            history[key] = [*history.get(key, []), value]
        position = {
            "clock": clock.to_dict(),
            "record": record.to_dict(),
            "history": {
                key: [float(value) for value in values]
                for key, values in history.items()
            },
        }
        self.checkpoint.save(position, callbacks, within_epoch)
        self._saved = (clock.round, clock.now)

    def resume(self, clock, record, position):
        """Moves clock and record to where they were saved."""
        try:
            clock.restore(position["clock"])
            record.restore(position["record"])
        except (KeyError, TypeError, AttributeError) as error:
            raise files.DamagedFileError(
                f"The state of the run in '{self.files.path}' is damaged: its "
                f"fields are not those of a run ({error!r})."
            ) from error
        self._saved = (clock.round, clock.now)
        self._position = position

    def restore_history(self, batch):
        """Restores what Keras has reset when training began."""
        history = getattr(self._model, "history", None)
        if history is not None:
            history.history = self._position["history"]
            epochs = len(self._position["history"].get("loss", []))
            history.epoch = list(range(epochs))
        if batch is not None:
            self.checkpoint.restore_metrics(batch)

    def _steps_are_due(self, clock):
        if not isinstance(self.save_freq, int):
            return False
        round, step = self._saved or (0, 0)
        return round != clock.round or clock.now - step >= self.save_freq


def _surroundings(model, plan):
    """What else has to be the same for a run to resume."""
    optimizer = optimizers.innermost(model.optimizer)
    config = optimizer.get_config()
    config.pop("name")
    return {
        "steps_per_epoch": plan.steps_per_epoch,
        "optimizer": [type(optimizer).__name__, repr(config)],
        "weights": {
            key: [str(variable.dtype), *variable.shape]
            for key, variable in weights_lib.variables(model).items()
        },
        "versions": ticket_lib.versions(),
    }
