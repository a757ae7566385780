"""The public names of tf_lottery."""

from tf_lottery import analysis
from tf_lottery import callbacks
from tf_lottery import compression
from tf_lottery import constraints
from tf_lottery import controls
from tf_lottery import criteria
from tf_lottery import data
from tf_lottery import distributions
from tf_lottery import export
from tf_lottery import graph
from tf_lottery import holding
from tf_lottery import interop
from tf_lottery import layers
from tf_lottery import masks
from tf_lottery import optimizers
from tf_lottery import paths
from tf_lottery import patterns
from tf_lottery import quantize
from tf_lottery import schedules
from tf_lottery import sparsity_schedules
from tf_lottery import structured
from tf_lottery import weights
from tf_lottery.analysis import recalibrate
from tf_lottery.callbacks import IterativeMagnitudePruning
from tf_lottery.compression import compress
from tf_lottery.compression import sensitivity
from tf_lottery.holding import hold
from tf_lottery.holding import masks_of
from tf_lottery.holding import strip
from tf_lottery.holding.loading import load_model
from tf_lottery.holding.loading import load_weights
from tf_lottery.pruning import prune
from tf_lottery.pruning.summary import summary
from tf_lottery.quantize import cluster
from tf_lottery.runs.ticket import Ticket

__all__ = [
    "analysis",
    "callbacks",
    "compression",
    "constraints",
    "controls",
    "criteria",
    "data",
    "distributions",
    "export",
    "graph",
    "holding",
    "interop",
    "layers",
    "masks",
    "optimizers",
    "paths",
    "patterns",
    "quantize",
    "schedules",
    "sparsity_schedules",
    "structured",
    "weights",
    "IterativeMagnitudePruning",
    "cluster",
    "compress",
    "hold",
    "load_model",
    "load_weights",
    "masks_of",
    "strip",
    "prune",
    "recalibrate",
    "sensitivity",
    "summary",
    "Ticket",
]
