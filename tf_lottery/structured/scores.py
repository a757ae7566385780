"""What each class of slices is worth: criteria on whole groups."""

import zlib

import keras
import numpy as np
from keras import ops

from tf_lottery import checks
from tf_lottery import criteria
from tf_lottery import graph as graph_lib
from tf_lottery import holding
from tf_lottery.structured import taylor


def score(graph, criterion="magnitude", masks=None, data=None, seed=0):
    """Returns the score of every class of a graph; higher = keep.

    A weight is a member of a class where slices of it go with the class,
    kernels that make its units as well as kernels that read them; biases and
    the weights of normalisation do not count. The score of a class is the
    mean over its members.

    Args:
        graph: `tf_lottery.graph.Graph`.
        criterion: What a member's slice contributes:

            - `"magnitude"` or `"l2"`: the sum of its squares;
            - `"l1"`: the sum of its absolute values (Li et al. 2017,
              https://arxiv.org/abs/1608.08710);
            - `"fpgm"`: the sum of its distances to all other slices of the
              kernel that makes the units (He et al. 2019, eq. 4 and 6,
              https://arxiv.org/abs/1811.00250);
            - `"bn_scale"`: the absolute scale of batch normalisation (Liu et
              al. 2017, https://arxiv.org/abs/1708.06519); classes without
              one have no score and stay;
            - `"taylor"`: the square of the sum of weight times gradient
              (Molchanov et al. 2019, eq. 8, https://arxiv.org/abs/1906.10771),
              averaged over batches; needs `data` and a compiled model;
            - `"random"`: a uniform number for each class;
            - the name of another criterion of `tf_lottery.criteria`, or a
              callable `f(model, variables)` that takes a dict from weight
              key to variable and returns a dict from weight key to array:
              the sum of the slice.

            Defaults to `"magnitude"`.
        masks: Dict from weight key to boolean array; pruned weights count as
            zero. Defaults to none.
        data: Tuple `(x, y)` or iterable of such batches, for `"taylor"`.
        seed: Integer, for `"random"`. Defaults to 0.

    Returns:
        Float array over the ids of the graph, NaN where there is no score.

    Raises:
        ValueError: If the criterion is unknown, its data are missing, or a
            score is not finite.
    """
    checks.kind("graph", graph, graph_lib.Graph, "a `tf_lottery.graph.Graph`")
    checks.seed("seed", seed)
    checks.data("data", data)
    if masks is not None:
        holding.check_masks(graph.model, masks)
    masks = masks or {}
    named = isinstance(criterion, str)
    if named and criterion == "random":
        scores = _random(graph, seed)
    elif named and criterion == "bn_scale":
        scores = _bn_scale(graph)
    elif named and criterion == "fpgm":
        scores = _mean(graph, _makers(graph), _fpgm(masks))
    elif named and criterion == "taylor":
        scores = taylor.score(graph, kernels(graph), data)
    else:
        scores = _weights(graph, criterion, masks)
    _check(graph, scores, criterion)
    return scores


def _check(graph, scores, criterion):
    wrong = np.isinf(scores)
    wrong[0] = False
    if wrong.any():
        keys = [b.key for b in graph.bindings if wrong[b.ids].any()]
        raise ValueError(
            "Scores must be finite; weights or data hold NaN or infinity. "
            f"Received: scores by criterion {criterion!r} that are not, of "
            f"units of {', '.join(map(repr, keys[:8]))}."
        )


def kernels(graph):
    """Returns the bindings that criteria count."""
    return [b for b in graph.bindings if not is_bias(b)]


def is_bias(binding):
    """Whether a weight is a bias or a vector, which no criterion counts."""
    return len(binding.variable.shape) < 2 or binding.variable.name == "bias"


def value_of(binding, masks=None):
    """Returns the weight of a binding as an array, pruned weights zero."""
    value = ops.convert_to_numpy(binding.variable)
    mask = (masks or {}).get(binding.key)
    return value if mask is None else np.where(mask, value, 0)


def _weights(graph, criterion, masks):
    members, named = kernels(graph), isinstance(criterion, str)
    if named and criterion in ("magnitude", "l2"):
        return _mean(graph, members, _per_weight(masks, np.square))
    if named and criterion == "l1":
        return _mean(graph, members, _per_weight(masks, np.abs))
    rule = _criterion(criterion)
    found = rule(graph.model, {b.key: b.variable for b in members})
    missing = [b.key for b in members if b.key not in found]
    if missing:
        raise ValueError(
            "A criterion must score every weight it is given. Received no "
            f"scores of: {missing[:8]}"
        )

    def reduce(binding):
        scores = np.where(
            masks.get(binding.key, True), np.asarray(found[binding.key]), 0
        )
        return _sum_but(scores, binding.axis)

    return _mean(graph, members, reduce)


def _criterion(criterion):
    try:
        return criteria.get(criterion)
    except ValueError as error:
        raise ValueError(
            f"{error} Or one for whole groups: 'magnitude', 'l1', 'l2', "
            "'bn_scale', 'fpgm', 'taylor', 'random'."
        ) from None


def _per_weight(masks, function):
    def reduce(binding):
        value = value_of(binding, masks).astype("float64")
        return _sum_but(function(value), binding.axis)

    return reduce


def _sum_but(values, axis):
    rest = tuple(i for i in range(values.ndim) if i != axis)
    return values.sum(axis=rest, dtype="float64")


def _mean(graph, members, reduce):
    """Mean over the members of each class of what `reduce` says of them."""
    total = np.zeros(graph.size)
    count = np.zeros(graph.size)
    for binding in members:
        ids = np.asarray(binding.ids)
        if not ids.any():
            continue
        total += np.bincount(ids, reduce(binding), graph.size)
        count += np.bincount(ids, minlength=graph.size) > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = np.where(count > 0, total / count, np.nan)
    if np.isnan(total).any():
        scores[np.isnan(total)] = np.inf
    return scores


def _makers(graph):
    return [b for b in kernels(graph) if b.kind in ("out", "zero")]


def _fpgm(masks):
    def reduce(binding):
        value = value_of(binding, masks).astype("float64")
        rows = np.moveaxis(value, binding.axis, 0)
        return distances(rows.reshape(len(rows), -1)).sum(axis=1)

    return reduce


def distances(rows):
    """Returns the Euclidean distance of every pair of rows.

    Args:
        rows: Array of shape `(n, d)`.

    Returns:
        Float array of shape `(n, n)`.
    """
    # Around their mean, so that little is lost in the difference of squares.
    rows = rows - rows.mean(axis=0)
    squares = np.square(rows).sum(axis=1)
    products = rows @ rows.T
    found = squares[:, None] + squares[None, :] - 2 * products
    np.fill_diagonal(found, 0)
    return np.sqrt(np.maximum(found, 0))


def _bn_scale(graph):
    members = [
        b
        for b in graph.bindings
        if isinstance(b.layer, keras.layers.BatchNormalization)
        and b.variable is b.layer.gamma
    ]
    if not any(np.any(b.ids) for b in members):
        raise ValueError(
            "Criterion 'bn_scale' needs a `BatchNormalization` with a scale "
            f"behind some prunable unit. Received: model "
            f"'{graph.model.name}', which has none."
        )
    return _mean(graph, members, lambda b: np.abs(value_of(b).astype(float)))


def _random(graph, seed):
    scores = np.full(graph.size, np.nan)
    for group in graph.groups:
        generator = np.random.default_rng(
            (seed, zlib.crc32(group.name.encode()))
        )
        scores[group.classes] = generator.random(len(group.classes))
    return scores
