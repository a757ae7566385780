"""The configuration of a run, by which another start is the same run."""

import json

from tf_lottery import files
from tf_lottery.utils import configurations

# What may change: a run is extended, and resumed by other versions if the
# user says so.
_MAY_CHANGE = ("run", "rounds", "versions")


class RunConfig:
    """The file `config.json` of a run, and `model.json` next to it.

    The model is described at length in a file of its own, and by its digest
    in `config.json`.
    """

    def __init__(self, path):
        self.path = path / "config.json"
        self._model = path / "model.json"

    def read(self):
        """Returns the configuration of the run as a dict."""
        return files.read_json(self.path)

    def write(self, config, model):
        """Writes the configuration of the run and that of its model."""
        if model is not None:
            files.write_text(self._model, to_json(model))
        files.write_text(self.path, to_json(config))

    def check(self, config, model):
        """Raises unless this is the run's; returns how the versions differ.

        What a run of the first release has not noted is not compared.

        Raises:
            ValueError: If they differ in anything else; the message lists
                what was and what is.
        """
        found, config = self.read(), plain(config)
        absent = () if "run" in found else config.keys() - found.keys()
        differences = configurations.differences(
            found, config, but=(*_MAY_CHANGE, "model", *absent)
        )
        if "model" not in absent and found.get("model") != config.get("model"):
            differences += self._differences_of_models(model)
        if differences:
            raise ValueError(
                f"Directory '{self.path.parent}' holds another run. Choose "
                "another `directory`, or go back to what that run had. "
                "Differences:\n  " + "\n  ".join(differences)
            )
        return configurations.differences(
            found.get("versions", {}), config.get("versions", {})
        )

    def _differences_of_models(self, model):
        found = files.read_json(self._model) if self._model.exists() else {}
        return configurations.differences(
            {"model": found}, {"model": plain(model)}
        ) or ["model: another one there"]


def to_json(values):
    """Returns plain values as the text of a JSON file."""
    return json.dumps(values, indent=2) + "\n"


def plain(values):
    """Returns plain values as they come out of a JSON file."""
    return json.loads(json.dumps(values))
