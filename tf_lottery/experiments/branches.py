"""Runs that go on from the dense round of another run.

What `IterativeMagnitudePruning` writes when the dense round has ended is all
that any variant of it needs to go on from there. A copy of it, given to the
variant as its directory, looks like a run of its own that was interrupted.
"""

import keras

from tf_lottery import holding
from tf_lottery import run_directory


class KeepDense(keras.callbacks.Callback):
    """Keeps the state at the end of the dense round in a directory.

    Place it after `imp` in the list of callbacks.

    Args:
        imp: `IterativeMagnitudePruning` with a directory.
        path: `pathlib.Path` of the directory for the state.
    """

    def __init__(self, imp, path):
        super().__init__()
        self._imp, self._path = imp, path

    def on_epoch_begin(self, epoch, logs=None):
        # The state was saved just now, before the model was pruned. One that
        # is newer is of a run that had kept it already.
        if self._imp.round == 1 and not is_kept(self._path):
            branch(self._imp.directory, self._path)


class KeepPoints(keras.callbacks.Callback):
    """Keeps other rewinding points that the dense round comes by.

    Place it after `imp` in the list of callbacks.

    Args:
        imp: `IterativeMagnitudePruning`.
        paths: Dict from step, where an epoch begins, to the directory for
            the rounds that are to be rewound to it.
    """

    def __init__(self, imp, paths):
        super().__init__()
        self._imp, self._paths = imp, paths

    def on_epoch_begin(self, epoch, logs=None):
        if self._imp.round:
            return
        step = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        if step in self._paths:
            place = run_directory.RunDirectory(self._paths[step])
            place.path.mkdir(parents=True, exist_ok=True)
            place.save_snapshot(holding.capture(self.model, step))


def is_kept(path):
    """Returns whether a directory holds a whole state."""
    return any(path.glob("state-*.safetensors"))


def branch(source, target):
    """Copies a run as it stood at the end of its dense round.

    Args:
        source: Path of the directory of a run whose last saved state is that
            of the end of the dense round.
        target: Path of the directory to make. A rewinding point that is in
            it stays.
    """
    found, copy = (run_directory.RunDirectory(p) for p in (source, target))
    arrays, position = found.load_state()
    (copy.path / "rounds").mkdir(parents=True, exist_ok=True)
    if not (copy.path / "snapshot.safetensors").exists():
        copy.save_snapshot(found.load_snapshot())
    copy.save_masks(0, found.load_masks(0))
    # It comes last: with it, the copy is whole.
    copy.save_state(arrays, position)


def dense_weights(path):
    """Returns the weights that the dense round trained to.

    Args:
        path: Path of the directory that `KeepDense` wrote.

    Returns:
        Dict from weight key to array.
    """
    arrays, _ = run_directory.RunDirectory(path).load_state()
    return {
        name.removeprefix("weight/"): array
        for name, array in arrays.items() if name.startswith("weight/")
    }
