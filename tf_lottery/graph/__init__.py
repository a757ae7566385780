"""The graph of a model: channels, units and heads that depend on each other.

`trace` reads the graph of a model, without data, into a `Graph`: what must be
cut out of which weight, and changed in which configuration, when a channel
is removed. Units that cannot be removed exactly are frozen with the reason.
"""

from tf_lottery.graph import rules
from tf_lottery.graph.parts import Binding as Binding
from tf_lottery.graph.parts import ConfigEdit as ConfigEdit
from tf_lottery.graph.parts import Frozen as Frozen
from tf_lottery.graph.parts import Group as Group
from tf_lottery.graph.parts import Producer as Producer
from tf_lottery.graph.parts import Scale as Scale
from tf_lottery.graph.registry import register_rule as register_rule
from tf_lottery.graph.structure import Graph as Graph
from tf_lottery.graph.tracing import channel_readers as channel_readers
from tf_lottery.graph.tracing import channel_units as channel_units
from tf_lottery.graph.tracing import trace as trace
