"""Graphs at concrete lengths, for layers whose code takes no open axes.

Decoders make masks and position tables with as many entries as there are
tokens, which takes a number. What a channel does is the same at any length.
"""

from tf_lottery import internals
from tf_lottery.graph import functional

# Tried one after the other, for images must not be too small.
LENGTHS = (16, 64, 256)


def closed(view):
    """Yields a `View` of a model with sizes in the place of open axes."""
    shapes = [x.shape for x in view.graph.inputs]
    if not any(None in shape[1:] for shape in shapes):
        yield functional.View(view.model, view.graph, {}, length=0)
        return
    tables = [
        layer.sequence_length for layer in internals.layers.flat(view.model)
        if isinstance(getattr(layer, "sequence_length", None), int)
    ]
    for length in [min(LENGTHS[0], *tables, 256), *LENGTHS[1:]]:
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
