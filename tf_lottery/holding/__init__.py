"""Masks on a model: held, read, saved and loaded with it."""

from tf_lottery.holding.models import aside
from tf_lottery.holding.models import check_masks
from tf_lottery.holding.models import hold
from tf_lottery.holding.models import hold_known
from tf_lottery.holding.models import let_go
from tf_lottery.holding.models import masks_of
from tf_lottery.holding.models import on_compile
from tf_lottery.holding.models import place
from tf_lottery.holding.models import settle
from tf_lottery.holding.models import strip
from tf_lottery.holding.rewinding import agree
from tf_lottery.holding.rewinding import capture
from tf_lottery.holding.rewinding import rewind
from tf_lottery.holding.rewinding import synchronise

__all__ = [
    "agree",
    "aside",
    "capture",
    "check_masks",
    "hold",
    "hold_known",
    "let_go",
    "masks_of",
    "on_compile",
    "place",
    "rewind",
    "settle",
    "strip",
    "synchronise",
]
