"""Other callbacks that see every round as a `fit` of its own."""

import keras

from tf_lottery.callbacks import sparsity_board

_REFUSED = {
    keras.callbacks.BackupAndRestore: "it would start rounds over. Pass "
    "`directory=` to save and resume the whole run",
    sparsity_board.SparsityBoard: "it compares rounds. Pass it to `fit`, next "
    "to the rounds",
}


class RoundCallbacks:
    """A fresh list of callbacks for each round, which count epochs from 0.

    One that stops training stops the round, and the next one begins.
    """

    def __init__(self, make):
        if make is not None and not callable(make):
            raise TypeError(
                "Argument `round_callbacks` must be a callable that returns "
                "a new list of callbacks for every round, such as "
                "`lambda: [keras.callbacks.EarlyStopping()]`. "
                f"Received: round_callbacks={make!r}"
            )
        self.make = make
        self.callbacks = []
        self._stopped = False

    def begin(self, model, params):
        if self.make is None:
            return
        self.callbacks = self.make()
        for callback in self.callbacks:
            for kind, reason in _REFUSED.items():
                if isinstance(callback, kind):
                    raise ValueError(
                        "Argument `round_callbacks` must not make a "
                        f"`{kind.__name__}`: {reason}. Received: {callback}"
                    )
            callback.set_model(model)
            callback.set_params(params)
        self._model = model
        self.call("on_train_begin")

    def end(self, logs=None):
        self.call("on_train_end", logs)
        self.callbacks = []

    def call(self, hook, *args):
        """Calls a hook of all callbacks of the round; returns whether it stops.
        """
        if not self.callbacks:
            return self._stopped
        model = self._model
        before, model.stop_training = model.stop_training, False
        for callback in self.callbacks:
            getattr(callback, hook)(*args)
        self._stopped = self._stopped or model.stop_training
        model.stop_training = before
        return self._stopped

    def clear_stop(self):
        """Forgets a stop of the round; returns whether there was one."""
        stopped, self._stopped = self._stopped, False
        return stopped
