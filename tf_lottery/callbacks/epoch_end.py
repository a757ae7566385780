"""An end of an epoch before its data end."""

import contextlib
import warnings

from tf_lottery import internals
from tf_lottery.utils import backends


class EpochEnd:
    """Ends epochs early, whatever feeds them."""

    def __init__(self, model):
        self._model = model
        self._due = self._stopped = False
        self._filters = None
        self._lengths = contextlib.ExitStack()

    def ask(self, is_last):
        """Asks for the epoch to end after this batch, the last data or not."""
        self._due = True
        # Under torch Keras meets no end of the data. It stops training
        # instead, until `finish`.
        if not is_last and backends.name() == "torch":
            if not self._model.stop_training:
                self._model.stop_training = self._stopped = True
                internals.models.end_epoch_of_data()

    def meet(self):
        """Ends the epoch before a batch, if that was asked for.

        To Keras this is the end of the data, the only one that leaves every
        kind of input ready for the next epoch; its warning would be wrong.
        """
        if self._due:
            self._filters = warnings.catch_warnings()
            self._filters.__enter__()
            warnings.filterwarnings("ignore", "Your input ran out of data")
            raise StopIteration

    def finish(self):
        """Leaves things as they were, now that the epoch has ended."""
        self._due = False
        self._lengths.close()
        if self._filters is not None:
            self._filters.__exit__(None, None, None)
            self._filters = None
            self._lengths.enter_context(internals.models.lengths_forgotten())
        if self._stopped:
            self._model.stop_training = self._stopped = False
