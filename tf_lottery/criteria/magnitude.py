"""Magnitude: large weights are kept."""

import numpy as np
from keras import ops

from tf_lottery.criteria.criterion import Criterion


class Magnitude(Criterion):
    """The absolute value of each weight.

    Reference: Han et al. 2015, https://arxiv.org/abs/1506.02626; the
    criterion of iterative magnitude pruning, Frankle and Carbin 2019,
    https://arxiv.org/abs/1803.03635.
    """

    name = "magnitude"

    def __call__(self, model, variables):
        return {
            key: _absolute(ops.convert_to_numpy(variable))
            for key, variable in variables.items()
        }


def _absolute(values):
    # In place where the array is a copy of ours: large models have no
    # memory to spare between two rounds.
    return np.abs(values, out=values if values.flags.owndata else None)
