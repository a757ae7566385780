"""Dense rounds that trials share.

The first of all trials that are equal up to the end of the dense round
publishes its state; the others resume from there.
"""

import pathlib
import shutil

import keras

from tf_lottery import schedules
from tf_lottery.runs import branches


class DenseRounds:
    """The dense rounds of a search, in a directory that need not exist.

    Points are all its rewinding points, epochs those of a round.
    """

    def __init__(self, path, points, epochs):
        self.path = pathlib.Path(path)
        self._points = {
            f"point-{i}": schedules.Point.parse(point)
            for i, point in enumerate(points)
        }
        self._epochs = epochs

    def begin(self, key, run, point):
        """Gives a run without a state the shared one; returns whether it did.

        The key says what the dense round depends on.
        """
        shared = self.path / key
        point = schedules.Point.parse(point)
        snapshot = shared / self._name(point) / "snapshot.safetensors"
        if branches.is_kept(run) or not snapshot.exists():
            return False
        run.mkdir(parents=True, exist_ok=True)
        shutil.copy2(snapshot, run / snapshot.name)
        branches.branch(shared, run)
        return True

    def callbacks(self, key, run, imp):
        """Returns callbacks that publish a dense round; they follow `imp`."""
        places = {
            point: run.parent / "points" / name
            for name, point in self._points.items()
        }
        return [
            branches.KeepPoints(imp, places, self._epochs),
            _Publish(imp, run, self.path / key, list(places.values())),
        ]

    def _name(self, point):
        return next(
            (name for name, known in self._points.items() if known == point),
            "unknown",
        )


class _Publish(keras.callbacks.Callback):

    def __init__(self, imp, run, shared, points):
        super().__init__()
        self._imp, self._run = imp, run
        self._shared, self._points = shared, points

    def on_epoch_begin(self, epoch, logs=None):
        # The state was saved just now, before the model was pruned.
        if self._imp.round == 1 and not branches.is_kept(self._shared):
            found = [path for path in self._points if path.exists()]
            branches.publish(self._run, self._shared, found)
            for path in found:
                shutil.rmtree(path)
