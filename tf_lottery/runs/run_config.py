"""The configuration of a run, by which another start is the same run."""

from tf_lottery import files
from tf_lottery.utils import configurations

# What may change: a run is extended, and resumed by other versions if the
# user says so.
_MAY_CHANGE = ("run", "rounds", "versions")
CONFIG, MODEL = "config.json", "model.json"


def check(directory, config, model):
    """Raises unless this is the run's; returns how the versions differ.

    The model is described at length in a file of its own, and by its digest in
    `config`. What a run of the first release has not noted is not compared.
    """
    found = files.read_json(directory / CONFIG)
    config = configurations.plain(config)
    absent = () if "run" in found else config.keys() - found.keys()
    differences = configurations.differences(
        found, config, but=(*_MAY_CHANGE, "model", *absent)
    )
    if "model" not in absent and found.get("model") != config.get("model"):
        differences += _differences_of_models(directory / MODEL, model)
    if differences:
        raise ValueError(
            f"Directory '{directory}' holds another run. Choose another "
            "`directory`, or go back to what that run had. Differences:\n  "
            + "\n  ".join(differences)
        )
    return configurations.differences(
        found.get("versions", {}), config.get("versions", {})
    )


def _differences_of_models(path, model):
    found = files.read_json(path) if path.exists() else {}
    return configurations.differences(
        {"model": found}, {"model": configurations.plain(model)}
    ) or ["model: another one there"]
