"""The optimizer that holds masks, and its life on a model."""

from tf_lottery.optimizers.holding import attach as attach
from tf_lottery.optimizers.holding import check_compiled as check_compiled
from tf_lottery.optimizers.holding import detach as detach
from tf_lottery.optimizers.masked import Masked as Masked
from tf_lottery.optimizers.masked import awaits_masks as awaits_masks
from tf_lottery.optimizers.masked import find as find
from tf_lottery.optimizers.slots import initial_values as initial_values
from tf_lottery.optimizers.slots import innermost as innermost
from tf_lottery.optimizers.slots import leaves as leaves
from tf_lottery.optimizers.slots import project as project
from tf_lottery.optimizers.slots import slots_of as slots_of
from tf_lottery.optimizers.state import name_of as name_of
from tf_lottery.optimizers.state import reset as reset
from tf_lottery.optimizers.state import rewind_schedule as rewind_schedule
from tf_lottery.optimizers.state import state as state
