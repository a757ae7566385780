"""A model built anew from its graph."""

import keras

from tf_lottery import internals
from tf_lottery import weights as weights_lib
from tf_lottery.copies import Twin
from tf_lottery.graph import reassembly
from tf_lottery.graph import renewing


def rebuild(graph, kept=None, others=None, behind=None):
    """Builds the model of a graph anew, with fresh weights: a `copies.Twin`.

    Layers of `tf_lottery.layers.Masked` are left out around what they wrap.

    Args:
        others: Dict from layer to the function of its renewed self that
            makes what takes its place, with the same variables or more.
        behind: Dict from operation to a layer that is called on what it puts
            out.
    """
    edits = graph.edits(graph.kept() if kept is None else kept)
    pairs, others, behind = [], others or {}, behind or {}

    def renewed(operation):
        # What such a layer has adapted to, no variable holds.
        if hasattr(operation, "adapt") and not isinstance(
            operation, keras.layers.Normalization
        ):
            pairs.append((operation, operation))
            return operation
        new = renewing.edited(operation, edits.get(operation))
        if operation in others:
            new = others[operation](new)
        while getattr(operation, "transparent", False):
            operation, new = operation.layer, new.layer
        pairs.append((operation, new))
        if operation not in behind:
            return new
        return lambda *args, **kwargs: behind[operation](new(*args, **kwargs))

    model = reassembly.rebuild(graph.view, renewed)
    return _matched(graph.model, model, pairs, others, behind.values())


def _matched(old, new, pairs, others, added):
    names = {id(v): key for key, v in weights_lib.variables(old).items()}
    found = {
        f"{layer.name}/{v.name}": v for layer in added for v in layer.variables
    }
    for before, after in pairs:
        if not isinstance(before, keras.layers.Layer):
            continue
        more = ()
        if before in others:
            more = after.variables[len(before.variables):]
        if more:
            path = names[id(before.variables[0])].rpartition("/")[0]
            found |= {f"{path}/{v.name}": v for v in more}
        same = after.variables[: len(after.variables) - len(more)]
        for a, b in zip(before.variables, same, strict=True):
            found[names[id(a)]] = b
    new_names = {id(v): key for key, v in weights_lib.variables(new).items()}
    keys = {key: new_names.pop(id(v)) for key, v in found.items()}
    if new_names:
        raise ValueError(
            f"Model '{old.name}' cannot be rebuilt: the configuration of its "
            "layers makes weights that the model does not have. Received: "
            f"{sorted(new_names.values())[:8]}"
        )
    return Twin(new, found, keys)


def finalize(model):
    """Makes layers that cache their variables read them again."""
    for layer in internals.layers.flat(model):
        if isinstance(layer, keras.layers.Normalization) and layer.built:
            layer.finalize_state()
