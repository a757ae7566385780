"""What masks have made idle in a model that trains."""

import keras
import numpy as np

from tf_lottery import graph as graph_lib
from tf_lottery.graph import functional
from tf_lottery.structured import costs
from tf_lottery.structured import liveness
from tf_lottery.structured import slices

# Dense layers of which less is left have a vector of their weights.
_SPARSE = 0.5
# As many multiplications as the update of one weight costs.
_UPDATE = 30


class Vacancies:
    """Units that nothing reads, and pruned weights that need no slots.

    A unit that no live input reaches still trains its bias: it is read. Of
    each layer one unit at least is `kept`; a dense layer is `sparse` where its
    units that are kept read little.

    Raises:
        ValueError: If the model is no graph.
    """

    def __init__(self, model, masks):
        self.graph = graph_lib.trace(model)
        self.kept = _kept(self.graph, masks)
        self._costs = costs.Costs(self.graph)
        self.cut = slices.Cut.of(self.graph, self.kept)
        self.sparse, layers = {}, _layers(self.graph.view)
        for key, layer in self._dense(masks):
            mask = self.cut.array(key, np.asarray(masks[key]))
            if layer in layers and 0 < mask.mean() < _SPARSE:
                self.sparse[layer] = mask
                whole = np.zeros(masks[key].shape, bool)
                self.cut.put(key, whole, mask)
                self.cut.weights[key] = whole

    def saved(self, batch_size):
        """Returns the multiplications that each step of training saves."""
        whole, left = (
            self._costs.count(kept)
            for kept in (self.graph.kept(), self.kept)
        )
        multiplied = whole["macs"] - left["macs"]
        updated = whole["params"] - left["params"]
        for mask in self.sparse.values():
            multiplied += int((~mask.any(axis=1)).sum()) * mask.shape[1]
            updated += int((~mask).sum())
        return batch_size * multiplied + _UPDATE * updated

    def _dense(self, masks):
        """Yields key and layer of dense kernels that are used in one place."""
        for binding in self.graph.bindings:
            layer, key = binding.layer, binding.key
            if (
                type(layer) is keras.layers.Dense
                and binding.kind == "in"
                and key in masks
                and self._costs.positions[key] == 1
                and len(layer.variables) == 1 + layer.use_bias
            ):
                yield key, layer


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
