"""Wrapper layers that hold masks in the forward pass."""

from tf_lottery.layers.masked import Masked as Masked
from tf_lottery.layers.wrapping import can_clone as can_clone
from tf_lottery.layers.wrapping import check_unwrapped as check_unwrapped
from tf_lottery.layers.wrapping import unwrap as unwrap
from tf_lottery.layers.wrapping import wrap as wrap
