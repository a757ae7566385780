"""Lookahead: magnitudes seen together with those before and behind."""

import keras
import numpy as np

from tf_lottery.criteria.channel_flow import Flow
from tf_lottery.criteria.channel_flow import Linear
from tf_lottery.criteria.channel_flow import values_of
from tf_lottery.criteria.criterion import Context
from tf_lottery.criteria.criterion import Criterion
from tf_lottery.criteria.criterion import Scorer
from tf_lottery.utils import checks
from tf_lottery.utils import types


class Lookahead(Criterion):
    """How far removing a weight moves the product with its neighbours.

    w^2 times the squared norm of all weights that make what it reads, times
    that of all weights that read what it makes. A layer at the input or the
    output has no neighbour there: the factor is 1. BatchNormalization between
    two layers multiplies by (gamma / standard deviation)^2. Of several
    neighbours the norms are added; a skip connection that passes no weight
    adds 1. Neither biases nor activations play a part.

    Depthwise and separable convolutions count as the sparse matrices they
    are, and a layer that is called several times sums the products of its
    calls. Layers that mix channels otherwise, such as attention, gates and
    recurrence, are refused.

    The scores of different layers do not compare: use `scope="layer"`, as the
    paper does.

    Reference: Park et al. 2020, https://arxiv.org/abs/2002.04809, equation 5,
    and section 2.2 for BatchNormalization.

    Args:
        epsilon: Float added to variances in place of the layers' own, or
            `None` for the layers' own. Defaults to 1e-10, as in the authors'
            code.

    Raises:
        ValueError: When called, if channels cannot be followed through the
            model.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((1,)),
    ...     keras.layers.Dense(2, use_bias=False, name="fc"),
    ...     keras.layers.Dense(1, use_bias=False, name="logits")])
    >>> model.set_weights(
    ...     [np.array([[1.0, 2.0]]), np.array([[3.0], [1.0]])])
    >>> tfl.criteria.score(model, "lookahead")["fc/kernel"].tolist()
    [[9.0, 4.0]]
    """

    name = "lookahead"

    def __init__(self, epsilon: float | None = 1e-10) -> None:
        checks.optional(checks.not_negative, "epsilon", epsilon)
        self.epsilon = epsilon

    def prepare(
        self, model: keras.Model, variables: types.Variables, context: Context
    ) -> Scorer:
        flow = Flow(model, self.epsilon)
        keys = {id(variable): key for key, variable in variables.items()}
        steps = [s for s in flow.steps if isinstance(s, Linear)]
        unseen = keys.keys() - {id(step.variable) for step in steps}
        if unseen:
            raise ValueError(
                f"Criterion '{self.name}' does not know how these weights "
                f"connect channels: {sorted(keys[i] for i in unseen)}. Leave "
                "their layers out (`exclude=`) or use another criterion."
            )

        return lambda masks: _scores(flow, steps, keys, masks)


def _scores(flow, steps, keys, masks):
    def squares(step):
        values = values_of(step.variable)
        key = keys.get(id(step.variable))
        if key is not None:
            values[~masks[key]] = 0
        return np.square(values, out=values)

    norms = {}
    for step in steps:
        # By what a weight reads, and by what it makes.
        found = squares(step)
        norms[step] = (
            _sums(found, step.rows, len(step.into)),
            _sums(found, step.columns, len(step.out)),
        )
    back, ahead = _look_back(flow, norms), _look_ahead(flow, norms)
    found = dict.fromkeys(keys.values(), 0.0)
    for step in steps:
        key = keys.get(id(step.variable))
        if key is not None:
            score = squares(step) * back[step.into][step.rows]
            score *= ahead[step.out][step.columns]
            found[key] = found[key] + score
    return found


def _look_back(flow, norms):
    """The sum over what comes before each channel, by id.

    Beside squared norms, which normalisation scales, identities and missing
    neighbours are counted, which it does not.
    """
    found = np.zeros((2, len(flow.is_identity)))
    found[1] = 1
    for step in flow.steps:
        found[:, step.out] = 0
    for step in flow.steps:
        if step in norms:
            # What is before a weight cannot be seen from behind.
            found[0, step.out] = norms[step][1]
        else:
            found[:, step.out] += _carried(flow, step, found[:, step.into])
    return found.sum(0)


def _look_ahead(flow, norms):
    """The sum over what reads each channel, by id."""
    found = np.zeros((2, len(flow.is_identity)))
    for ids in flow.outputs:
        found[1, ids] += 1
    for step in reversed(flow.steps):
        if step in norms:
            np.add.at(found[0], step.into, norms[step][0])
            continue
        squares, counts = _carried(flow, step, found[:, step.out])
        np.add.at(found[0], step.into, squares)
        # All places of a channel count once.
        places = np.bincount(step.into)[step.into]
        np.add.at(found[1], step.into, counts / places)
    return found.sum(0)


def _carried(flow, link, values):
    """Norms and counts at the other end of a link."""
    if link.factor is not None:
        return np.stack([values[0] * link.factor, values[1]])
    return np.where(flow.is_identity[link.into], [[0.0], [1.0]], values)


def _sums(squares, index, size):
    """Sums over all weights of equal index."""
    index = index.reshape((1,) * (squares.ndim - index.ndim) + index.shape)
    # Axes along which the index is one and the same first: cheap.
    axes = tuple(a for a in range(index.ndim) if index.shape[a] == 1)
    squares = squares.sum(axes, keepdims=True)
    return np.bincount(index.ravel(), squares.ravel(), minlength=size)
