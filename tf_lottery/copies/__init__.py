"""Copies of models that keep class, weights, attributes and training."""

from tf_lottery.copies.compiling import compile_like as compile_like
from tf_lottery.copies.compiling import copy_state as copy_state
from tf_lottery.copies.compiling import labels as labels
from tf_lottery.copies.making import NotCopyable as NotCopyable
from tf_lottery.copies.making import Twin as Twin
from tf_lottery.copies.making import can_clone as can_clone
from tf_lottery.copies.making import renewed as renewed
from tf_lottery.copies.making import twin as twin
from tf_lottery.copies.plain import check_unwrapped as check_unwrapped
from tf_lottery.copies.plain import strip as strip
from tf_lottery.copies.plain import unwrap as unwrap
