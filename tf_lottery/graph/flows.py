"""Flows: tensors followed through a model, and what joins them to streams."""

import collections
import dataclasses
import inspect

import keras
import numpy as np
from keras import tree

from tf_lottery.graph import functional
from tf_lottery.graph import own_weights
from tf_lottery.graph import trials
from tf_lottery.graph.functional import name_of
from tf_lottery.graph.units import Units
from tf_lottery.utils import layer_kinds


@dataclasses.dataclass(frozen=True, eq=False)
class _Flow:
    """A tensor, and the stream it is part of."""

    id: np.ndarray
    shape: tuple
    dtype: str
    is_flow: bool = True
    # The weight that it is, as it is.
    weight: keras.Variable | None = None


class Walk:
    """Follows streams from operation to operation."""

    def __init__(self):
        self.units = Units()
        # The id that a normalisation reads, that another operation writes
        # with a mean (and why), and that a weight writes, by its own id.
        self.norms, self.others, self.weights = {}, {}, {}
        # Of each layer scale its name, itself, and the ids around it; of each
        # id the calls that join others to it; how often a weight is read.
        self.scaled, self.linear = {}, []
        self.readers = collections.Counter()
        # Embeddings that their transpose reads as well.
        self.tied = {}
        self._memory, self._tried = {}, {}

    def fresh(self, tensor, reason=None, weight=None):
        """Returns a flow of its own, frozen if there is a reason."""
        id_ = self.units.fresh(1)
        if reason is not None:
            self.units.freeze(id_, reason)
        return _Flow(id_, tuple(tensor.shape), tensor.dtype, weight=weight)

    def freeze_weights(self, variables, reason):
        """Freezes all that some variables write into."""
        for variable in variables:
            self.units.freeze(self.written_by(variable), reason)

    def root(self, id_):
        """Returns the integer that a stream is known by so far."""
        return int(self.units.find(id_)[0])

    def written_by(self, variable):
        """Returns the id of the stream that a variable writes into."""
        place = id(variable)
        if place not in self.weights:
            self.weights[place] = variable, self.units.fresh(1)
        return self.weights[place][1]

    def run(self, view, inputs):
        """Follows a graph, once; another call is joined with the first."""
        if id(view) in self._memory:
            first, outputs = self._memory[id(view)]
            for a, b in zip(first, inputs):
                self.units.union(a.id, b.id)
            return outputs

        def call(operation, args, kwargs, outputs):
            return self._called(view, operation, args, kwargs, outputs)

        outputs = functional.run(view.graph, inputs, call)
        self._memory[id(view)] = inputs, outputs
        return outputs

    def _called(self, view, operation, args, kwargs, outputs):
        nested = view.parts.get(id(operation))
        if nested is not None:
            flows = functional.inputs_of(nested, args, kwargs, trials.is_tensor)
            return functional.spread(nested.graph, self.run(nested, flows))
        leaves, name = tree.flatten((args, kwargs)), name_of(operation)
        flows = list({id(x): x for x in leaves if trials.is_tensor(x)}.values())
        self.readers.update(id(x.weight) for x in flows)
        if isinstance(operation, own_weights.OwnWeight):
            flow = self.fresh(outputs[0], weight=operation.weight)
            self.units.union(flow.id, self.written_by(operation.weight))
            return [flow]
        constants = [x for x in leaves if isinstance(x, keras.Variable)]
        self.freeze_weights(constants, f"{name} reads a weight that makes it")
        if type(operation) is keras.layers.LayerNormalization:
            self._normalised(operation, flows[0])
            reason = f"{name} writes a mean into it, by its own scale and shift"
            return self._written(view, operation, outputs, reason)
        if isinstance(operation, own_weights.AlongBatch):
            flows = flows[:1]
        found = self._rescaled(operation, args, kwargs, flows, outputs)
        return found or self._applied(
            view, operation, args, kwargs, flows, outputs
        )

    def _rescaled(self, operation, args, kwargs, flows, outputs):
        """What a layer scale makes of a flow; `None` for others."""
        weights = [
            *(x.weight for x in flows), *getattr(operation, "weights", ())
        ]
        gammas = [v for v in weights if v is not None]
        read = [x for x in flows if x.weight is None]
        if len(gammas) != 1 or len(read) != 1 or len(outputs) != 1:
            return None
        (gamma,), (x,) = gammas, read
        factors = next((x for x in flows if x.weight is not None), gamma)
        if not trials.scales(operation, args, kwargs, x, factors):
            return None
        flow, place = self.fresh(outputs[0]), id(gamma)
        if place in self.scaled:
            self.readers[place] += 2
        self.scaled[place] = name_of(operation), gamma, x.id, flow.id
        return [flow]

    def _normalised(self, layer, flow):
        axes = [axis % len(flow.shape) for axis in np.ravel(layer.axis)]
        if axes != [len(flow.shape) - 1]:
            self.units.freeze(flow.id, f"{name_of(layer)} has other axes")
        if layer.gamma is None or layer.rms_scaling:
            reason = f"{name_of(layer)} has no scale that could be corrected"
            self.units.freeze(flow.id, reason)
        self.units.union(self.norms.setdefault(layer, flow.id), flow.id)

    def _applied(self, view, operation, args, kwargs, flows, outputs):
        name, width = name_of(operation), (outputs[0].shape or (None,))[-1]
        joined = [x for x in flows if _is_wide(x, width)]
        makers = _makers(operation, args, kwargs)
        made = [v for v in makers if _is_wide(v, width)]
        kernels = [x for x in joined if x.weight is not None]
        for read in dict.fromkeys(map(tuple, (joined, kernels, []))):
            if width in (None, 1) or not (read or made):
                continue
            call = operation, args, kwargs, read, made
            if self._commutes(*call):
                found = self._joined(name, outputs, flows, read, made)
                self.linear += [(x.id, call) for x in found]
                return found
        if not _is_reversed(operation, args, kwargs):
            variables = getattr(operation, "weights", ())
            self.freeze_weights(variables, f"{name} is not linear in it")
        elif operation.tie_weights:
            self.tied[operation] = True
        for x in flows:
            self.units.freeze(x.id, f"{name} reads it as it is")
        reason = f"{name} writes a mean into it"
        return self._written(view, operation, outputs, reason)

    def _written(self, view, operation, outputs, reason):
        """What has a mean, unless a projection behind it is worth it."""
        known = self.others.get(operation)
        if known is not None:
            self.units.freeze(known[0], reason)
        if (
            known is not None or len(outputs) > 1 or not outputs[0].shape
            or outputs[0].shape[-1] is None
            or isinstance(view.model, keras.Sequential)
        ):
            return [self.fresh(x, reason) for x in outputs]
        flow = self.fresh(outputs[0])
        self.others[operation] = flow.id, reason
        return [flow]

    def _joined(self, name, outputs, flows, read, made):
        ids = [x.id for x in read] + [self.written_by(v) for v in made]
        for x in flows:
            if not any(x is y for y in read):
                self.units.freeze(x.id, f"{name} reads it as it is")
        found = [self.fresh(x) for x in outputs]
        for x in found:
            if _is_wide(x, outputs[0].shape[-1]):
                self.units.union(np.concatenate(ids), x.id)
            else:
                self.units.freeze(x.id, f"{name} writes a mean into it")
        return found

    def _commutes(self, operation, args, kwargs, read, made):
        """The result of a trial, one for all layers that are alike."""
        call = operation, args, kwargs, read, made
        if not getattr(operation, "weights", None):
            return trials.commutes(*call)
        try:
            config = {**operation.get_config(), "name": None}
        # Not every layer of a user's has one.
        except Exception:
            return trials.commutes(*call)
        shapes = tree.map_structure(
            lambda x: (x.shape, any(x is y for y in read))
            if trials.is_tensor(x) else x,
            (args, kwargs),
        )
        key = type(operation), repr(config), repr(shapes)
        if key not in self._tried:
            self._tried[key] = trials.commutes(*call)
        return self._tried[key]


def _makers(operation, args, kwargs):
    """The weights of a layer that may make what comes out of it."""
    if isinstance(operation, layer_kinds.ATTENTION):
        operation = functional.sublayers(operation)["attention_output"]
    elif isinstance(operation, keras.layers.Embedding):
        reads = _is_reversed(operation, args, kwargs)
        return [] if reads else [operation.embeddings]
    return list(getattr(operation, "weights", ()))


def _is_reversed(operation, args, kwargs):
    if not isinstance(operation, keras.layers.ReversibleEmbedding):
        return False
    bound = inspect.signature(operation.call).bind(*args, **kwargs)
    return bool(bound.arguments.get("reverse"))


def _is_wide(x, width):
    dtype = keras.backend.standardize_dtype(x.dtype)
    shape = tuple(x.shape)
    return bool(shape) and shape[-1] == width and (
        keras.backend.is_float_dtype(dtype)
    )
