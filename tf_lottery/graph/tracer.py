"""Follows channel units from operation to operation."""

import dataclasses

import keras
import numpy as np
from keras import tree

from tf_lottery import internals
from tf_lottery.graph import batchless
from tf_lottery.graph import functional
from tf_lottery.graph import ledger
from tf_lottery.graph import own_weights
from tf_lottery.graph import passing
from tf_lottery.graph import registry
from tf_lottery.graph import vanishing
from tf_lottery.graph.call import Call
from tf_lottery.graph.call import Symbol


class Tracer(ledger.Ledger):
    """One trace of a model, and what the rules have said in it."""

    def __init__(self, model, view):
        super().__init__(model, view)
        self._memory = {}
        # How many layers could not be read as they were called.
        self.unread = 0

    def constant(self, tensor, reason):
        """A symbol of a tensor that is none of the units."""
        shape = tuple(tensor.shape)
        id_ = self.units.constant(reason)
        ids = np.full((1,) * (len(shape) - 1), id_)
        return Symbol(ids, shape, tensor.dtype)

    def run(self, view, inputs):
        """Traces a graph, once; another call is joined with the first."""
        if id(view) in self._memory:
            first, outputs = self._memory[id(view)]
            for a, b in zip(first, inputs):
                self.units.union(a.ids, b.ids)
            return outputs
        # Those of a batch it was read at may be more definite.
        inputs = [
            dataclasses.replace(x, shape=tuple(tensor.shape))
            for x, tensor in zip(inputs, view.graph.inputs)
        ]

        def call(operation, args, kwargs, outputs):
            return self._called(view, operation, args, kwargs, outputs)

        outputs = functional.run(view.graph, inputs, call)
        self._memory[id(view)] = inputs, outputs
        return outputs

    def call(self, call):
        """The ids of the outputs of one call."""
        if getattr(call.operation, "transparent", False):
            inner = call.operation.layer
            way = ("layer", "config")
            return call.inner(inner, call.args, call.kwargs, way)
        reason = _extra(call.operation)
        if reason:
            return call.frozen(reason)
        rule = registry.find(type(call.operation))
        return self._unruled(call) if rule is None else rule(call)

    def _unruled(self, call, reason=None):
        """As a trial shows; `reason` is why the layer is no graph either."""
        try:
            return passing.passed(call)
        except passing.NotPassing as error:
            why = error if reason is None else f"{reason}; {error}"
            return call.frozen(_unknown(call, why))

    def _called(self, view, operation, args, kwargs, outputs):
        call = Call(self, operation, args, kwargs, [x.shape for x in outputs])
        rule = registry.find(type(operation))
        nested, reason = self._nested(view, call, outputs)
        ids = None
        if nested is None and not isinstance(
            operation, own_weights.AlongBatch
        ) and any(map(batchless.is_batchless, call.inputs)):
            ids = batchless.applied(call, rule)
            call = call if ids is not None else batchless.with_batch(call)
        if ids is not None:
            return self._symbols(call, ids, outputs)
        if any(x.batch for x in call.inputs) and not getattr(
            rule, "moves_batch", False
        ):
            ids = call.frozen(f"{call.name} gets a batch that is not first")
        elif nested is not None:
            inputs = functional.inputs_of(
                nested, args, kwargs, lambda x: isinstance(x, Symbol)
            )
            found = functional.spread(nested.graph, self.run(nested, inputs))
            return [
                x and dataclasses.replace(x, shape=tuple(tensor.shape))
                for x, tensor in zip(found, outputs)
            ]
        else:
            ids = self._unruled(call, reason) if reason else self.call(call)
        return self._symbols(call, ids, outputs)

    def _symbols(self, call, ids, outputs):
        ids = [ids] if isinstance(ids, np.ndarray) else list(ids)
        vanishes = vanishing.vanishes(call)
        return [
            Symbol(
                self.units.collapse(i), tuple(x.shape), x.dtype, call.uniform,
                vanishes, call.batch, call.source,
            )
            for i, x in zip(ids, outputs)
        ]

    def _nested(self, view, call, outputs):
        """The graph an operation is itself, or why it cannot be read."""
        operation = call.operation
        if (
            not isinstance(operation, keras.layers.Layer)
            or getattr(operation, "transparent", False)
            or registry.find(type(operation)) is not None
            or functional.own_graph(operation) is None
            and functional.is_keras(operation)
        ):
            return None, None
        args, kwargs = tree.map_structure(
            lambda x: keras.KerasTensor(x.shape, x.dtype)
            if isinstance(x, Symbol) else x,
            (call.args, call.kwargs),
        )
        try:
            found = functional.part(view, operation, args, kwargs)
        except functional.Unreadable as error:
            # A layer without layers has no rule at other lengths either.
            own = internals.layers.own_variables(operation)
            self.unread += not own or not functional.is_leaf(operation)
            return None, error
        known = functional.spread(found.graph, found.graph.outputs)
        known += [None] * (len(call.outputs) - len(known))
        lost = {id(x) for x, y in zip(outputs, known) if y is None}
        if not lost & functional.read(view.graph):
            return found, None
        del view.parts[id(operation)]
        return None, "it returns what is made of no tensor"


def _unknown(call, why):
    if isinstance(call.operation, keras.layers.Layer):
        kind = type(call.operation).__name__
        return f"unknown layer '{call.operation.name}' ({kind}): {why}"
    return f"unknown {call.name}: {why}"


def _extra(operation):
    """Why a layer is not what its class says."""
    parts = [operation]
    if isinstance(operation, keras.layers.Layer):
        parts += functional.sublayers(operation).values()
    if any(getattr(part, "lora_enabled", False) for part in parts):
        return f"layer '{operation.name}' has a LoRA adapter"
    if any(getattr(part, "quantization_mode", None) for part in parts):
        return f"layer '{operation.name}' is quantized"
    return None
