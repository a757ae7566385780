"""What masks have made idle in a model that trains."""

import keras
import numpy as np

from tf_lottery import graph as graph_lib
from tf_lottery.graph import functional
from tf_lottery.structured import costs
from tf_lottery.structured import liveness
from tf_lottery.structured import slices


class Vacancies:
    """Units that nothing reads, and inputs that no dense layer reads.

    A unit that no live input reaches still trains its bias: it is read.

    Args:
        model: A built `keras.Model`.
        masks: Dict from weight key to boolean array, `True` = kept.

    Attributes:
        graph: `tf_lottery.graph.Graph` of the model.
        kept: Boolean array over its ids, `False` = idle. Every layer keeps at
            least one unit.
        inputs: Dict from dense layer to the boolean array of the inputs it
            reads, where these are no units that could go themselves.
        cut: `slices.Cut`: what of each weight is left.

    Raises:
        ValueError: If the model is no graph.
    """

    def __init__(self, model, masks):
        self.graph = graph_lib.trace(model)
        self.kept = _kept(self.graph, masks)
        self._makers = {
            binding.key: binding.ids
            for binding in self.graph.bindings
            if binding.kind == "out"
        }
        cut = slices.Cut.of(self.graph, self.kept)
        self.inputs, layers = {}, _layers(self.graph.view)
        for binding in self.graph.bindings:
            key, layer = binding.key, binding.layer
            is_dense = type(layer) is keras.layers.Dense and layer in layers
            if binding.kind != "in" or binding.ids.any() or not is_dense:
                continue
            read = self._read(key, masks)
            if not read.all():
                self.inputs[layer] = read
                cut.slices.setdefault(key, []).append((binding.axis, read))
        self.cut = cut

    def multiplications(self):
        """Returns those of one sample, before and after, as two integers."""
        counted = costs.Costs(self.graph)
        whole = counted.count(self.graph.kept())["macs"]
        left = counted.count(self.kept)["macs"]
        for layer, read in self.inputs.items():
            positions = counted.positions[self._key(layer)]
            units = int(self.kept[self._makers[self._key(layer)]].sum())
            left -= positions * units * int((~read).sum())
        return whole, left

    def _read(self, key, masks):
        """The inputs of a dense layer that a kept weight leads on from."""
        if key not in masks:
            return np.ones(1, bool)
        read = np.asarray(masks[key])[:, self.kept[self._makers[key]]]
        read = read.any(axis=1)
        read[0] |= not read.any()
        return read

    def _key(self, layer):
        return next(
            b.key for b in self.graph.bindings if b.variable is layer.kernel
        )


def _kept(graph, masks):
    lives = liveness.Liveness(graph, masks)
    kept = lives.read(np.zeros(graph.size, bool))
    for producer in graph.producers:
        if len(producer.ids) and not kept[producer.ids].any():
            kept[producer.ids[0]] = True
    return kept


def _layers(view):
    """The layers of a model that no wrapper is around."""
    return {
        operation
        for part in (view, *view.parts.values())
        for operation, *_ in functional.symbolic_arguments(part.graph)
        if isinstance(operation, keras.layers.Layer)
    }
