"""Weights of a model: their keys, which can be pruned, values at a moment."""

from tf_lottery.weights.keys import SEED_NAME
from tf_lottery.weights.keys import Owners
from tf_lottery.weights.keys import check_built
from tf_lottery.weights.keys import check_layer
from tf_lottery.weights.keys import check_masks
from tf_lottery.weights.keys import is_seed
from tf_lottery.weights.keys import layers
from tf_lottery.weights.keys import owners
from tf_lottery.weights.keys import variables
from tf_lottery.weights.prunable import Weight
from tf_lottery.weights.prunable import inspect
from tf_lottery.weights.prunable import prunable
from tf_lottery.weights.prunable import prunable_of
from tf_lottery.weights.prunable import resolve

__all__ = [
    "SEED_NAME",
    "Owners",
    "Weight",
    "check_built",
    "check_layer",
    "check_masks",
    "inspect",
    "is_seed",
    "layers",
    "owners",
    "prunable",
    "prunable_of",
    "resolve",
    "variables",
]
