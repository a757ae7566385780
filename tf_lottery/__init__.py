"""Pruning and lottery tickets for Keras 3."""

__version__ = "0.1.0"

from tf_lottery import analysis as analysis
from tf_lottery import callbacks as callbacks
from tf_lottery import constraints as constraints
from tf_lottery import controls as controls
from tf_lottery import criteria as criteria
from tf_lottery import data as data
from tf_lottery import distributions as distributions
from tf_lottery import export as export
from tf_lottery import graph as graph
from tf_lottery import holding as holding
from tf_lottery import interop as interop
from tf_lottery import layers as layers
from tf_lottery import masks as masks
from tf_lottery import optimizers as optimizers
from tf_lottery import paths as paths
from tf_lottery import patterns as patterns
from tf_lottery import schedules as schedules
from tf_lottery import sparsity_schedules as sparsity_schedules
from tf_lottery import structured as structured
from tf_lottery import weights as weights
from tf_lottery.callbacks import (
    IterativeMagnitudePruning as IterativeMagnitudePruning,
)
from tf_lottery.holding import hold as hold
from tf_lottery.holding import masks_of as masks_of
from tf_lottery.holding import strip as strip
from tf_lottery.loading import load_model as load_model
from tf_lottery.loading import load_weights as load_weights
from tf_lottery.pruning import prune as prune
from tf_lottery.summaries import summary as summary
from tf_lottery.ticket import Ticket as Ticket


def __getattr__(name):
    # It imports keras-tuner, which takes a second.
    if name == "tuner":
        import importlib

        return importlib.import_module("tf_lottery.tuner")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
