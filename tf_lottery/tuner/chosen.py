"""The weights of the round that a search is about."""

import keras

from tf_lottery import files
from tf_lottery import holding
from tf_lottery import weights as weights_lib
from tf_lottery.weights import snapshots


class KeepChosen(keras.callbacks.Callback):
    """Keeps what the round that the objective chooses has trained to.

    It comes after `imp`. Without a path it is kept in memory.
    """

    def __init__(self, imp, objective, path=None):
        super().__init__()
        self._imp, self._objective, self._path = imp, objective, path
        self._seen, self._arrays = None, {}

    def on_epoch_begin(self, epoch, logs=None):
        if self._seen is None:
            self._seen = len(self._imp.results)

    def on_epoch_end(self, epoch, logs=None):
        found = self._imp.results
        if len(found) == self._seen:
            return
        self._seen = len(found)
        if found and self._objective.choose(found) is found[-1]:
            self._keep(found[-1].round)

    def restore(self, model, round):
        arrays = self._arrays
        if not arrays:
            arrays, _ = files.read_arrays(self._path)
        holding.hold(model, self._imp.ticket(round).masks)
        variables = weights_lib.variables(model)
        snapshots.restore(
            variables.values(), [arrays[key] for key in variables]
        )

    def save_weights(self, model, path):
        """Writes the restored weights of a model so that a new one loads them.

        A subclassed model loses its masks and what it was compiled with.
        """
        plain = holding.strip(model)
        if plain.optimizer is not None:
            # The file holds its state, too, and a new one has none.
            kind = type(plain.optimizer)
            plain.compile(kind.from_config(plain.optimizer.get_config()))
        plain.save_weights(path)

    def _keep(self, round):
        self._arrays = {
            key: snapshots.value_of(variable)
            for key, variable in weights_lib.variables(self.model).items()
        }
        if self._path is not None:
            files.write_arrays(self._path, self._arrays, {"round": round})
