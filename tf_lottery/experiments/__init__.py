"""Experiments of the papers: presets, data, models and runs."""

from tf_lottery.experiments import models as models
from tf_lottery.experiments.analyses.analyze import analyze as analyze
from tf_lottery.experiments.catalogue import PRESETS as PRESETS
from tf_lottery.experiments.catalogue import preset as preset
from tf_lottery.experiments.datasets import Data as Data
from tf_lottery.experiments.datasets import (
    DatasetUnavailableError as DatasetUnavailableError,
)
from tf_lottery.experiments.datasets import LOADERS as LOADERS
from tf_lottery.experiments.datasets import load as load
from tf_lottery.experiments.presets import Preset as Preset
from tf_lottery.experiments.run import estimate as estimate
from tf_lottery.experiments.run import run as run
