"""Weights of a model: their keys, which can be pruned, values at a moment."""

from tf_lottery.weights.keys import SEED_NAME as SEED_NAME
from tf_lottery.weights.keys import Owners as Owners
from tf_lottery.weights.keys import check_built as check_built
from tf_lottery.weights.keys import check_layer as check_layer
from tf_lottery.weights.keys import check_masks as check_masks
from tf_lottery.weights.keys import is_seed as is_seed
from tf_lottery.weights.keys import layers as layers
from tf_lottery.weights.keys import owners as owners
from tf_lottery.weights.keys import variables as variables
from tf_lottery.weights.prunable import Weight as Weight
from tf_lottery.weights.prunable import inspect as inspect
from tf_lottery.weights.prunable import prunable as prunable
from tf_lottery.weights.prunable import prunable_of as prunable_of
from tf_lottery.weights.prunable import resolve as resolve
