"""The files of a run: the only place that knows their names."""

import contextlib
import json
import pathlib
import warnings

import numpy as np

from tf_lottery import configurations
from tf_lottery import files
from tf_lottery import masks as masks_lib
from tf_lottery import results as results_lib
from tf_lottery import snapshots


class RunDirectory:
    """A directory that describes itself and holds a run of rounds.

    `config.json` says what was run, `results.csv` and `results.json` what
    came out, `snapshot.safetensors` holds the rewinding point once, and
    `rounds/NN/masks.safetensors` the masks of each round, one bit a weight.
    All files are written whole or not at all, and none needs tf_lottery to
    be read.

    Args:
        path: Path of the directory; it is made if it does not exist.
        writes: Boolean. If not, another process writes to the directory and
            this one only reads: `save_*` do nothing. Defaults to `True`.
    """

    def __init__(self, path, writes=True):
        self.path = pathlib.Path(path)
        self.writes = writes
        self._lock = files.Lock(self.path / "lock")
        self._states = [self.path / f"state-{i}.safetensors" for i in (0, 1)]
        self._saves = 0

    def open(self, config):
        """Makes the directory, or goes on with the run that it holds.

        Until `close`, or the end of the process, no other process can open
        the directory.

        Args:
            config: Dict of plain values. All but `rounds` must be those of
                the run that the directory holds.

        Raises:
            ValueError: If the directory holds another run; the message shows
                the differences.
            RuntimeError: If another process is using it.
            DamagedFileError: If its `config.json` cannot be read.
            OSError: If it cannot be written.
        """
        config = json.loads(json.dumps(config))
        if not self.writes:
            self._check_written(config)
            return
        with contextlib.ExitStack() as failed:
            failed.callback(self.close)
            try:
                (self.path / "rounds").mkdir(parents=True, exist_ok=True)
                self._lock.acquire()
                if self._config.exists():
                    self._check(self._read_config(), config)
                files.write_text(self._config, _json(config))
            except OSError as error:
                raise _cannot_write(self.path, error) from error
            failed.pop_all()

    @property
    def saves(self):
        """Integer, the number of the state that was saved or loaded last."""
        return self._saves

    def close(self):
        """Lets other processes open the directory."""
        self._lock.release()

    def save_state(self, arrays, position):
        """Writes the state of training; the one before it is kept.

        Args:
            arrays: Dict of arrays.
            position: Dict of plain values.
        """
        self._saves += 1
        self._write_arrays(
            self._states[self._saves % 2],
            arrays,
            {"save": self._saves, "position": position},
        )

    def load_state(self):
        """Reads the newest state that is whole.

        Returns:
            Tuple of the dict of arrays and the position; `None` if no state
            was ever saved.

        Raises:
            DamagedFileError: If states were saved and none is whole.
        """
        found, damaged = [], []
        for path in self._states:
            try:
                arrays, header = files.read_arrays(path)
                found.append((header["save"], arrays, header["position"]))
            except FileNotFoundError:
                continue
            except files.DamagedFileError as error:
                damaged.append(str(error))
        if damaged and not found:
            raise files.DamagedFileError(
                f"The run in '{self.path}' cannot go on: no saved state is "
                "whole.\n" + "\n".join(damaged)
            )
        if damaged:
            warnings.warn(
                f"{damaged[0]} The run goes on from the state before it.",
                stacklevel=2,
            )
        if not found:
            return None
        self._saves, arrays, position = max(found, key=lambda item: item[0])
        return arrays, position

    def save_snapshot(self, snapshot):
        """Writes the rewinding point."""
        self._save_snapshot(self.path / "snapshot.safetensors", snapshot)

    def load_snapshot(self):
        """Reads the rewinding point."""
        return _load_snapshot(self.path / "snapshot.safetensors")

    def save_start(self, round, snapshot):
        """Writes the starting point of a round that has one of its own."""
        self._save_snapshot(self._round(round) / "start.safetensors", snapshot)

    def load_start(self, round):
        """Reads the starting point of a round, `None` if it has no own."""
        path = self._round(round) / "start.safetensors"
        return _load_snapshot(path) if path.exists() else None

    def save_masks(self, round, masks):
        """Writes the masks of a round."""
        if self.writes:
            self._round(round).mkdir(exist_ok=True)
        self._write_arrays(
            self._round(round) / "masks.safetensors",
            {
                key: np.frombuffer(masks_lib.pack(mask), "uint8")
                for key, mask in masks.items()
            },
            {
                "round": round,
                "density": masks_lib.density(masks),
                "shapes": {k: list(mask.shape) for k, mask in masks.items()},
            },
        )

    def load_masks(self, round):
        """Reads the masks of a round."""
        arrays, header = files.read_arrays(
            self._round(round) / "masks.safetensors"
        )
        return {
            key: masks_lib.unpack(array.tobytes(), header["shapes"][key])
            for key, array in arrays.items()
        }

    def save_results(self, results):
        """Writes the results so far, as JSON and as CSV."""
        rows = [result.to_dict() for result in results]
        self._write_text(self.path / "results.json", _json(rows))
        self._write_text(
            self.path / "results.csv", results_lib.to_csv(results)
        )

    def load_results(self):
        """Reads the results."""
        rows = json.loads((self.path / "results.json").read_text())
        return [results_lib.RoundResult.from_dict(row) for row in rows]

    def _write_arrays(self, path, arrays, metadata):
        if self.writes:
            files.write_arrays(path, arrays, metadata)

    def _write_text(self, path, text):
        if self.writes:
            files.write_text(path, text)

    def _save_snapshot(self, path, snapshot):
        arrays = {f"weight/{k}": v for k, v in snapshot.weights.items()}
        arrays |= {
            f"optimizer/{i}": v for i, v in enumerate(snapshot.optimizer)
        }
        self._write_arrays(
            path,
            arrays,
            {"step": snapshot.step, "optimizer": snapshot.optimizer_name},
        )

    def _check_written(self, config):
        """Raises unless the process that writes has written this `config`."""
        if not self._config.exists():
            raise FileNotFoundError(
                f"Directory '{self.path}' is not the one that process 0 "
                "writes to. Choose one that all processes see, on a file "
                "system that they share."
            )
        self._check(self._read_config(), config)

    def _read_config(self):
        try:
            found = json.loads(self._config.read_text())
        except ValueError as error:
            raise files.DamagedFileError(
                f"File '{self._config}' is damaged: {error}. It was left as "
                "it is."
            ) from None
        return found

    def _check(self, found, config):
        """Raises unless a run's configuration is the one of this run."""
        differences = configurations.differences(
            found, config, but=("rounds",)
        )
        if differences:
            raise ValueError(
                f"Directory '{self.path}' holds another run. Choose another "
                "`directory`, or go back to what that run had. Differences:\n  "
                + "\n  ".join(differences)
            )

    @property
    def _config(self):
        return self.path / "config.json"

    def _round(self, round):
        return self.path / "rounds" / f"{round:02d}"


def _cannot_write(path, error):
    return OSError(
        error.errno, f"Directory '{path}' cannot be written: {error.strerror}"
    )


def _load_snapshot(path):
    arrays, header = files.read_arrays(path)
    weights = {
        name.removeprefix("weight/"): array
        for name, array in arrays.items() if name.startswith("weight/")
    }
    count = len(arrays) - len(weights)
    return snapshots.Snapshot(
        header["step"],
        weights,
        [arrays[f"optimizer/{i}"] for i in range(count)],
        header["optimizer"],
    )


def _json(values):
    return json.dumps(values, indent=2) + "\n"
