"""Parameters and multiply-accumulates of a model, whole or narrowed."""

import collections
import math

import keras
import numpy as np

from tf_lottery import weights as weights_lib
from tf_lottery.graph import Graph
from tf_lottery.graph import functional
from tf_lottery.utils import layer_kinds

BYTES_PER_PARAMETER = 4


class Costs:
    """Counts what the model of a graph costs when some units are removed.

    One multiply-accumulate is counted for each weight of a kernel and each
    position it is applied at, two matrix products for attention; what
    elementwise operations and pooling do is not. Axes of unknown size count
    as one position.

    Example:

    >>> from tf_lottery import graph, structured
    >>> model = keras.Sequential([
    ...     keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    >>> traced = graph.trace(model)
    >>> structured.Costs(traced).count(traced.kept())
    {'units': 0, 'params': 112, 'macs': 3888, 'bytes': 448}
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        variables = weights_lib.variables(graph.model)
        self.shapes = {
            key: tuple(v.shape) for key, v in variables.items()
            if not weights_lib.is_seed(v)
        }
        self._keys = {id(v): key for key, v in variables.items()}
        ids = [binding.ids for binding in graph.bindings]
        ids += [producer.ids for producer in graph.producers]
        self._classes = np.unique(np.concatenate([[0], *ids]))[1:].astype(int)
        self.positions = collections.Counter()
        self.attention = []
        self._read(graph.view)

    def count(self, kept: np.ndarray) -> dict[str, int]:
        """Returns the costs when some classes are kept.

        Args:
            kept: Boolean array over the ids of the graph.

        Returns:
            Dict of integers: `"units"` (classes), `"params"`, `"macs"` for
            one sample and `"bytes"`, four for each parameter.
        """
        layers = self.by_layer(kept)
        params = sum(layer["params"] for layer in layers.values())
        return {
            "units": int(kept[self._classes].sum()),
            "params": params,
            "macs": sum(layer["macs"] for layer in layers.values()),
            "bytes": params * BYTES_PER_PARAMETER,
        }

    def by_layer(self, kept: np.ndarray) -> dict[str, dict[str, int]]:
        """Returns the costs of every layer with weights.

        Args:
            kept: Boolean array over the ids of the graph.

        Returns:
            Dict from layer path to dict of `"params"` and `"macs"`.
        """
        shapes = self._shapes(kept)
        found = collections.defaultdict(lambda: {"params": 0, "macs": 0})
        for key, shape in shapes.items():
            found[key.rpartition("/")[0]]["params"] += math.prod(shape)
        for key, macs in self._macs(shapes).items():
            path = key.rpartition("/")[0] if key in shapes else key
            found[path]["macs"] += macs
        return dict(found)

    def by_key(self, kept: np.ndarray) -> dict[str, int]:
        """Returns the multiply-accumulates of one sample by weight key.

        Those of attention's own two products are there by its path.

        Args:
            kept: Boolean array over the ids of the graph.
        """
        return self._macs(self._shapes(kept))

    def _macs(self, shapes):
        found = {
            key: count * math.prod(shapes[key])
            for key, count in self.positions.items()
        }
        for path, count, query, output in self.attention:
            heads, size = shapes[query][1:]
            found[path] = found.get(path, 0) + count * (
                heads * size + math.prod(shapes[output][:2])
            )
        return found

    def _shapes(self, kept):
        shapes = dict(self.shapes)
        for key, cuts in self.graph.slices(kept).items():
            shape = list(shapes[key])
            for axis, mask in cuts:
                shape[axis] = int(mask.sum())
            shapes[key] = tuple(shape)
        return shapes

    def _read(self, view):
        def call(operation, args, kwargs, outputs):
            part = view.parts.get(id(operation))
            if part is not None:
                self._read(part)
            elif isinstance(operation, keras.layers.Layer):
                inputs = functional.tensors((args, kwargs))
                self._count_call(operation, inputs, outputs)
            return outputs

        functional.run(view.graph, view.graph.inputs, call)

    def _count_call(self, layer, inputs, outputs):
        while getattr(layer, "transparent", False):
            layer = layer.layer
        if isinstance(layer, layer_kinds.ATTENTION):
            return self._count_attention(layer, inputs, outputs)
        if isinstance(layer, keras.layers.Embedding):
            return
        for variable in layer.variables:
            if len(variable.shape) > 1 and "kernel" in variable.name:
                positions = _positions(layer, inputs[0], outputs[0])
                self.positions[self._keys[id(variable)]] += positions

    def _count_attention(self, layer, inputs, outputs):
        asked = _sizes(inputs[0].shape[1:-1])
        known = _sizes(inputs[1].shape[1:-1])
        keys = {
            name: self._keys[id(part.kernel)]
            for name, part in functional.sublayers(layer).items()
            if isinstance(part, keras.layers.EinsumDense)
        }
        for name, key in keys.items():
            count = known if name in ("key", "value") else asked
            self.positions[key] += count
        query, output = keys["query"], keys["attention_output"]
        path = query.rpartition("/")[0]
        self.attention.append((path, asked * known, query, output))


def _positions(layer, inputs, outputs):
    """At how many places of one sample the kernels of a layer are applied."""
    if isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)):
        return _sizes(inputs.shape[1:-1])
    inner = layer
    while isinstance(inner, keras.layers.Wrapper):
        inner = inner.layer
    tensor = inputs if isinstance(inner, layer_kinds.TRANSPOSED) else outputs
    shape = list(tensor.shape[1:])
    if isinstance(layer, keras.layers.EinsumDense):
        return _einsum_positions(layer, inputs.shape)
    channels_first = getattr(inner, "data_format", None) == "channels_first"
    rank = len(shape) if inner is layer else len(shape) - 1
    del shape[-rank if channels_first else -1]
    return _sizes(shape)


def _einsum_positions(layer, shape):
    """The sizes of the input's axes that the kernel does not have."""
    operands, _, _ = layer.equation.replace(" ", "").partition("->")
    labels, _, kernel = operands.partition(",")
    if labels.startswith("..."):
        labels = "." * (len(shape) - len(labels) + 3) + labels[3:]
    return _sizes(
        n for label, n in zip(labels[1:], shape[1:]) if label not in kernel
    )


def _sizes(shape):
    return math.prod(n or 1 for n in shape)
