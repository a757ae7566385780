"""Runs that resume from the dense round of another run.

What `IterativeMagnitudePruning` writes when the dense round has ended is all
that any variant of it needs to resume from there. A copy of it, given to the
variant as its directory, looks like a run of its own that was interrupted.
"""

import pathlib
import secrets
import shutil

import keras

from tf_lottery import holding
from tf_lottery.runs import codec
from tf_lottery.runs import run_directory


class KeepDense(keras.callbacks.Callback):
    """Keeps the state at the end of the dense round; comes after `imp`.

    With it go the directories of other points, which `KeepPoints` has made.
    """

    def __init__(self, imp, path, points=()):
        super().__init__()
        self._imp, self._path, self._points = imp, path, points

    def on_epoch_begin(self, epoch, logs=None):
        # The state was saved just now, before the model was pruned. One that
        # is newer is of a run that had kept it already.
        if self._imp.round == 1 and not is_kept(self._path):
            found = [path for path in self._points if path.exists()]
            publish(self._imp.directory, self._path, found)
            for path in found:
                shutil.rmtree(path)


class KeepPoints(keras.callbacks.Callback):
    """Keeps other rewinding points that the dense round comes by; after `imp`.

    `paths` leads from each point to a directory for its rounds. One that `fit`
    does not stop at is not kept. Points that are no steps need `epochs`.
    """

    def __init__(self, imp, paths, epochs=None):
        super().__init__()
        self._imp, self._points, self._epochs = imp, paths, epochs
        self._paths = {}

    def on_train_begin(self, logs=None):
        steps = self.params.get("steps")
        self._paths = {
            point.to_step(steps, self._epochs): path
            for point, path in self._points.items()
            if steps is not None or not (point.epochs or point.fraction)
        }

    def on_epoch_begin(self, epoch, logs=None):
        self._keep()

    def on_train_batch_end(self, batch, logs=None):
        self._keep()

    def _keep(self):
        if self._imp.round or not self._paths:
            return
        step = self._imp.step
        if step in self._paths:
            run = run_directory.RunDirectory(self._imp.directory).run
            place = run_directory.RunDirectory(
                self._paths.pop(step), run=run
            )
            place.path.mkdir(parents=True, exist_ok=True)
            place.save_snapshot(holding.capture(self.model, step))


def publish(source, target, extra=()):
    """Copies a run at the end of its dense round for others to resume from.

    The copy, with extra files, is whole or not there: of several processes, on
    several machines, the first wins. If the last saved state is another,
    nothing is copied.
    """
    target = pathlib.Path(target)
    found = run_directory.RunDirectory(source).load_state()
    at_end = found and found[1]["clock"]
    if is_kept(target) or not (
        at_end and at_end["round"] == 0 and at_end["round_over"]
    ):
        return
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    temporary.mkdir(parents=True)
    try:
        branch(source, temporary)
        for path in map(pathlib.Path, extra):
            copy = shutil.copytree if path.is_dir() else shutil.copy2
            copy(path, temporary / path.name)
        try:
            temporary.rename(target)
        except OSError:
            # A directory that is not empty is not replaced. Where others were
            # killed in the middle, it has no state.
            if not is_kept(target):
                branch(source, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_kept(path):
    """Returns whether a directory holds a whole state."""
    return any(pathlib.Path(path).glob("state-*.safetensors"))


def branch(source, target):
    """Copies a run as it stood at the end of its dense round, saved last.

    A rewinding point that is in the target stays.
    """
    found = run_directory.RunDirectory(source)
    arrays, position = found.load_state()
    copy = run_directory.RunDirectory(target, run=found.run)
    (copy.path / "rounds").mkdir(parents=True, exist_ok=True)
    if not (copy.path / "snapshot.safetensors").exists():
        copy.save_snapshot(found.load_snapshot())
    copy.save_masks(0, found.load_masks(0))
    # It comes last: with it, the copy is whole.
    copy.save_state(arrays, position)


def dense_weights(path):
    """Returns what a dense round that was kept trained to, by weight key."""
    arrays, _ = run_directory.RunDirectory(path).load_state()
    return codec.part(arrays, "weight")
