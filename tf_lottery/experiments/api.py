"""The public names of `tf_lottery.experiments`."""

from tf_lottery.experiments import models
from tf_lottery.experiments.analyses.analyze import analyze
from tf_lottery.experiments.catalogue import PRESETS
from tf_lottery.experiments.catalogue import preset
from tf_lottery.experiments.comparing import compare
from tf_lottery.experiments.datasets import LOADERS
from tf_lottery.experiments.datasets import Data
from tf_lottery.experiments.datasets import DatasetUnavailableError
from tf_lottery.experiments.datasets import load
from tf_lottery.experiments.measurements import read
from tf_lottery.experiments.presets import Preset
from tf_lottery.experiments.run import estimate
from tf_lottery.experiments.run import run

__all__ = [
    "models",
    "analyze",
    "PRESETS",
    "preset",
    "compare",
    "Data",
    "DatasetUnavailableError",
    "LOADERS",
    "load",
    "read",
    "Preset",
    "estimate",
    "run",
]
