"""Attention whose keys and values stay equally wide, as JAX wants them."""

import numpy as np

from tf_lottery.utils import backends


def pairs(graph):
    """Yields the path, ids of keys and ids of values of attention layers.

    The attention of JAX takes queries, keys and values of one size; Keras
    calls it wherever there is no dropout.
    """
    if backends.name() != "jax":
        return
    found = {(id(p.layer), p.role): p for p in graph.producers}
    for (place, role), keys in found.items():
        values = found.get((place, "value_dim"))
        if (
            role == "key_dim"
            and values is not None
            and len(keys.ids) == len(values.ids)
            and not keys.layer.get_config()["dropout"]
        ):
            yield keys.path, keys.ids, values.ids


def equalise(graph, kept, ordered):
    """Keeps as many units of keys and values as are kept of the other.

    `ordered` sorts ids, those first that are kept longest.
    """
    for _, *both in pairs(graph):
        count = max(kept[ids].sum() for ids in both)
        for ids in both:
            gone = ordered(np.unique(ids[~kept[ids]]))
            kept[gone[: count - kept[ids].sum()]] = True


def check(graph, kept):
    """Refuses what JAX would not run.

    Raises:
        ValueError: If some keys are not as wide as their values.
    """
    wrong = [
        f"  {path}: {kept[keys].sum()} of keys, {kept[values].sum()} of values"
        for path, keys, values in pairs(graph)
        if kept[keys].sum() != kept[values].sum()
    ]
    if wrong:
        raise ValueError(
            "Under JAX the heads of `MultiHeadAttention` without dropout have "
            "keys and values of one size. Received: a plan that keeps\n"
            + "\n".join(wrong)
            + "\nExpected: as many of both. Plan under JAX, or shrink under "
            "TensorFlow or torch."
        )
