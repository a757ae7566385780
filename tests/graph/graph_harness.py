"""Removes units by the plainest means, to test the graphs that are traced.

Every model goes through the same check: some units are removed, and the
small model must compute what the big one computes with the weights that read
these units set to zero.
"""

import keras
import numpy as np
from keras import ops

from tf_lottery import graph as graphs
from tf_lottery import weights
from tf_lottery.graph import functional
from tf_lottery.graph import reassembly
from tf_lottery.graph import renewing


def randomize(model, seed=0):
    rng = np.random.default_rng(seed)
    for key, variable in weights.variables(model).items():
        if weights.is_seed(variable):
            continue
        name = key.rsplit("/", 1)[-1]
        if name in (
            "gamma", "moving_variance", "scale", "alpha", "variance"
        ):
            value = rng.uniform(0.5, 1.5, variable.shape)
        elif len(variable.shape) > 1:
            fan = max(1, np.prod(variable.shape[:-1]))
            value = rng.normal(0, 1.5 / np.sqrt(fan), variable.shape)
        else:
            value = rng.normal(0, 0.3, variable.shape)
        variable.assign(value)


def choose(graph, seed=0, ratio=0.5):
    """Removes classes at random; every producer keeps at least one."""
    rng = np.random.default_rng(seed)
    kept = graph.kept()
    for id_ in graph.ids.tolist():
        kept[id_] = rng.random() >= ratio
    for producer in graph.producers:
        if not kept[producer.ids].any():
            kept[producer.ids[0]] = True
    return kept


def shrink(graph, kept):
    """The small model, by the plainest means."""
    edits, pairs = graph.edits(kept), []

    def renewed(operation):
        new = renewing.edited(operation, edits.get(operation))
        if isinstance(operation, keras.layers.Layer):
            pairs.append((operation, new))
        return new

    small = reassembly.rebuild(graph.view, renewed)
    slices, scales = graph.slices(kept), graph.scales(kept)
    keys = {id(v): k for k, v in weights.variables(graph.model).items()}
    for layer, new in pairs:
        for variable, target in zip(layer.weights, new.weights, strict=True):
            # Masks of `Masked` have no key and stay all ones here.
            key = keys.get(id(variable))
            value = ops.convert_to_numpy(variable)
            for axis, mask in slices.get(key, []):
                value = np.compress(mask, value, axis)
            if key is not None:
                assert value.shape == tuple(target.shape), key
                target.assign(value * scales.get(key, 1))
    return small


def masked_outputs(graph, kept, x):
    """What the big model computes with the readers of removed units zero."""
    before = [np.array(v) for v in graph.model.weights]
    for binding in graph.bindings:
        if binding.kind in ("in", "zero"):
            mask = kept[binding.ids]
            shape = [1] * len(binding.variable.shape)
            shape[binding.axis] = -1
            value = ops.convert_to_numpy(binding.variable)
            binding.variable.assign(value * mask.reshape(shape))
    outputs = graph.model(x)
    graph.model.set_weights(before)
    return outputs


def data(model, seed=0):
    rng = np.random.default_rng(seed)
    view = functional.view(model).graph

    def tensor(symbol):
        shape = [3, *(s or 6 for s in symbol.shape[1:])]
        if "int" in symbol.dtype:
            return rng.integers(0, 5, shape).astype(symbol.dtype)
        return rng.normal(size=shape).astype(symbol.dtype)

    return keras.tree.map_structure(tensor, view.input)


def check_exact(model, bound=2e-5, seed=0, ratio=0.5, move=None):
    """Returns the graph of a model for which removal is exact.

    A `move` of the slices that the small model gets makes it wrong.
    """
    randomize(model, seed)
    graph = graphs.trace(model)
    x = data(model, seed)
    kept = choose(graph, seed, ratio)
    small = shrink(graph, kept)
    if move is not None:
        move(small)
    reference = keras.tree.flatten(masked_outputs(graph, kept, x))
    outputs = keras.tree.flatten(small(x))
    for a, b in zip(reference, outputs, strict=True):
        a, b = (ops.convert_to_numpy(v).astype("float64") for v in (a, b))
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= bound * max(1e-3, np.abs(a).max())
    if graph.units and ratio == 0.5:
        assert not kept.all()
        assert small.count_params() < graph.model.count_params()
    return graph


def counts(graph):
    return [(group.name, len(group)) for group in graph.groups]


def reason_of(graph, path, role="units"):
    (found,) = [
        f for f in graph.frozen if f.path == path and f.role == role
    ]
    return found.reason
