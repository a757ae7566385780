"""Streams: tensors that are read by nothing but layer normalisations.

A layer normalisation takes the mean over channels out. Where all that writes
into a stream has none, there is nothing to take out, and a root mean square
does the same.
"""

import collections
import dataclasses
import inspect

import keras
import numpy as np
from keras import tree

from tf_lottery.graph import functional
from tf_lottery.graph import own_weights
from tf_lottery.graph import trials
from tf_lottery.graph.units import Units
from tf_lottery.utils import layer_kinds

# A projection takes a square of the width, a block between two of them twelve.
_NORMS_FOR_ONE = 3


@dataclasses.dataclass(frozen=True, eq=False)
class _Flow:
    """A tensor, and the stream it is part of."""

    id: np.ndarray
    shape: tuple
    dtype: str
    is_flow: bool = True
    # The weight that it is, as it is.
    weight: keras.Variable | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Streams:
    """The streams of a model whose mean can be taken out.

    Attributes:
        norms: List of `keras.layers.LayerNormalization` that read them.
        weights: List of `keras.Variable` that write into them along their
            last axis.
        tied: List of `keras.layers.ReversibleEmbedding` that write into them,
            and are read themselves by their transpose.
        reasons: List of pairs of another layer normalisation and the reason
            why it stays.
        scales: Dict from id of a variable that writes to the
            `keras.Variable` with a factor for every channel that it is to
            take up.
        projected: Dict from operation, not linear in what it writes, to a
            normalisation that reads the stream.
    """

    norms: list
    weights: list
    tied: list
    reasons: list
    scales: dict
    projected: dict


def find(graph, held=()):
    """Finds the streams of a model.

    Args:
        held: Iterable of variables that must keep their values.
    """
    walk = _Walk()
    for variable in held:
        reason = f"weight '{variable.path}' holds a mask or clusters"
        walk.freeze_weights([variable], reason)
    inputs = [
        walk.fresh(x, "the model's input") for x in graph.view.graph.inputs
    ]
    for flow in walk.run(graph.view, inputs):
        walk.units.freeze(flow.id, "it is an output of the model")
    walk.settle()
    return walk.found()


class _Walk:
    """Follows streams from operation to operation."""

    def __init__(self):
        self.units = Units()
        self._norms, self._weights, self._tied = {}, {}, {}
        self._memory, self._tried = {}, {}
        self._scaled, self._others, self._linear = {}, {}, []
        self._readers = collections.Counter()

    def fresh(self, tensor, reason=None, weight=None):
        id_ = self.units.fresh(1)
        if reason is not None:
            self.units.freeze(id_, reason)
        return _Flow(id_, tuple(tensor.shape), tensor.dtype, weight=weight)

    def freeze_weights(self, variables, reason):
        for variable in variables:
            self.units.freeze(self._weight(variable), reason)

    def run(self, view, inputs):
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

    def settle(self):
        """Freezes what no factor and no projection makes good."""
        counts = collections.Counter(
            self._root(id_) for _, id_ in self._norms.values()
        )
        others = collections.Counter(
            self._root(id_) for _, id_, _ in self._others.values()
        )
        for _, id_, reason in self._others.values():
            root = self._root(id_)
            if _NORMS_FOR_ONE * others[root] > counts[root]:
                self.units.freeze(id_, reason)
        for place, (name, gamma, inner, outer) in self._scaled.items():
            root, why = self._root(inner), None
            if counts[root] or root == self._root(outer) or any(
                root in map(self._root, ends)
                for other, (_, _, *ends) in self._scaled.items()
                if other != place
            ):
                why = f"{name} scales what is read elsewhere"
            elif self._readers[id(gamma)] > 1:
                why = f"{name} has a scale that is read elsewhere"
            elif not self._scales_through(root):
                why = f"{name} scales what does not take up factors"
            known = self.units.reasons(np.append(inner, self._weight(gamma)))
            why = why or next(filter(None, known), None)
            if why:
                self.units.freeze(outer, why)
                self.units.freeze(inner, why)

    def _root(self, id_):
        return int(self.units.find(id_)[0])

    def _scales_through(self, root):
        """Whether all that joins a stream carries factors through."""
        return all(
            trials.commutes(*call, trials.scaled)
            for id_, call in self._linear if self._root(id_) == root
        )

    def found(self):
        norms, reasons, roots = [], [], set()
        written = {
            self._root(id_): why for operation, id_, why
            in self._others.values()
            if isinstance(operation, keras.layers.LayerNormalization)
        }
        for layer, id_ in self._norms.values():
            (reason,) = self.units.reasons(id_)
            if reason is not None:
                # A post-norm stream is read by other layers as well.
                why = written.get(self._root(id_), reason)
                reasons.append((layer, why))
                continue
            norms.append(layer)
            roots.add(self._root(id_))
        gammas = {
            self._root(inner): gamma
            for _, gamma, inner, outer in self._scaled.values()
            if self._root(outer) in roots
        }
        weights, scales = [], {}
        for variable, id_ in self._weights.values():
            root = self._root(id_)
            if root in roots or root in gammas:
                weights.append(variable)
            if root in gammas:
                scales[id(variable)] = gammas[root]
        ids = {id(variable) for variable in weights}
        tied = [x for x in self._tied.values() if id(x.embeddings) in ids]
        readers = {self._root(id_): x for x, id_ in self._norms.values()}
        projected = {
            operation: readers[self._root(id_)]
            for operation, id_, _ in self._others.values()
            if self._root(id_) in roots
        }
        return Streams(norms, weights, tied, reasons, scales, projected)

    def _weight(self, variable):
        place = id(variable)
        if place not in self._weights:
            self._weights[place] = variable, self.units.fresh(1)
        return self._weights[place][1]

    def _called(self, view, operation, args, kwargs, outputs):
        leaves = tree.flatten((args, kwargs))
        flows = list({
            id(x): x for x in leaves if trials.is_tensor(x)
        }.values())
        nested = view.parts.get(id(operation))
        if nested is not None:
            if nested.constants is None:
                flows = functional.ordered(
                    nested.graph, args, kwargs, trials.is_tensor
                )
            else:
                flows = [x for x in leaves if trials.is_tensor(x)]
            return functional.spread(nested.graph, self.run(nested, flows))
        name = _name(operation)
        self._readers.update(id(x.weight) for x in flows)
        if isinstance(operation, own_weights.OwnWeight):
            (output,), weight = outputs, operation.weight
            flow = self.fresh(output, weight=weight)
            self.units.union(flow.id, self._weight(weight))
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
        if place in self._scaled:
            self._readers[place] += 2
        self._scaled[place] = _name(operation), gamma, x.id, flow.id
        return [flow]

    def _normalised(self, layer, flow):
        axes = [axis % len(flow.shape) for axis in np.ravel(layer.axis)]
        if axes != [len(flow.shape) - 1]:
            self.units.freeze(flow.id, f"{_name(layer)} has other axes")
        if layer.gamma is None or layer.rms_scaling:
            reason = f"{_name(layer)} has no scale that could be corrected"
            self.units.freeze(flow.id, reason)
        _, first = self._norms.setdefault(id(layer), (layer, flow.id))
        self.units.union(first, flow.id)

    def _applied(self, view, operation, args, kwargs, flows, outputs):
        name, width = _name(operation), (outputs[0].shape or (None,))[-1]
        joined = [x for x in flows if _is_wide(x, width)]
        makers = _makers(operation, args, kwargs)
        made = [v for v in makers if _is_wide(v, width)]
        kernels = [x for x in joined if x.weight is not None]
        for read in dict.fromkeys(map(tuple, (joined, kernels, []))):
            if width in (None, 1) or not (read or made):
                continue
            if self._commutes(operation, args, kwargs, read, made):
                found = self._joined(name, outputs, flows, read, made)
                call = operation, args, kwargs, read, made
                self._linear += [(x.id, call) for x in found]
                return found
        if not _is_reversed(operation, args, kwargs):
            variables = getattr(operation, "weights", ())
            self.freeze_weights(variables, f"{name} is not linear in it")
        elif operation.tie_weights:
            self._tied[id(operation)] = operation
        for x in flows:
            self.units.freeze(x.id, f"{name} reads it as it is")
        reason = f"{name} writes a mean into it"
        return self._written(view, operation, outputs, reason)

    def _written(self, view, operation, outputs, reason):
        """What has a mean, unless a projection behind it is worth it."""
        known = self._others.get(operation)
        if known is not None:
            self.units.freeze(known[1], reason)
        if (
            known is not None or len(outputs) > 1 or not outputs[0].shape
            or outputs[0].shape[-1] is None
            or isinstance(view.model, keras.Sequential)
        ):
            return [self.fresh(x, reason) for x in outputs]
        flow = self.fresh(outputs[0])
        self._others[operation] = operation, flow.id, reason
        return [flow]

    def _joined(self, name, outputs, flows, read, made):
        ids = [x.id for x in read] + [self._weight(v) for v in made]
        for x in flows:
            if not any(x is y for y in read):
                self.units.freeze(x.id, f"{name} reads it as it is")
        found = [self.fresh(x) for x in outputs]
        for x in found:
            if not _is_wide(x, outputs[0].shape[-1]):
                self.units.freeze(x.id, f"{name} writes a mean into it")
                continue
            for id_ in ids:
                self.units.union(id_, x.id)
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


def _name(operation):
    kind = type(operation).__name__
    if isinstance(operation, keras.layers.Layer):
        return f"{kind} '{operation.name}'"
    return f"operation {kind}"
