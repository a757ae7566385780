"""What a trial came to, in its directory."""

import dataclasses
import json
import pathlib

from tf_lottery import files

_NAME = "outcome.json"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The record of one trial.

    Attributes:
        values: Dict of the hyperparameters.
        rounds: List of dicts, `round`, `density`, `steps` and `metrics` of
            each.
        chosen: Integer, the round that the objective is about, or `None`.
        score: Float, the objective, or `None` if the trial failed.
        exported: Dict of `bytes`, `compressed` and `latency`, or `None`.
        failure: String, why the trial failed, or `None`.
        shared: Boolean, whether the dense round was another trial's.
        seconds: Float, all that the trial took in this process.
        trained: Float, the seconds of that in `fit`.
    """

    values: dict
    rounds: list
    chosen: int | None = None
    score: float | None = None
    exported: dict | None = None
    failure: str | None = None
    shared: bool = False
    seconds: float = 0.0
    trained: float = 0.0

    def save(self, directory):
        """Writes it to the directory of its trial."""
        text = json.dumps(dataclasses.asdict(self), indent=2) + "\n"
        files.write_text(pathlib.Path(directory) / _NAME, text)


def load(directory):
    """Reads the outcome of a trial; `None` if there is none yet.

    Args:
        directory: Path of the directory of the trial.

    Raises:
        DamagedFileError: If it cannot be read.
    """
    path = pathlib.Path(directory) / _NAME
    if not path.exists():
        return None
    try:
        return Outcome(**files.read_json(path))
    except TypeError as error:
        raise files.damaged(path, error) from None


def of_rounds(results):
    """Returns `RoundResult`s as the plain `rounds` of an outcome."""
    names = ("round", "density", "effective_density", "steps", "metrics")
    return [{name: getattr(r, name) for name in names} for r in results]
