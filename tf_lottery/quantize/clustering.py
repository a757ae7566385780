"""`cluster`: few values for many weights."""

from typing import Literal

import keras
import numpy as np
from keras import ops

from tf_lottery import clusters as clusters_lib
from tf_lottery import constraints
from tf_lottery import holding
from tf_lottery import internals
from tf_lottery import weights as weights_lib
from tf_lottery.quantize import kmeans
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import layer_kinds
from tf_lottery.utils import types


@docs.filled
def cluster(
    model: keras.Model,
    clusters: int = 16,
    per: Literal["layer", "channel"] = "layer",
    exclude: types.Names = (),
    include: types.Names = (),
) -> dict[str, np.ndarray]:
    """Gives weights of a model a few shared values, and holds them so.

    The values are found by k-means, with least squared error. Zeros stay
    zero: where a weight has some, or a mask, zero is one of its values, and
    no other weight gets it. Training moves the values: the weights of a
    cluster share their gradient and stay equal after every step of any
    optimizer, in every `fit`. Files become smaller by any lossless coder:
    `gzip`, and that of Arm's Ethos-U.

    Clusters are in every file that has the masks of the model, and held once
    it is loaded. `tf_lottery.strip` returns a plain model with the values in
    it.

    Args:
        model: A built `keras.Model`, with masks or without.
        clusters: Integer in [2, 256], how many values a weight has at most,
            zero included. Defaults to 16, 4 bits.
        per: `"layer"`, or `"channel"`: each channel that a weight makes has
            values of its own, which is more exact and codes worse. Defaults
            to `"layer"`.
        {{layers}}

    Returns:
        Dict from weight key to array of the values, sorted, of shape
        `(clusters,)` or `(channels, clusters)`. Where there are fewer, the
        last one is repeated.

    Raises:
        ValueError: For an invalid argument, a model that is not built or has
            no such weights, and weights that are not finite.

    Reference: Han, Mao and Dally 2016, https://arxiv.org/abs/1510.00149.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((8,)), keras.layers.Dense(5, name="fc")])
    >>> values = tfl.cluster(model, clusters=4)
    >>> values["fc/kernel"].shape, len(np.unique(model.layers[0].kernel))
    ((4,), 4)
    """
    checks.whole("clusters", clusters, 2)
    if clusters > 256:
        checks.refuse("clusters", clusters, "an integer of at most 256")
    checks.choice("per", per, ("layer", "channel"))
    weights = weights_lib.inspect(model, exclude, include)
    variables = weights_lib.prunable_of(model, weights)
    arrays = {k: _finite(k, v, model) for k, v in variables.items()}
    # The masks also carry the clusters.
    holding.hold(model, constraints.current_masks(variables))
    found = {}
    for weight in weights:
        if weight.key in arrays:
            array = arrays[weight.key]
            axes = _channel_axes(weight) if per == "channel" else ()
            found[weight.key] = _share(weight, array, axes, clusters, model)
    if getattr(model, "optimizer", None) is not None:
        internals.models.forget_trace(model)
    return found


def _finite(key, variable, model):
    array = ops.convert_to_numpy(ops.cast(variable, "float32"))
    if not np.isfinite(array).all():
        raise ValueError(
            f"Weight '{key}' of model '{model.name}' cannot be clustered: it "
            "has values that are not finite."
        )
    return array


def _channel_axes(weight):
    axes = layer_kinds.axes(weight.layer, weight.variable)
    return (len(weight.variable.shape) - 1,) if axes is None else axes[1]


def _share(weight, array, axes, number, model):
    """Clusters one weight; returns the values."""
    rows = np.moveaxis(array, axes, range(len(axes)))
    moved = rows.shape
    rows = rows.reshape(int(np.prod(moved[:len(axes)])), -1)
    found, index = [], np.zeros(rows.shape, int)
    # Of each row cluster 0 is that of zeros.
    values = np.zeros((len(rows), number + 1), array.dtype)
    for i, row in enumerate(rows):
        kept = row[row != 0]
        own = kept
        if len(kept):
            own = kmeans.centroids(kept, number - (len(kept) < len(row)))
        values[i, 1:1 + len(own)] = own
        index[i][row != 0] = 1 + kmeans.nearest(kept, own)
        found.append(np.union1d(own, [0] if len(kept) < len(row) else []))
    index += np.arange(len(rows))[:, None] * (number + 1)
    index = np.moveaxis(index.reshape(moved), range(len(axes)), axes)
    with internals.models.strategy_scope(model):
        clusters_lib.attach(weight.variable, index, number + 1, values.ravel())
    found = np.stack([np.pad(v, (0, number - len(v)), "edge") for v in found])
    found = found.astype(array.dtype)
    return found if axes else found[0]
