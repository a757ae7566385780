"""Lookahead: magnitudes seen together with those before and behind."""

import numpy as np

from tf_lottery import checks
from tf_lottery.criteria import neighbours
from tf_lottery.criteria.criterion import Criterion
from tf_lottery.criteria.network_steps import Network


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

    >>> import keras, numpy as np
    >>> import tf_lottery as tfl
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

    def __init__(self, epsilon=1e-10):
        checks.optional(checks.not_negative, "epsilon", epsilon)
        self.epsilon = epsilon

    def prepare(self, model, variables, context):
        network = Network(model, self.epsilon)
        keys = {id(variable): key for key, variable in variables.items()}
        seen = {
            id(step.variable)
            for step in network.steps
            if isinstance(step, neighbours.Linear)
        }
        unseen = [key for number, key in keys.items() if number not in seen]
        if unseen:
            raise ValueError(
                f"Criterion '{self.name}' does not know how these weights "
                f"connect channels: {unseen}. Leave their layers out "
                "(`exclude=`) or use another criterion."
            )

        def scores(masks):
            return _scores(network, variables, keys, masks)

        return scores

    def get_config(self):
        return {"epsilon": self.epsilon}


def _scores(network, variables, keys, masks):
    steps = [s for s in network.steps if isinstance(s, neighbours.Linear)]

    def squares(step):
        values = neighbours.values_of(step.variable)
        key = keys.get(id(step.variable))
        if key is not None:
            values[~masks[key]] = 0
        return np.square(values, out=values)

    norms = {step: step.norms(squares(step)) for step in steps}
    back = neighbours.look_back(network.steps, network.inputs, norms)
    ahead = neighbours.look_ahead(
        network.steps, network.inputs, network.outputs, norms
    )
    found = {}
    for step in steps:
        key = keys.get(id(step.variable))
        if key is None:
            continue
        score = squares(step)
        if step.inputs:
            score *= back[step.inputs[0]][step.rows]
        score *= ahead[step.output][step.columns]
        found[key] = found[key] + score if key in found else score
    return {key: found[key] for key in variables}
