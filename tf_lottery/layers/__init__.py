"""Layers that hold masks in the forward pass, or replace others."""

from tf_lottery.copies import unwrap as unwrap
from tf_lottery.graph.own_weights import AlongBatch as AlongBatch
from tf_lottery.graph.own_weights import OwnWeight as OwnWeight
from tf_lottery.layers.masked import Masked as Masked
from tf_lottery.layers.mean_square import (
    MeanSquareNormalization as MeanSquareNormalization,
)
from tf_lottery.layers.wrapping import wrap as wrap
