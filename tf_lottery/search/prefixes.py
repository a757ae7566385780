"""Prefixes: what a model computes before the first layer that changes."""

import keras
import numpy as np
from keras import ops

from tf_lottery import internals
from tf_lottery.criteria import batches as batches_lib
from tf_lottery.graph import functional
from tf_lottery.graph import steps as steps_lib
from tf_lottery.utils import backends

# A model is cut in as many places, of as many layers each: each takes a trace.
_PLACES, _LAYERS = 12, 8
# What is kept takes no more, or, of models that are not small, no more than
# the weights.
_BYTES, _SMALL = 2**25, 2**20
_TOLERANCE = 1e-4


class Prefix:
    """Runs a model again and again, from the first layer that changes.

    What the layers before make of the data is kept, where it takes no more
    than the weights, or than 32 MiB for a model of less than 4 MiB. A batch
    goes through them in pieces, larger ones where layers make less of an
    example. A model that is no graph of layers is run whole; where parts
    compute something else (where masks of time steps cross the cut), or what
    crosses it is not one row for each example, it is not cut.

    Args:
        batches: List of inputs. Where a model is no graph, each size takes a
            trace.
    """

    def __init__(self, model, batches):
        self._model, self._batches = model, batches
        graph = self._graph = functional.own_graph(model)
        self._steps = graph and steps_lib.Steps(graph)
        self._places = graph and self._steps.places()
        lengths = list(map(batches_lib.len_of, batches))
        self._longest = max(lengths)
        count = model.count_params()
        most = _BYTES if count < _SMALL else 4 * count
        self._cuts = self._chosen(most / (4 * sum(lengths))) if graph else {}
        self._whole()
        self._structure = self._run(
            self._piece(batches[0], 0, self._size)
        )
        backends.release(self._model)

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
                self._structure, self._through(self._run, state)
            )

    def _whole(self):
        self._at, self._states = 0, list(self._batches)
        self._size = self._size_at(0)
        self._run = self._rest()

    def _rest(self):
        """Returns a function from the state now to the outputs."""
        if self._at:
            return self._part(self._at, len(self._steps))
        return backends.compiled(lambda x: self._model(x, training=False))

    def _advance(self, place):
        """Moves to a later place, or drops it if anything is lost there."""
        size = self._size_at(place)
        some = self._piece(self._states[0], 0, size)
        now = self._through(self._run, some)
        # No more traces at once than are needed.
        self._run = None
        prefix = self._part(self._at, place)
        run = self._part(place, len(self._steps))
        kept = self._through(prefix, some)
        if {len(a) for a in kept} != {size} or not all(map(
            _close, now, _arrays(run(kept))
        )):
            del self._cuts[place]
            self._run = self._rest()
            return
        backends.release(self._model)
        for index, state in enumerate(self._states):
            # Of what was kept no more than a batch is kept twice.
            self._states[index] = self._through(prefix, state)
        self._run, self._at, self._size = run, place, size
        del prefix
        backends.release(self._model)

    def _size_at(self, place):
        """Returns how many examples are run at once from a place on."""
        if not self._graph:
            return self._longest
        most = steps_lib.examples(
            self._model, self._graph, self._longest,
            self._steps.largest(place),
        )
        return -(-self._longest // -(-self._longest // most))

    def _through(self, run, state):
        """Returns arrays: what a function makes of a batch, in pieces."""
        number = batches_lib.len_of(state)
        if not self._graph:
            return _arrays(run(state))
        found = None
        for start in range(0, number, self._size):
            made = _arrays(run(self._piece(state, start, self._size)))
            if found is None:
                found = [
                    np.empty((number * rows, *a.shape[1:]), a.dtype)
                    for rows, a in zip(map(self._rows, made), made)
                ]
            for into, array in zip(found, made):
                part = into[start * self._rows(array):][:len(array)]
                part[:] = array[:len(part)]
        return found

    def _rows(self, array):
        """How many rows one example has, as where time steps are examples."""
        return len(array) // self._size

    def _piece(self, state, start, size):
        """Returns some examples; the last ones are filled up with another.

        A piece of another size would take a trace.
        """
        def cut(array):
            part = array[start:start + size]
            missing = self._graph and size - len(part)
            if not missing:
                return part
            part = ops.convert_to_numpy(part)
            return np.concatenate([part, np.repeat(part[-1:], missing, 0)])

        return keras.tree.map_structure(cut, state)

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


def _close(a, b):
    return np.allclose(b, a, _TOLERANCE, _TOLERANCE * np.abs(a).max())


def _arrays(outputs):
    return [
        np.atleast_1d(ops.convert_to_numpy(tensor))
        for tensor in keras.tree.flatten(outputs)
    ]
