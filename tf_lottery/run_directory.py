"""The files of a run: the only place that knows their names."""

import json
import pathlib

import numpy as np

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
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def create(self, config):
        """Makes the directory and writes what is going to be run.

        Raises:
            ValueError: If the directory holds a run already.
            OSError: If it cannot be written.
        """
        if self._config.exists():
            raise ValueError(
                f"Directory '{self.path}' already holds a run. Choose another "
                "`directory`, or delete that run."
            )
        try:
            (self.path / "rounds").mkdir(parents=True, exist_ok=True)
            files.write_text(self._config, _json(config))
        except OSError as error:
            raise OSError(
                error.errno,
                f"Directory '{self.path}' cannot be written: {error.strerror}",
            ) from error

    def save_snapshot(self, snapshot):
        """Writes the rewinding point."""
        _save_snapshot(self.path / "snapshot.safetensors", snapshot)

    def load_snapshot(self):
        """Reads the rewinding point."""
        return _load_snapshot(self.path / "snapshot.safetensors")

    def save_start(self, round, snapshot):
        """Writes the starting point of a round that has one of its own."""
        _save_snapshot(self._round(round) / "start.safetensors", snapshot)

    def load_start(self, round):
        """Reads the starting point of a round, `None` if it has no own."""
        path = self._round(round) / "start.safetensors"
        return _load_snapshot(path) if path.exists() else None

    def save_masks(self, round, masks):
        """Writes the masks of a round."""
        self._round(round).mkdir(exist_ok=True)
        files.write_arrays(
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
        files.write_text(self.path / "results.json", _json(rows))
        files.write_text(
            self.path / "results.csv", results_lib.to_csv(results)
        )

    def load_results(self):
        """Reads the results."""
        rows = json.loads((self.path / "results.json").read_text())
        return [results_lib.RoundResult.from_dict(row) for row in rows]

    @property
    def _config(self):
        return self.path / "config.json"

    def _round(self, round):
        return self.path / "rounds" / f"{round:02d}"


def _save_snapshot(path, snapshot):
    arrays = {f"weight/{k}": v for k, v in snapshot.weights.items()}
    arrays |= {f"optimizer/{i}": v for i, v in enumerate(snapshot.optimizer)}
    files.write_arrays(path, arrays, {"step": snapshot.step})


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
    )


def _json(values):
    return json.dumps(values, indent=2) + "\n"
