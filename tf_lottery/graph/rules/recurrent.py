"""Recurrent layers: a unit has a slice in every gate."""

import keras
import numpy as np

from tf_lottery.graph.registry import register_rule
from tf_lottery.graph.rules import activations
from tf_lottery.utils import layer_kinds

_GATES = {
    keras.layers.LSTMCell: 4,
    keras.layers.GRUCell: 3,
    keras.layers.SimpleRNNCell: 1,
}


@register_rule(*layer_kinds.named("LSTM GRU SimpleRNN RNN"))
def recurrent(call):
    """Units of the state, which the recurrent kernel reads."""
    layer, cell = call.layer, call.layer.cell
    gates = _GATES.get(type(cell))
    if gates is None:
        kind = type(cell).__name__
        return call.frozen(f"{call.name} has a cell {kind} without a rule")
    # A layer of its own says how many units its cell has.
    own = type(layer).call is not keras.layers.RNN.call
    entry = "units" if own else ("cell", "config", "units")
    return _gated(call, cell.units, gates, entry, -1)


@register_rule(*layer_kinds.named("ConvLSTM?D"))
def convolutional(call):
    """As LSTM, with channels in the place of units."""
    axis = call.channel_axis
    if axis != -1:
        return call.frozen(f"{call.name} has channels first")
    return _gated(call, call.layer.filters, 4, "filters", axis)


def _gated(call, count, gates, entry, axis):
    layer, cell = call.layer, call.layer.cell
    x, states = _arguments(call)
    out = call.fresh(count)
    tiled = np.tile(out, gates)
    call.bind(cell.kernel, -2, call.along(x, axis), "in")
    call.bind(cell.kernel, -1, tiled, "out")
    call.bind(cell.recurrent_kernel, -2, out, "in")
    call.bind(cell.recurrent_kernel, -1, tiled, "out")
    call.bind(cell.bias, -1, tiled, "out")
    call.edit_count(entry, out)
    activations.freeze_mixed(
        call,
        out,
        cell.activation,
        getattr(cell, "recurrent_activation", None),
    )
    for state in states:
        call.units.union(out, call.along(state, axis))
    if layer.stateful:
        call.freeze(out, f"{call.name} keeps its state between batches")
    return [call.place(out, axis, len(shape)) for shape in call.outputs]


def _arguments(call):
    """The sequence, and the symbols of the initial state."""
    arguments = call.arguments()
    x = arguments.get("sequences", call.inputs[0])
    for mask in [arguments.get("mask")]:
        if mask is not None and mask in call.inputs:
            call.freeze_mixed(mask)
    skipped = (x, arguments.get("mask"))
    states = [s for s in call.inputs if not any(s is k for k in skipped)]
    return x, states
