"""Layers around layers."""

import keras
import numpy as np

from tf_lottery.graph.call import Symbol
from tf_lottery.graph.registry import register_rule


@register_rule(keras.layers.TimeDistributed)
def time_distributed(call):
    """The rule of the layer inside, at every step."""
    x = call.inputs[0]
    if call.units.varies(x.ids, 0):
        call.freeze(x, f"{call.name} has units along time")
    step = Symbol(
        x.ids.take(0, axis=0), (x.shape[0], *x.shape[2:]), x.dtype
    )
    outputs = [(shape[0], *shape[2:]) for shape in call.outputs]
    ids = call.inner(
        call.layer.layer, [step], {}, ("layer", "config"), outputs
    )
    ids = [ids] if isinstance(ids, np.ndarray) else ids
    return [i[None] for i in ids]


@register_rule(keras.layers.Bidirectional)
def bidirectional(call):
    """The rule of the layer inside, forwards and backwards."""
    layer = call.layer
    arguments = call.arguments()
    x, mask = arguments["sequences"], arguments.get("mask")
    if arguments.get("initial_state") is not None:
        return call.frozen(f"{call.name} is given a state")
    if isinstance(mask, Symbol):
        call.freeze_mixed(mask)
    forward = _direction(call, layer.forward_layer, "layer", x)
    backward = _direction(call, layer.backward_layer, "backward_layer", x)
    for a, b in zip(forward, backward):
        # Keras takes the two for equally wide.
        if a.shape != b.shape:
            call.freeze(a, f"{call.name} has directions of unlike width")
            call.freeze(b, f"{call.name} has directions of unlike width")
            return call.frozen(f"{call.name} has directions of unlike width")
        call.units.union(a, b)
    states = [*forward[1:], *backward[1:]]
    if layer.merge_mode is None:
        return [forward[0], backward[0], *states]
    if layer.merge_mode == "concat":
        return [np.concatenate([forward[0], backward[0]], -1), *states]
    return [forward[0], *states]


def _direction(call, layer, name, x):
    rank = len(x.shape)
    sequence = (None,) * (rank if layer.return_sequences else rank - 1)
    count = np.size(layer.cell.state_size) if layer.return_state else 0
    state = (None,) * (rank - 1)
    outputs = [sequence, *[state] * count]
    ids = call.inner(layer, [x], {}, (name, "config"), outputs)
    return [ids] if isinstance(ids, np.ndarray) else list(ids)
