"""Other callbacks that see every round as a `fit` of its own."""

import keras


class RoundCallbacks:
    """A fresh list of callbacks for each round.

    Epochs are counted from 0 in every round. A callback that stops training
    stops the round, and the next one begins.

    Args:
        make: Callable without arguments that returns a list of
            `keras.callbacks.Callback`, or `None` for no callbacks.
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
        self._callbacks = None
        self._stopped = False

    def begin(self, model, params):
        """Makes the callbacks of a round and tells them that it begins."""
        if self.make is None:
            return
        self._callbacks = keras.callbacks.CallbackList(
            self.make(), model=model, **params
        )
        self._watch("on_train_begin")

    @property
    def callbacks(self):
        """List of the callbacks of this round."""
        return [] if self._callbacks is None else self._callbacks.callbacks

    def end(self, logs=None):
        """Tells the callbacks of a round that it has ended."""
        self._watch("on_train_end", logs)
        self._callbacks = None

    def call(self, hook, *args):
        """Calls a hook of every callback of the round.

        Returns:
            Boolean, whether one of them has asked to stop the round.
        """
        self._watch(hook, *args)
        return self._stopped

    def clear_stop(self):
        """Forgets a stop of the round; returns whether there was one."""
        stopped, self._stopped = self._stopped, False
        return stopped

    def _watch(self, hook, *args):
        if self._callbacks is None:
            return
        model = self._callbacks.model
        before, model.stop_training = model.stop_training, False
        getattr(self._callbacks, hook)(*args)
        self._stopped = self._stopped or model.stop_training
        model.stop_training = before
