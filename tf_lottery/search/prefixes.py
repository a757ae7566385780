"""Prefixes: what a model computes before the first layer that changes."""

import keras
import numpy as np
from keras import ops

from tf_lottery import internals
from tf_lottery.graph import functional
from tf_lottery.search import steps as steps_lib
from tf_lottery.utils import backends

# A model is cut in as many places, of as many layers each: each takes a trace.
_PLACES, _LAYERS = 12, 8
# Of what is kept, and of what a layer makes of a batch of so many at least.
_BYTES, _BATCH_BYTES, _LEAST = 2**25, 2**23, 8
_TOLERANCE = 1e-4


class Prefix:
    """Runs a model again and again, from the first layer that changes.

    What the layers before make of the data is kept, where it takes no more
    than the weights, or 32 MiB. A model that is no graph
    of layers is run whole; where parts compute something else (where masks of
    time steps cross the cut), it is not cut.

    Args:
        batches: List of inputs. Each size takes a trace.
    """

    def __init__(self, model, batches):
        self._model, self._batches = model, batches
        graph = self._graph = functional.own_graph(model)
        self._steps = graph and steps_lib.Steps(graph)
        self._places = graph and self._steps.places()
        most = max(_BYTES, 4 * model.count_params())
        size = sum(len(keras.tree.flatten(x)[0]) for x in batches)
        self._cuts = self._chosen(most / (4 * size)) if graph else {}
        self._whole()
        self._structure = self._run(batches[0])

    def first(self, variables):
        """Returns the first step that reads one of some variables."""
        if not self._places:
            return 0
        return min((self._places.get(id(v), 0) for v in variables), default=0)

    def start_at(self, variables):
        """Runs from the last place before all that read some variables.

        The others must have the values they had at first.
        """
        first = self.first(variables)
        while self._at != (
            cut := max((c for c in self._cuts if c <= first), default=0)
        ):
            if cut < self._at:
                self._whole()
            else:
                self._advance(cut)

    def outputs(self):
        """Yields the outputs for each batch of the model as it is now."""
        for state in self._states:
            yield keras.tree.pack_sequence_as(
                self._structure, _arrays(self._run(state))
            )

    def _whole(self):
        self._at, self._states = 0, list(self._batches)
        self._run = backends.compiled(
            lambda x: self._model(x, training=False)
        )

    def _advance(self, place):
        """Moves to a later place, or drops it if anything is lost there."""
        prefix = self._part(self._at, place)
        suffix = self._part(place, len(self._steps))
        first = self._states[0]
        state = _arrays(prefix(first))
        if not all(map(
            _close, _arrays(self._run(first)), _arrays(suffix(state))
        )):
            del self._cuts[place]
            return
        for index, other in enumerate(self._states):
            # Of what was kept no more than a batch is kept twice.
            self._states[index] = _arrays(prefix(other)) if index else state
        self._run, self._at = suffix, place

    def _part(self, start, stop):
        """Returns a function from the state at a place to that at another."""
        return backends.compiled(
            lambda state: self._between(start, stop, state)
        )

    def _between(self, start, stop, state):
        if not start:
            state = internals.graphs.flat_inputs(self._graph, state)
        values = dict(zip(
            self._cuts.get(start, self._steps.inputs),
            map(ops.convert_to_tensor, state),
        ))
        self._steps.run(start, stop, values)
        return [values[n] for n in self._cuts.get(stop, self._steps.outputs)]

    def _chosen(self, most):
        """Returns the tensors that cross each cut, where these are few."""
        crossing = dict(enumerate(self._steps.crossing()))
        del crossing[0]
        sizes = {
            place: sum(self._steps.sizes[n] for n in found)
            for place, found in crossing.items()
        }
        number = min(_PLACES, len(crossing) // _LAYERS)
        best = [
            min(places.tolist(), key=sizes.get)
            for places in np.array_split(list(crossing), number)
        ] if number else []
        return {p: crossing[p] for p in best if sizes[p] <= most}


def fitting(model, most):
    """Returns a batch size, small where what a layer makes is large."""
    graph = functional.own_graph(model)
    if graph is None:
        return most
    largest = 4 * max(steps_lib.Steps(graph).sizes)
    return max(min(_LEAST, most), min(most, _BATCH_BYTES // largest))


def _close(a, b):
    return np.allclose(b, a, _TOLERANCE, _TOLERANCE * np.abs(a).max())


def _arrays(outputs):
    return list(map(ops.convert_to_numpy, keras.tree.flatten(outputs)))
