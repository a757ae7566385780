"""Masks on a model: held, read, saved and loaded with it."""

from tf_lottery.holding.models import aside as aside
from tf_lottery.holding.models import check_masks as check_masks
from tf_lottery.holding.models import hold as hold
from tf_lottery.holding.models import hold_known as hold_known
from tf_lottery.holding.models import hold_shared as hold_shared
from tf_lottery.holding.models import let_go as let_go
from tf_lottery.holding.models import masks_of as masks_of
from tf_lottery.holding.models import on_compile as on_compile
from tf_lottery.holding.models import place as place
from tf_lottery.holding.models import settle as settle
from tf_lottery.holding.models import strip as strip
from tf_lottery.holding.rewinding import agree as agree
from tf_lottery.holding.rewinding import capture as capture
from tf_lottery.holding.rewinding import rewind as rewind
from tf_lottery.holding.rewinding import synchronise as synchronise
