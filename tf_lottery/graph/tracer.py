"""Follows channel units from operation to operation, and collects."""

import collections
import dataclasses
import functools
import math

import keras
import numpy as np
from keras import tree

from tf_lottery import internals
from tf_lottery import weights
from tf_lottery.graph import batchless
from tf_lottery.graph import functional
from tf_lottery.graph import own_weights
from tf_lottery.graph import passing
from tf_lottery.graph import registry
from tf_lottery.graph import structure
from tf_lottery.graph import vanishing
from tf_lottery.graph.call import Call
from tf_lottery.graph.call import Symbol
from tf_lottery.graph.units import Units


class Tracer:
    """The state of one trace."""

    def __init__(self, model, view):
        self.model, self.view = model, view
        self.units = Units()
        self._keys = {
            id(v): key for key, v in weights.variables(model).items()
        }
        self._paths = _layer_paths(model)
        self._producers = {}
        self._bindings = {}
        self._edits = {}
        self._scales = {}
        self._cleared = []
        self._parts = []
        self._opaque = {}
        self._own, self._kernels, self._bound = {}, set(), []
        self._memory = {}
        self._pending = collections.deque()
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
        rule = registry.find(type(call.operation))
        reason = _extra(call.operation)
        if reason:
            return call.frozen(reason)
        return self._unruled(call) if rule is None else rule(call)

    def _unruled(self, call, reason=None):
        """As a trial shows; `reason` is why the layer is no graph either."""
        try:
            return passing.passed(call)
        except passing.NotPassing as error:
            why = error if reason is None else f"{reason}; {error}"
            return call.frozen(_unknown(call, why))

    def fresh(self, layer, role, count):
        place = id(layer), role
        if place not in self._producers:
            self._producers[place] = layer, self.units.fresh(count)
        return self._producers[place][1]

    def bind(self, layer, variable, axis, ids, kind):
        place = id(variable), axis
        if place in self._bindings:
            first, made = self._bindings[place][2:]
            self.units.union(first, ids)
            if {made, kind} != {"in", "out"}:
                return
            # A tied weight makes the unit and reads it.
            ids, kind = first, "zero"
        self._bindings[place] = layer, variable, ids, kind

    def edit(self, operation, entry, ids, value):
        place = id(operation), entry
        if place in self._edits:
            # What is called twice has one configuration.
            self.units.union(self._edits[place][2], ids)
        else:
            self._edits[place] = operation, entry, ids, value

    def scale(self, variable, ids, factor, shift):
        self._scales.setdefault(id(variable), (variable, ids, factor, shift))

    def clear(self, ids):
        self._cleared.append(np.ravel(ids))

    def own(self, layer, variable, tie):
        place = id(layer)
        if place not in self._own:
            ids = self.units.fresh(math.prod(variable.shape))
            self._own[place] = layer, variable, ids.reshape(variable.shape)
            self.later(lambda: (
                place not in self._kernels and tie(self._own[place][2])
            ))
        return self._own[place][2]

    def as_kernel(self, layer, read):
        """The units that a matrix makes, which is bound along both axes."""
        made = self.fresh(layer, "units", layer.weight.shape[1])
        self.bind(layer, layer.weight, 0, read, "in")
        self.bind(layer, layer.weight, 1, made, "out")
        both = np.concatenate([read, made])
        self.edit(layer, ("shape",), both, lambda kept: (
            int(kept[read].sum()), int(kept[made].sum())
        ))
        place = id(layer)
        if place in self._own and place not in self._kernels:
            self._kernels.add(place)
            *_, ids = self._own[place]
            self.later(lambda: self._freeze_used(layer, ids, both))
        return made

    def _freeze_used(self, layer, ids, both):
        """Freezes what a matrix couples that is read in other ways, too."""
        if len(np.unique(self.units.final(ids))) < ids.size:
            reason = f"'{layer.name}' is more than a kernel"
            self.units.freeze(np.append(both, ids), reason)

    def part(self, ids):
        self._parts.append(ids)

    def opaque(self, layer, count, reason):
        self._opaque[id(layer)] = layer, count, reason

    def later(self, function):
        self._pending.append(function)

    def graph(self):
        """What was found, with final ids."""
        before = None
        while before != (before := self.units.joins):
            for function in self._pending:
                function()
        self._bind_own()
        final = self.units.final
        return structure.Graph(
            model=self.model,
            view=self.view,
            bindings=self._final_bindings(),
            configs=[
                structure.ConfigEdit(
                    op, entry, final(np.ravel(ids)), self._on(value)
                )
                for op, entry, ids, value in self._edits.values()
            ],
            corrections=[
                structure.Scale(
                    self._keys[id(v)], final(ids), self._on(factor), shift
                )
                for v, ids, factor, shift in self._scales.values()
            ],
            producers=self._final_producers(),
            frozen=self._frozen(),
            cleared=self._final_cleared(),
            size=self.units.size,
        )

    def _called(self, view, operation, args, kwargs, outputs):
        shapes = [x.shape for x in outputs]
        call = Call(self, operation, args, kwargs, shapes)
        loose = [batchless.is_batchless(x) for x in call.inputs]
        nested, reason = self._nested(view, call, outputs)
        if nested is None and any(loose) and not isinstance(
            operation, own_weights.AlongBatch
        ):
            if all(loose):
                rule = registry.find(type(operation))
                ids = batchless.applied(call, rule)
                return self._symbols(call, ids, outputs)
            if batchless.is_product(call):
                ids = call.multiplied(*call.inputs)
                return self._symbols(call, ids, outputs)
            if batchless.is_lookup(call):
                ids = batchless.looked_up(call)
                return self._symbols(call, ids, outputs)
            call = batchless.with_batch(call)
        if any(x.batch for x in call.inputs) and not getattr(
            registry.find(type(operation)), "moves_batch", False
        ):
            ids = call.frozen(f"{call.name} gets a batch that is not first")
            return self._symbols(call, ids, outputs)
        if nested is not None:
            inputs = call.inputs
            if nested.constants is None:
                inputs = functional.ordered(
                    nested.graph, args, kwargs, _is_symbol
                )
            found = functional.spread(nested.graph, self.run(nested, inputs))
            return [
                x and dataclasses.replace(x, shape=tuple(tensor.shape))
                for x, tensor in zip(found, outputs)
            ]
        if reason:
            ids = self._unruled(call, reason)
        else:
            ids = self.call(call)
        return self._symbols(call, ids, outputs)

    def _symbols(self, call, ids, outputs):
        ids = [ids] if isinstance(ids, np.ndarray) else list(ids)
        vanishes = vanishing.vanishes(call)
        return [
            Symbol(
                self.units.collapse(i),
                tuple(x.shape),
                x.dtype,
                call.uniform,
                vanishes,
                call.batch,
                call.source,
            )
            for i, x in zip(ids, outputs)
        ]

    def _nested(self, view, call, outputs):
        """The graph an operation is itself, or why it cannot be read."""
        operation = call.operation
        if not isinstance(operation, keras.layers.Layer):
            return None, None
        if getattr(operation, "transparent", False):
            return None, None
        if registry.find(type(operation)) is not None:
            return None, None
        if functional.own_graph(operation) is None and functional.is_keras(
            operation
        ):
            return None, None
        args, kwargs = tree.map_structure(
            _as_symbolic, (call.args, call.kwargs)
        )
        try:
            found = functional.part(view, operation, args, kwargs)
            known = functional.spread(found.graph, found.graph.outputs)
            known += [None] * (len(call.outputs) - len(known))
            lost = {id(x) for x, y in zip(outputs, known) if y is None}
            if not lost & functional.read(view.graph):
                return found, None
            del view.parts[id(operation)]
            return None, "it returns what is made of no tensor"
        except functional.Unreadable as error:
            # A layer without layers has no rule at other lengths either.
            own = internals.layers.own_variables(operation)
            self.unread += not own or not functional.is_leaf(operation)
            return None, error

    def _bind_own(self):
        """Binds weights along the axis on which their numbers differ."""
        for place, (layer, variable, ids) in self._own.items():
            if place in self._kernels:
                continue
            for axis in self.units.varying(ids):
                along = np.moveaxis(ids, axis, -1).reshape(-1, ids.shape[axis])
                self.bind(layer, variable, axis, along[0], "out")
                self._bound.append((layer, along[0]))
                self.edit(layer, ("shape",), along[0], functools.partial(
                    _cut_shape, ids.shape, axis, along[0]
                ))

    def _on(self, function):
        """Lets a function of ids as they were traced see their classes."""
        classes = self.units.final(np.arange(self.units.size))
        return lambda kept: function(kept[classes])

    def _final_bindings(self):
        bindings = []
        for (_, axis), found in self._bindings.items():
            layer, variable, ids, kind = found
            index = [id(v) for v in layer.weights].index(id(variable))
            bindings.append(
                structure.Binding(
                    self._keys[id(variable)],
                    layer,
                    index,
                    variable,
                    axis,
                    self.units.final(ids),
                    kind,
                )
            )
        return bindings

    def _final_producers(self):
        producers = [
            structure.Producer(
                self._path(layer), role, layer, self.units.final(ids)
            )
            for (_, role), (layer, ids) in self._producers.items()
        ]
        # Of weights that nothing else makes units with.
        for layer, ids in self._bound:
            made = np.concatenate([[0], *(p.ids for p in producers)])
            ids = self.units.final(ids)
            if not np.isin(ids, made).all():
                producers.append(structure.Producer(
                    self._path(layer), "units", layer, ids
                ))
        for ids in map(self.units.final, self._parts):
            for whole in producers:
                if np.intersect1d(ids[ids != 0], whole.ids).size:
                    part = dataclasses.replace(whole, role="part", ids=ids)
                    producers.append(part)
                    break
        return producers

    def _final_cleared(self):
        cleared = np.zeros(self.units.size, bool)
        for ids in self._cleared:
            cleared[self.units.final(ids)] = True
        cleared[0] = False
        return cleared

    def _frozen(self):
        frozen = [
            structure.Frozen(self._path(layer), "units", count, reason)
            for layer, count, reason in self._opaque.values()
        ]
        for (_, role), (layer, ids) in self._producers.items():
            reasons = self.units.reasons(ids)
            counts = collections.Counter(r for r in reasons if r is not None)
            frozen += [
                structure.Frozen(self._path(layer), role, count, reason)
                for reason, count in counts.items()
            ]
        return frozen

    def _path(self, layer):
        return self._paths.get(id(layer), layer.name)


def _layer_paths(model):
    paths = {}
    for key, layer in weights.layers(model).items():
        paths.setdefault(id(layer), key)
    return paths


def _is_symbol(value):
    return isinstance(value, Symbol)


def _cut_shape(shape, axis, ids, kept):
    return (*shape[:axis], int(kept[ids].sum()), *shape[axis + 1 :])


def _as_symbolic(value):
    if not isinstance(value, Symbol):
        return value
    return keras.KerasTensor(value.shape, value.dtype)


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
