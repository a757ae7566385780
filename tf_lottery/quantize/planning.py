"""Where the tensors of a model are rounded, as TFLite will round them."""

import collections
from typing import Any

import keras

from tf_lottery import internals
from tf_lottery.graph import functional
from tf_lottery.quantize import kinds


class Plan:
    """What `Quantized` is told for each layer of a model.

    Tensors between the layers that TFLite makes one operator of (a
    convolution, its BatchNormalization, its ReLU) are not rounded. Inputs
    are, where nobody before has done so.

    Args:
        model: A built Functional or Sequential `keras.Model`.
        excluded: Set of `id`s of layers that are left in float.

    Attributes:
        arguments: Dict from `id` of a layer to keyword arguments.
    """

    def __init__(self, model: keras.Model, excluded: set[int]) -> None:
        self.arguments: dict[int, dict[str, Any]] = {}
        self._excluded = excluded
        # By `id` of a symbolic tensor.
        self._is_rounded: dict[int, bool] = {}
        self._follow(functional.own_graph(model))

    def _follow(self, graph):
        nodes = list(internals.graphs.nodes(graph))
        readers = collections.defaultdict(list)
        for node in nodes:
            for tensor in _tensors(node):
                readers[id(tensor)].append(node.operation)
        for tensor in graph.outputs:
            readers[id(tensor)].append(None)
        calls = collections.Counter(id(node.operation) for node in nodes)
        joined = set()
        for node in nodes:
            layer, found = node.operation, readers[id(node.outputs[0])]
            is_first = id(layer) in joined or not isinstance(
                layer, keras.layers.BatchNormalization
            )
            if is_first and self._joins(layer, found, calls):
                joined.add(id(found[0]))
        for node in nodes:
            found = readers[id(node.outputs[0])]
            goes_on = any(id(r) in joined for r in found)
            self._place(node, id(node.operation) in joined, not goes_on)

    def _joins(self, layer, found, calls):
        alone = len(found) == 1 and calls[id(layer)] == 1
        return (
            alone and calls[id(found[0])] == 1
            and not {id(layer), id(found[0])} & self._excluded
            and kinds.joins(layer, found[0])
        )

    def _place(self, node, is_joined, outputs):
        layer, tensors = node.operation, _tensors(node)
        nested = functional.own_graph(layer) if isinstance(
            layer, keras.Model
        ) else None
        if nested is not None:
            self._follow(nested)
            rounded = [self._is_rounded.get(id(t)) for t in nested.outputs]
        elif type(layer) in kinds.SAME:
            rounded = [all(self._is_rounded.get(id(t)) for t in tensors)]
        elif id(layer) not in self._excluded and (
            is_joined or type(layer) in kinds.QUANTIZED
        ):
            needs = not is_joined and not kinds.is_clamp(layer)
            self._add(layer, tensors if needs else [], outputs)
            rounded = [outputs]
        else:
            rounded = [False] * len(node.outputs)
        self._is_rounded |= zip(map(id, node.outputs), rounded)

    def _add(self, layer, tensors, outputs):
        own = self.arguments.setdefault(
            id(layer),
            {"kernel": kinds.is_kernel(layer), "inputs": [], "outputs": False},
        )
        own["outputs"] |= outputs
        own["inputs"] = sorted({
            *own["inputs"],
            *(i for i, t in enumerate(tensors)
              if not self._is_rounded.get(id(t))),
        })


def _tensors(node):
    return [
        x for x in keras.tree.flatten(node.arguments.args)
        if isinstance(x, keras.KerasTensor)
    ]
