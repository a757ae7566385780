"""When the state of a run is saved, and how a run goes on from it."""

from tf_lottery import optimizers
from tf_lottery import processes
from tf_lottery import run_directory
from tf_lottery import ticket as ticket_lib
from tf_lottery import weights as weights_lib
from tf_lottery.callbacks import checkpoint
from tf_lottery.callbacks import interrupt


class Session:
    """One process at work on the run of a directory.

    Args:
        directory: Path of the directory.
        save_freq: `"epoch"`, `"round"`, or an integer number of steps.
        replayed: Boolean, whether training can go on exactly in the middle
            of an epoch.
    """

    def __init__(self, directory, save_freq, replayed):
        self.files = run_directory.RunDirectory(
            directory, writes=processes.is_first()
        )
        self.save_freq = save_freq
        self.replayed = replayed
        self._interrupt = interrupt.Interrupt()
        self._saved = None

    def open(self, model, plan, config):
        """Takes the directory; returns the state to go on from, or `None`.

        Args:
            model: The `keras.Model` in training.
            plan: `tf_lottery.rounds.RoundPlan`.
            config: Dict of plain values, the arguments of the run.
        """
        self._model = model
        self._checkpoint = checkpoint.Checkpoint(model, self.files)
        config = {**config, **_surroundings(model, plan)}
        position = processes.in_turn(lambda: self._open(config))
        processes.check_equal(
            self.files.saves,
            f"Processes found other states in '{self.files.path}'. Choose a "
            "directory that all of them see, on a file system they share.",
        )
        self._interrupt.start()
        return position

    def _open(self, config):
        self.files.open(config)
        return self._checkpoint.load()

    def close(self):
        """Gives directory and signals back."""
        self._interrupt.stop()
        self.files.close()

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
        """Saves between two batches if it is due; meets a signal."""
        signalled = self._interrupt.signal is not None
        if not clock.epoch_is_done:
            # A whole round is too much to lose, even if only replayed data
            # can go on exactly from here.
            asked = self.replayed or self.save_freq != "epoch"
            if signalled and asked or self._steps_are_due(clock):
                self.save(clock, record, callbacks, within_epoch=True)
        if signalled:
            self.close()
            self._interrupt.act()

    def save(
        self, clock, record, callbacks, within_epoch=False, last_logs=None
    ):
        """Saves the state of training.

        Args:
            clock: `tf_lottery.rounds.Clock`.
            record: `RunRecord`.
            callbacks: List of the callbacks of the round.
            within_epoch: Boolean, whether an epoch is under way.
            last_logs: Dict, logs that `History` has yet to see, or `None`.
        """
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
        self._checkpoint.save(position, callbacks, within_epoch)
        self._saved = (clock.round, clock.now)

    def resume(self, clock, record, position):
        """Moves clock, record and model to where they were saved.

        The masks of the round must be held already; `record` knows them
        after this.
        """
        clock.restore(position["clock"])
        record.restore(position["record"])
        self._saved = (clock.round, clock.now)
        self._position = position

    def restore_model(self):
        """Gives the model its saved weights and optimizer state."""
        self._checkpoint.restore_model()

    def restore_callbacks(self, callbacks):
        """Gives the callbacks of a round that goes on their saved state."""
        self._checkpoint.restore_callbacks(callbacks, self._position)

    def restore_history(self, batch):
        """Restores what Keras has reset when training began.

        Args:
            batch: The first batch of data, or `None` if it is not known.
        """
        history = getattr(self._model, "history", None)
        if history is not None:
            history.history = self._position["history"]
            epochs = len(self._position["history"].get("loss", []))
            history.epoch = list(range(epochs))
        if batch is not None:
            self._checkpoint.restore_metrics(batch)

    def _steps_are_due(self, clock):
        if not isinstance(self.save_freq, int):
            return False
        round, step = self._saved or (0, 0)
        return round != clock.round or clock.now - step >= self.save_freq


def _surroundings(model, plan):
    """What else has to be the same for a run to go on."""
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
