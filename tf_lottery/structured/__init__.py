"""Physically smaller models: plan, shrink, compact, each proved equal."""

from tf_lottery.graph import register_rule as register_rule
from tf_lottery.structured.centring import centre as centre
from tf_lottery.structured.compacting import compact as compact
from tf_lottery.structured.compacting import compact_ticket as compact_ticket
from tf_lottery.structured.compacting import report_of as report_of
from tf_lottery.structured.costs import Costs as Costs
from tf_lottery.structured.planning import plan as plan
from tf_lottery.structured.plans import Plan as Plan
from tf_lottery.structured.scores import score as score
from tf_lottery.structured.shrinking import shrink as shrink
from tf_lottery.structured.shrinking import shrink_snapshot as shrink_snapshot
from tf_lottery.structured.shrinking import shrink_ticket as shrink_ticket
from tf_lottery.structured.verifying import Proof as Proof
from tf_lottery.structured.verifying import (
    VerificationError as VerificationError,
)
from tf_lottery.structured.verifying import proof_of as proof_of
