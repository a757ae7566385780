"""A call of a layer or operation in the graph, as a rule sees it."""

import dataclasses
import inspect

import keras
import numpy as np
from keras import tree

from tf_lottery.graph import functional


@dataclasses.dataclass(eq=False)
class Symbol:
    """A tensor in the graph.

    Attributes:
        ids: Integer array with one axis per axis but the batch, of size 1
            where the ids do not vary.
        shape: Tuple of integers or `None`, with the batch.
        dtype: String.
        uniform: Boolean, whether all its units have the same value, so that
            it does not matter to a maximum which of them are there.
        vanishes: Boolean, whether a unit is zero in it once every weight
            that makes the unit is.
        batch: Integer, the axis of the batch, which `ids` lacks. Defaults to
            0; only a rule that `registry.moves_batch` marks gets others.
            `None`: there is no batch, for it is made of weights alone.
        source: Layer of which it is the weight, as it is. Defaults to `None`.
    """

    ids: np.ndarray
    shape: tuple
    dtype: str = "float32"
    uniform: bool = False
    vanishes: bool = False
    batch: int | None = 0
    source: keras.layers.Layer | None = None

    def axis(self, axis):
        """Returns an axis of the tensor as an axis of `ids`, -1 = batch."""
        axis %= len(self.shape)
        if self.batch is None:
            return axis
        return -1 if axis == self.batch else axis - (axis > self.batch)


class Call:
    """One call of a layer or operation, as rules see it.

    Attributes:
        operation: The layer or `keras.Operation`.
        layer: The same, for rules of layers.
        args: Positional arguments, with `Symbol` in the place of tensors.
        kwargs: Keyword arguments.
        inputs: List of every `Symbol` in the arguments.
        outputs: List of the shapes of the outputs, with the batch.
        units: `tf_lottery.graph.units.Units`.
        uniform: Boolean that a rule may set, see `Symbol.uniform`.
        vanishes: Boolean that a rule may set, see `Symbol.vanishes`. `None`
            stands for what is known of the class.
        batch: Integer that a rule may set, see `Symbol.batch`.
        source: Layer that a rule may set, see `Symbol.source`.
    """

    def __init__(self, tracer, operation, args, kwargs, outputs, outer=None):
        self.operation = self.layer = operation
        self.args, self.kwargs = args, kwargs
        self.outputs = [tuple(shape) for shape in outputs]
        self.inputs = [
            x for x in tree.flatten((args, kwargs)) if isinstance(x, Symbol)
        ]
        self.units = tracer.units
        self.uniform = False
        self.vanishes = None
        self.batch = 0
        self.source = None
        self._tracer = tracer
        # The operation in the graph, and the way to this one's configuration.
        self._root, self._way = outer or (operation, ())

    @property
    def name(self):
        """Class and name, for reasons."""
        return functional.name_of(self.operation)

    @property
    def channel_axis(self):
        """Integer, the axis of channels by the data format, if it has one."""
        data_format = getattr(self.operation, "data_format", None)
        return 1 if data_format == "channels_first" else -1

    def given(self, change):
        """Returns the same call with a function applied to its symbols."""
        args, kwargs = tree.map_structure(
            lambda x: change(x) if isinstance(x, Symbol) else x,
            (self.args, self.kwargs),
        )
        outer = self._root, self._way
        return Call(
            self._tracer, self.operation, args, kwargs, self.outputs, outer
        )

    def own(self, variable):
        """Returns ids of a tensor that is a weight, of the shape in the config.
        """
        self.batch, self.source = None, self.layer
        if not keras.backend.is_float_dtype(variable.dtype):
            return np.full(
                (1,) * len(variable.shape),
                self.units.constant(f"{self.name} holds no floats"),
            )
        self.vanishes = True
        return self._tracer.own(self.layer, variable, self._tie_all_but_last)

    def multiplied(self, x, weight):
        """Returns the ids of `x` times a matrix with a `source`, as in `Dense`.
        """
        read = np.broadcast_to(self.along(x, -1), weight.shape[:1])
        made = self._tracer.as_kernel(weight.source, read)
        return self.place(made, -1, len(x.shape))

    def arguments(self):
        """Returns dict from argument name of `call` to value."""
        signature = inspect.signature(self.operation.call)
        return signature.bind(*self.args, **self.kwargs).arguments

    def fresh(self, count, role="units"):
        """Returns ids of new units that the layer makes, the same every call.
        """
        return self._tracer.fresh(self.layer, role, count)

    def bind(self, variable, axis, ids, kind):
        """Binds an axis of a weight, if there is one; see `Binding.kind`."""
        if variable is not None:
            axis = axis % len(variable.shape)
            ids = np.broadcast_to(ids, (variable.shape[axis],))
            self._tracer.bind(self.layer, variable, axis, ids, kind)

    def edit(self, entry, ids, value):
        """Says what a configuration entry becomes, see `ConfigEdit`."""
        entry = (entry,) if isinstance(entry, str) else tuple(entry)
        if entry[0] == "call" and self._way:
            self.freeze(ids, f"{self.name} is inside a wrapper")
            return
        self._tracer.edit(self._root, self._way + entry, ids, value)

    def edit_count(self, entry, ids):
        """Says that a configuration entry is the number of kept ids."""
        self.edit(entry, ids, lambda kept: int(kept[ids].sum()))

    def part(self, ids):
        """Says that at least one of some units must be kept."""
        self._tracer.parts.append(ids)

    def scale(self, variable, ids, factor, shift=0.0):
        """Says that a weight is multiplied by a factor, see `Scale`."""
        if variable is not None:
            self._tracer.scales.setdefault(
                id(variable), (variable, ids, factor, shift)
            )

    def clear(self, ids):
        """Says that removal is exact only where nothing makes the units."""
        self._tracer.cleared.append(np.ravel(ids))

    def freeze(self, ids, reason):
        """Freezes ids, or those of a `Symbol`."""
        self.units.freeze(getattr(ids, "ids", ids), reason)

    def freeze_mixed(self, x, axes=None, reason=None):
        """Freezes a tensor if its units vary along axes that get mixed.

        Where they vary along others as well, such as heads, these go whole. The
        axes are those of the tensor; `None` stands for all but the batch.
        """
        varying = self.units.varying(x.ids)
        mixed = varying
        if axes is not None:
            mixed = {x.axis(axis) for axis in axes}.intersection(varying)
        if mixed and len(mixed) == len(varying):
            self.freeze(x, reason or f"{self.name} mixes channels")
            return
        for axis in mixed:
            self.units.tie(x.ids, axis)

    def frozen(self, reason=None):
        """Freezes all that comes in; returns ids of frozen outputs."""
        reason = reason or f"{self.name} mixes channels"
        for x in self.inputs:
            self.freeze(x, reason)
        return self.opaque(reason)

    def opaque(self, reason):
        """Returns ids of outputs whose units must stay."""
        if getattr(self.operation, "weights", None):
            found = self.layer, self.outputs[0][-1] or 0, reason
            self._tracer.opaque[id(self.layer)] = found
        return [
            np.full((1,) * (len(shape) - 1), self.units.constant(reason))
            for shape in self.outputs
        ]

    def along(self, x, axis):
        """Returns the ids along one axis of a tensor, the only one to vary.

        Where ids vary along other axes, too, they are tied over those; where
        they vary along others only, they are frozen. There is one id per slice,
        or one alone if they do not vary and the size is unknown.
        """
        axis = x.axis(axis)
        varying = self.units.varying(x.ids)
        if axis not in varying and varying:
            self.freeze(x, f"{self.name} mixes channels")
        for other in varying:
            if other != axis and axis in varying:
                self.units.tie(x.ids, other)
        index = tuple(
            slice(None) if i == axis else 0 for i in range(x.ids.ndim)
        )
        size = x.shape[axis + 1]
        ids = x.ids[index]
        return ids if size is None else np.broadcast_to(ids, (size,))

    def place(self, ids, axis, rank):
        """Returns ids along one axis of a tensor of a rank with the batch."""
        shape = [1] * (rank - 1)
        shape[axis % rank - 1] = len(ids)
        return ids.reshape(shape)

    def replace(self, x, ids, axis):
        """Returns ids of a tensor like `x` with others along one axis."""
        return self.place(ids, axis, len(x.shape))

    def bind_aligned(self, variable, x):
        """Binds a weight, one value per unit, along the last axes of `x`."""
        varying = self.units.varying(x.ids)
        self._tie_all_but_last(x.ids)
        for axis in varying[-1:]:
            back = axis - x.ids.ndim
            own = len(variable.shape) + back
            if own >= 0 and variable.shape[own] > 1:
                ids = self.along(x, axis + 1)
                self.bind(variable, own, ids, "pass")

    def rectangular(self, ids):
        """Ties ids, once all is traced, until they vary along one axis."""
        self._tracer.pending.append(lambda: self._tie_all_but_last(ids))

    def _tie_all_but_last(self, ids):
        for axis in self.units.varying(ids)[:-1]:
            self.units.tie(ids, axis)

    def inner(self, layer, args, kwargs, way, outputs=None):
        """Applies the rule of a layer inside this one; returns what it does.

        Args:
            way: Tuple, the way from the configuration of this layer to that
                of the inner one.
            outputs: List of shapes of its outputs. Defaults to those of this
                layer.
        """
        outputs = self.outputs if outputs is None else outputs
        outer = self._root, self._way + tuple(way)
        return self._tracer.call(
            Call(self._tracer, layer, tuple(args), kwargs, outputs, outer)
        )
