"""Graphs at concrete lengths, for layers whose code takes no open axes.

Decoders make masks and position tables with as many entries as there are
tokens, which takes a number. What a channel does is the same at any length.
"""

from tf_lottery.graph import functional

# Tried one after the other: a table of positions may be shorter.
LENGTHS = (16, 8, 4, 64, 256)


def closed(view):
    """Yields views of a model with sizes in the place of open axes.

    Args:
        view: `tf_lottery.graph.functional.View`.

    Yields:
        `View` of the same model and layers.
    """
    shapes = [x.shape for x in view.graph.inputs]
    if not any(None in shape[1:] for shape in shapes):
        yield functional.View(view.model, view.graph, {}, length=0)
        return
    for length in LENGTHS:
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
