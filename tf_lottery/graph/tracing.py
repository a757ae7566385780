"""Channel units of whole models."""

from collections.abc import Iterable

import keras
import numpy as np

from tf_lottery import internals
from tf_lottery import weights
from tf_lottery.graph import functional
from tf_lottery.graph.structure import Graph
from tf_lottery.graph.tracer import Tracer
from tf_lottery.utils import checks

# In place of open axes: tried one after the other, for images must not be too
# small.
_LENGTHS = (16, 64, 256)


def trace(model: keras.Model) -> Graph:
    """Returns which channel units of a model go together.

    Reads the graph only: no data, no forward pass, the model is left as it
    is. A layer or operation that no rule is for is tried on random numbers:
    with fewer channels it must make the same of those. A unit is one channel,
    feature, attention head or key dimension; everything that a residual
    addition, a concatenation or a depthwise convolution couples is one class
    of units. Whatever reaches an output of
    the model, or is mixed with other channels by anything but a weight, is
    frozen with the reason. The idea of grouping by dependency is that of
    DepGraph (Fang et al. 2023, arXiv:2301.12900).

    Args:
        model: A built `keras.Model`. A subclassed one is read by calling it
            on symbolic tensors.

    Returns:
        A `Graph`.

    Raises:
        ValueError: If the model is not built or cannot be read as a graph;
            the message says why.

    Example:

    >>> inputs = keras.Input((4,))
    >>> x = keras.layers.Dense(6, name="fc1")(inputs)
    >>> x = keras.layers.Dense(6, name="fc2")(x) + x
    >>> model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(x))
    >>> found = tfl.graph.trace(model)
    >>> [(group.name, len(group)) for group in found.groups]
    [('fc1', 6)]
    >>> [(b.key, b.axis, b.kind) for b in found.bindings if b.axis == 0][1:3]
    [('fc1/bias', 0, 'out'), ('fc2/kernel', 0, 'in')]
    >>> found.frozen[0].reason
    'model output'
    """
    weights.check_built(model)
    view = functional.view(model)
    tracer = _traced(model, view)
    if tracer.unread:
        for closed in _closed(view):
            other = _traced(model, closed)
            if other.unread < tracer.unread:
                return other.graph()
    return tracer.graph()


def _traced(model, view):
    tracer = Tracer(model, view)
    inputs = [tracer.constant(x, "model input") for x in view.graph.inputs]
    for symbol in tracer.run(view, inputs):
        tracer.units.freeze(symbol.ids, "model output")
    return tracer


def _closed(view):
    """Yields a `View` of a model with sizes in the place of open axes.

    The code of decoders makes masks and position tables with as many entries
    as there are tokens. What a channel does is the same at any length.
    """
    shapes = [x.shape for x in view.graph.inputs]
    if not any(None in shape[1:] for shape in shapes):
        yield functional.View(view.model, view.graph, {}, length=0)
        return
    tables = [
        layer.sequence_length for layer in internals.layers.flat(view.model)
        if isinstance(getattr(layer, "sequence_length", None), int)
    ]
    for length in [min(_LENGTHS[0], *tables, 256), *_LENGTHS[1:]]:
        sizes = [
            (shape[0], *(length if n is None else n for n in shape[1:]))
            for shape in shapes
        ]
        try:
            graph = functional.at_shapes(view.graph, sizes)
        # Code of the user's may say in any way that it is for other sizes.
        except Exception:
            continue
        yield functional.View(view.model, graph, {}, length=length)


def channel_units(
    model: keras.Model, keys: Iterable[str] | None = None
) -> dict[str, tuple[int, np.ndarray]]:
    """Returns which slices of kernels make which channel units.

    For pruning by whole channels without removing them: slices with the same
    id, in whatever kernels, belong together.

    Args:
        model: See `trace`.
        keys: Iterable of weight keys. Defaults to all.

    Returns:
        Dict from weight key to `(axis, ids)`: the axis of outputs (of heads
        in attention, of channels in depthwise convolutions) and an integer
        array along it, 0 where the channel cannot be removed. Weights without
        such an axis are absent.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((4,)), keras.layers.Dense(3, name="fc"),
    ...     keras.layers.Dense(2, name="logits")])
    >>> units = tfl.graph.channel_units(model, ["fc/kernel", "logits/kernel"])
    >>> [(key, axis, ids.tolist()) for key, (axis, ids) in units.items()]
    [('fc/kernel', 1, [2, 3, 4]), ('logits/kernel', 1, [0, 0])]
    """
    return _slices(model, keys, ("out", "pass"))


def channel_readers(
    model: keras.Model, keys: Iterable[str] | None = None
) -> dict[str, tuple[int, np.ndarray]]:
    """Returns which slices of kernels read which channel units.

    They can go where the unit goes: nobody else reads it.

    Args:
        model: See `trace`.
        keys: Iterable of weight keys. Defaults to all.

    Returns:
        Dict from weight key to `(axis, ids)`, as `channel_units` returns it
        and with the same ids: the axis of inputs.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((4,)), keras.layers.Dense(3, name="fc"),
    ...     keras.layers.Dense(2, name="logits")])
    >>> axis, ids = tfl.graph.channel_readers(model)["logits/kernel"]
    >>> axis, ids.tolist()
    (0, [2, 3, 4])
    """
    return _slices(model, keys, ("in",))


def _slices(model, keys, kinds):
    checks.optional(checks.names, "keys", keys)
    wanted = None if keys is None else set(keys)
    found = {}
    for binding in trace(model).bindings:
        if binding.kind in kinds and len(binding.variable.shape) > 1:
            if wanted is None or binding.key in wanted:
                found.setdefault(binding.key, (binding.axis, binding.ids))
    return found
