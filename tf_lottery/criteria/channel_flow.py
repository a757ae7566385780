"""Channels followed from one weight to the next, on the graph of a model.

Each channel has an id of its own from weight to weight, where `graph.trace`
joins those that go together; the rules of `graph` say where ids move.
"""

import dataclasses

import keras
import numpy as np
from keras import ops

from tf_lottery import internals
from tf_lottery.graph import functional
from tf_lottery.graph import registry
from tf_lottery.graph import tracer
from tf_lottery.graph.units import Units
from tf_lottery.utils import layer_kinds

_LINEAR = (
    *layer_kinds.LINEAR,
    *layer_kinds.DEPTHWISE,
    *layer_kinds.SEPARABLE,
    *layer_kinds.named("EinsumDense Embedding"),
)
_SUMS = (
    *layer_kinds.named("Add Subtract Average"),
    *internals.graphs.operation_classes("Add", "Subtract"),
)
# What they do to a single tensor plays no part, as with activations.
_LENIENT = (
    *layer_kinds.named(
        "Activation Masking Normalization PReLU Rescaling Softmax"
    ),
    *internals.graphs.operation_classes(
        "Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Softmax",
        "LogSoftmax",
    ),
)
_AUGMENTATION = layer_kinds.named(
    "RandomBrightness RandomContrast RandomCrop RandomFlip RandomRotation "
    "RandomTranslation RandomZoom"
)


class _Mixed(ValueError):
    """Channels cannot be followed; says why."""

    def __init__(self, why="it does not connect weights by sums over channels"):
        super().__init__(why)


class _Channels(Units):
    """Ids of channels, none of which may become one."""

    lenient = False

    def constant(self, reason):
        return self.fresh(1).reshape(())

    def freeze(self, ids, reason):
        if not self.lenient:
            raise _Mixed(reason)

    def tie(self, ids, axis):
        if not self.lenient:
            raise _Mixed

    def union(self, a, b):
        if not np.array_equal(*np.broadcast_arrays(a, b)):
            raise _Mixed


@dataclasses.dataclass(eq=False)
class Linear:
    """A weight between channels.

    `into` are the ids of the channels that it reads, `out` of those that it
    makes. `rows` and `columns` broadcast against it: which of them each weight
    reads and makes.
    """

    variable: keras.Variable
    into: np.ndarray
    out: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


@dataclasses.dataclass(eq=False)
class Link:
    """Channels that become others: of a normalisation, or terms of a sum.

    The factor is the square of what normalisation multiplies by.
    """

    into: np.ndarray
    out: np.ndarray
    factor: np.ndarray | None = None


class Flow(tracer.Tracer):
    """The weights, sums and normalisations of a model in their order.

    `epsilon` is added to variances, `None` for the layers' own.

    Attributes:
        steps: List of `Linear` and `Link`.
        outputs: List of integer arrays, the ids of each output.
        is_identity: Boolean array, which channels skip weights: from a fork
            on, none is in between.
    """

    def __init__(self, model, epsilon):
        super().__init__(model, functional.view(model))
        self.units, self.epsilon, self.steps = _Channels(), epsilon, []
        graph = self.view.graph
        inputs = [self.constant(x, "model input") for x in graph.inputs]
        found = {id(x): x.ids for x in self.run(self.view, inputs)}
        self.outputs = [np.unique(ids) for ids in found.values()]
        uses = np.zeros(self.units.size, int)
        for ids in (*self.outputs, *(step.into for step in self.steps)):
            uses[np.unique(ids)] += 1
        self.is_identity = uses > 1
        for step in self.steps:
            if isinstance(step, Link) and step.factor is not None:
                self.is_identity[step.out] |= self.is_identity[step.into]

    def run(self, view, inputs):
        def call(*args):
            return self._called(view, *args)

        return functional.run(view.graph, inputs, call)

    def call(self, call):
        layer = call.operation
        if registry.find(type(layer)) is not None:
            if isinstance(layer, _LINEAR):
                return self._linear(call)
            if isinstance(layer, keras.layers.BatchNormalization):
                return self._normalised(call)
            if isinstance(layer, _SUMS) and len(call.inputs) > 1:
                return self._sum(call)
        if isinstance(layer, _AUGMENTATION):
            return call.inputs[0].ids
        lenient = isinstance(layer, _LENIENT) and len(call.inputs) == 1
        wrapper = isinstance(layer, keras.layers.TimeDistributed)
        wrapper |= getattr(layer, "transparent", False)
        if getattr(layer, "weights", None) and not (lenient or wrapper):
            raise _Mixed
        self.units.lenient = lenient
        ids = super().call(call)
        self.units.lenient = False
        if lenient and not {*ids.shape[-1:]} <= {1, call.outputs[0][-1]}:
            raise _Mixed("it changes the number of channels")
        return ids

    def bind(self, layer, variable, axis, ids, kind):
        """Weights that a rule binds, such as slopes, play no part."""

    def edit(self, operation, entry, ids, value):
        """No configuration changes."""

    def _called(self, view, operation, *args):
        try:
            return super()._called(view, operation, *args)
        except _Mixed as error:
            raise ValueError(
                "Criterion 'lookahead' cannot follow channels through "
                f"{type(operation).__name__} '{operation.name}': {error}. "
                "Use a criterion without neighbours, such as 'magnitude' or "
                "'lamp'."
            ) from None

    def _linear(self, call):
        layer, x = call.layer, call.inputs[0]
        lookup = isinstance(layer, keras.layers.Embedding)
        axis = call.channel_axis
        into = self.units.fresh(1) if lookup else call.along(x, axis)
        for kernel in layer_kinds.kernels(layer):
            rows, columns = _indices(layer, kernel)
            out = self.units.fresh(int(columns.max()) + 1)
            self.steps.append(Linear(kernel, into, out, rows, columns))
            into = out
        return call.place(into, axis, len(call.outputs[0]))

    def _normalised(self, call):
        layer = call.layer
        into = call.along(call.inputs[0], layer.axis)
        out = self.units.fresh(len(into))
        epsilon = layer.epsilon if self.epsilon is None else self.epsilon
        gamma = values_of(layer.gamma) if layer.scale else 1.0
        factor = gamma**2 / (values_of(layer.moving_variance) + epsilon)
        self.steps.append(Link(into, out, factor))
        return call.replace(call.inputs[0], out, layer.axis)

    def _sum(self, call):
        ids = [x.ids for x in call.inputs]
        shape = np.broadcast_shapes(*(i.shape for i in ids))
        for x in call.inputs:
            sizes = zip(shape, x.shape[1:], call.outputs[0][1:])
            if x.ids.ndim != len(shape) or any(
                varies > 1 and own != whole for varies, own, whole in sizes
            ):
                raise _Mixed("it spreads a tensor over channels")
        out = self.units.fresh(int(np.prod(shape)))
        self.steps += [
            Link(np.broadcast_to(part, shape).ravel(), out) for part in ids
        ]
        return out.reshape(shape)


def values_of(variable):
    """Returns the values of a variable in float64."""
    return ops.convert_to_numpy(variable).astype("float64")


def _indices(layer, kernel):
    """Which input every weight of a kernel reads, and which output it makes.

    Depthwise and grouped convolutions are the sparse matrices they are.
    """
    size, made = kernel.shape[-2:]
    inputs, outputs = np.arange(size)[:, None], np.arange(made)
    if isinstance(layer, keras.layers.Embedding):
        return np.zeros((1, 1), int), outputs
    if isinstance(layer, layer_kinds.TRANSPOSED):
        return outputs, inputs
    if isinstance(layer, keras.layers.EinsumDense):
        terms, result = layer.equation.replace(" ", "").split("->")
        source, labels = terms.split(",")
        if labels != source[-1] + result[-1]:
            raise _Mixed("it is no Dense layer on the last axis")
    axes = layer_kinds.axes(layer, kernel)
    if axes is not None and len(axes[1]) == 2:
        return inputs, np.arange(size * made).reshape(size, made)
    groups = getattr(layer, "groups", 1)
    if groups > 1:
        inputs = inputs + outputs // (made // groups) * size
    return inputs, outputs
