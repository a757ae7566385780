"""What rules say of the layers of a model, collected into its graph."""

import collections
import dataclasses
import math

import numpy as np

from tf_lottery import weights
from tf_lottery.graph import parts
from tf_lottery.graph import structure
from tf_lottery.graph.units import Units


class Ledger:
    """All that was said so far, with ids as they were then.

    `scales` are by weight, `opaque` layers by id; `parts` are ids of which one
    at least is kept. What is `pending` is called until no ids are joined.
    """

    def __init__(self, model, view):
        self.model, self.view, self.units = model, view, Units()
        self.scales, self.cleared, self.parts = {}, [], []
        self.opaque, self.pending = {}, []
        self._keys = {
            id(v): key for key, v in weights.variables(model).items()
        }
        self._paths = {}
        for path, layer in weights.layers(model).items():
            self._paths.setdefault(id(layer), path)
        self._producers, self._bindings, self._edits = {}, {}, {}
        self._own, self._kernels, self._bound = {}, set(), []

    def fresh(self, layer, role, count):
        """Returns the ids of what a layer makes, the same every time."""
        place = id(layer), role
        if place not in self._producers:
            self._producers[place] = layer, self.units.fresh(count)
        return self._producers[place][1]

    def bind(self, layer, variable, axis, ids, kind):
        """Notes whose units the slices of a weight are."""
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
        """Notes what an entry of a configuration becomes."""
        place = id(operation), entry
        if place in self._edits:
            # What is called twice has one configuration.
            self.units.union(self._edits[place][2], ids)
        else:
            self._edits[place] = operation, entry, ids, value

    def own(self, layer, variable, tie):
        """Returns ids of every number of a weight, tied unless a kernel."""
        place = id(layer)
        if place not in self._own:
            ids = self.units.fresh(math.prod(variable.shape))
            self._own[place] = layer, variable, ids.reshape(variable.shape)
            self.pending.append(lambda: (
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
            self.pending.append(lambda: self._freeze_used(layer, ids, both))
        return made

    def _freeze_used(self, layer, ids, both):
        """Freezes what a matrix couples that is read in other ways, too."""
        if len(np.unique(self.units.final(ids))) < ids.size:
            reason = f"'{layer.name}' is more than a kernel"
            self.units.freeze(np.append(both, ids), reason)

    def graph(self):
        """Returns the `Graph` of what was said, with final ids."""
        before = None
        while before != (before := self.units.joins):
            for function in self.pending:
                function()
        self._bind_own()
        final = self.units.final
        cleared = np.zeros(self.units.size, bool)
        for ids in self.cleared:
            cleared[final(ids)] = True
        cleared[0] = False
        return structure.Graph(
            model=self.model,
            view=self.view,
            bindings=[
                parts.Binding(
                    self._keys[place], layer,
                    [id(v) for v in layer.weights].index(place),
                    variable, axis, final(ids), kind,
                )
                for (place, axis), (layer, variable, ids, kind)
                in self._bindings.items()
            ],
            configs=[
                parts.ConfigEdit(
                    op, entry, final(np.ravel(ids)), self._on(value)
                )
                for op, entry, ids, value in self._edits.values()
            ],
            corrections=[
                parts.Scale(
                    self._keys[id(v)], final(ids), self._on(factor), shift
                )
                for v, ids, factor, shift in self.scales.values()
            ],
            producers=self._final_producers(),
            frozen=self._frozen(),
            cleared=cleared,
            size=self.units.size,
        )

    def _bind_own(self):
        """Binds weights along the axis on which their numbers differ."""
        for place, (layer, variable, ids) in self._own.items():
            if place in self._kernels:
                continue
            for axis in self.units.varying(ids):
                along = np.moveaxis(ids, axis, -1).reshape(-1, ids.shape[axis])
                self.bind(layer, variable, axis, along[0], "out")
                self._bound.append((layer, along[0]))
                self.edit(
                    layer, ("shape",), along[0],
                    lambda kept, shape=ids.shape, axis=axis, own=along[0]: (
                        *shape[:axis], int(kept[own].sum()), *shape[axis + 1 :]
                    ),
                )

    def _on(self, function):
        """Lets a function of ids as they were traced see their classes."""
        classes = self.units.final(np.arange(self.units.size))
        return lambda kept: function(kept[classes])

    def _final_producers(self):
        producers = [
            parts.Producer(
                self._path(layer), role, layer, self.units.final(ids)
            )
            for (_, role), (layer, ids) in self._producers.items()
        ]
        # Of weights that nothing else makes units with.
        for layer, ids in self._bound:
            made = np.concatenate([[0], *(p.ids for p in producers)])
            ids = self.units.final(ids)
            if not np.isin(ids, made).all():
                producers.append(parts.Producer(
                    self._path(layer), "units", layer, ids
                ))
        for ids in map(self.units.final, self.parts):
            for whole in producers:
                if np.intersect1d(ids[ids != 0], whole.ids).size:
                    part = dataclasses.replace(whole, role="part", ids=ids)
                    producers.append(part)
                    break
        return producers

    def _frozen(self):
        frozen = [
            parts.Frozen(self._path(layer), "units", count, reason)
            for layer, count, reason in self.opaque.values()
        ]
        for (_, role), (layer, ids) in self._producers.items():
            reasons = self.units.reasons(ids)
            counts = collections.Counter(r for r in reasons if r is not None)
            frozen += [
                parts.Frozen(self._path(layer), role, count, reason)
                for reason, count in counts.items()
            ]
        return frozen

    def _path(self, layer):
        return self._paths.get(id(layer), layer.name)
