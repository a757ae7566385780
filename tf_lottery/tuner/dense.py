"""Dense rounds that trials share.

The first of all trials that are equal up to the end of the dense round
publishes its state; the others resume from there.
"""

import pathlib
import shutil

from tf_lottery import schedules
from tf_lottery.runs import branches


class DenseRounds:
    """The dense rounds of a search, in a directory that need not exist.

    `points` are its rewinding points, `epochs` those of a round.
    """

    def __init__(self, path, points, epochs):
        self.path = pathlib.Path(path)
        self._names = {
            schedules.Point.parse(point): f"point-{i}"
            for i, point in enumerate(points)
        }
        self._epochs = epochs

    def begin(self, key, run, point):
        """Gives a run without a state the shared one; returns whether it did.
        """
        shared = self.path / key
        name = self._names.get(schedules.Point.parse(point), "unknown")
        snapshot = shared / name / "snapshot.safetensors"
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
            for point, name in self._names.items()
        }
        return [
            branches.KeepPoints(imp, places, self._epochs),
            branches.KeepDense(imp, self.path / key, places.values()),
        ]
