"""Prefixes: what a model computes before the first layer that changes."""

import math

import keras
import numpy as np
from keras import ops

from tf_lottery import internals
from tf_lottery.analysis import evaluating
from tf_lottery.graph import functional

# A model is cut in as many places, of as many layers each: each takes a trace.
_PLACES, _LAYERS = 8, 8
# Of what is kept, in float32, and of an axis whose size is open.
_BYTES, _OPEN = 2**28, 128
_TOLERANCE = 1e-4


class Prefix:
    """Runs a model again and again, from the first layer that changes.

    What the layers before make of the data is kept. A model that is no graph
    of layers, or whose parts compute something else (where masks of time
    steps cross the cut), is run whole.

    Args:
        batches: List of inputs, all of one size.
    """

    def __init__(self, model, batches):
        self._model, self._batches = model, batches
        graph = self._graph = functional.own_graph(model)
        self._nodes = list(internals.graphs.nodes(graph)) if graph else []
        self._places = {}
        for place, node in reversed(list(enumerate(self._nodes))):
            for variable in getattr(node.operation, "variables", ()):
                self._places[id(variable)] = place
        size = sum(len(keras.tree.flatten(x)[0]) for x in batches)
        self._cuts = self._chosen(_BYTES / (4 * size)) if graph else {}
        self._whole()

    def start_at(self, variables):
        """Runs from the last place before all that read some variables.

        The others must have the values they had at first.
        """
        first = min(
            (self._places.get(id(v), 0) for v in variables), default=0
        )
        cut = max((c for c in self._cuts if c <= first), default=0)
        if cut < self._at:
            self._whole()
        for place in [c for c in self._cuts if self._at < c <= cut]:
            self._advance(place)

    def outputs(self):
        """Returns the outputs of the model as it is now, a list of arrays."""
        parts = [_arrays(self._run(state)) for state in self._states]
        return [np.concatenate(each) for each in zip(*parts)]

    def _whole(self):
        self._at, self._states = 0, self._batches
        self._run = evaluating.compiled(
            lambda x: self._model(x, training=False)
        )

    def _advance(self, place):
        """Moves to a later place, if nothing is lost there."""
        tensors, start, made = self._cuts[place], self._at, None
        if not start:
            made = keras.Model(
                internals.graphs.input_structure(self._graph), tensors
            )

        def prefix(state):
            if made is not None:
                return made(state, training=False)
            return self._between(start, place, state, tensors)

        def suffix(state):
            return self._between(
                place, len(self._nodes), state, self._graph.outputs, place
            )

        first = _arrays(self._run(self._states[0]))
        run = evaluating.compiled(suffix)
        state = _arrays(prefix(self._states[0]))
        for before, now in zip(first, _arrays(run(state)), strict=True):
            if not np.allclose(
                now, before, _TOLERANCE, _TOLERANCE * np.abs(before).max()
            ):
                del self._cuts[place]
                return
        self._states = [state, *(_arrays(prefix(s)) for s in self._states[1:])]
        self._run, self._at = run, place

    def _between(self, start, stop, state, tensors, given=None):
        """Computes tensors from those of the cut where it starts."""
        given = self._cuts[start if given is None else given]
        values = {id(t): ops.convert_to_tensor(a) for t, a in zip(given, state)}
        for node in self._nodes[start:stop]:
            args, kwargs = node.arguments.fill_in(values)
            layer = node.operation
            if isinstance(
                layer, keras.layers.Layer
            ) and internals.layers.takes_training(layer):
                kwargs["training"] = False
            outputs = keras.tree.flatten(layer(*args, **kwargs))
            values |= zip(map(id, node.outputs), outputs)
        return [values[id(t)] for t in tensors]

    def _chosen(self, most):
        """Returns the tensors that cross each cut, where these are few."""
        made = {id(t): (0, t) for t in self._graph.inputs}
        last = dict.fromkeys(map(id, self._graph.outputs), len(self._nodes))
        for place, node in enumerate(self._nodes):
            made |= {id(t): (place + 1, t) for t in node.outputs}
            for tensor in node.input_tensors:
                last[id(tensor)] = max(last.get(id(tensor), 0), place)
        crossing = {
            place: [
                t for i, (start, t) in made.items()
                if start <= place <= last.get(i, -1)
            ]
            for place in range(1, len(self._nodes))
        }
        sizes = {p: sum(map(_size, found)) for p, found in crossing.items()}
        number = min(_PLACES, len(crossing) // _LAYERS)
        best = [
            min(places.tolist(), key=sizes.get)
            for places in np.array_split(list(crossing), number)
        ] if number else []
        return {p: crossing[p] for p in best if sizes[p] <= most}


def _size(tensor):
    return math.prod(_OPEN if n is None else n for n in tensor.shape[1:])


def _arrays(outputs):
    return list(map(ops.convert_to_numpy, keras.tree.flatten(outputs)))
