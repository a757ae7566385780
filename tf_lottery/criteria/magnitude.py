"""Magnitude: large weights are kept."""

import numpy as np

from tf_lottery import checks
from tf_lottery.criteria.criterion import WeightCriterion


class Magnitude(WeightCriterion):
    """The absolute value of each weight, or its square.

    Alone, weights come in the same order either way; the order of blocks and
    channels, whose weights are averaged, may differ.

    Reference: Han et al. 2015, https://arxiv.org/abs/1506.02626; the
    criterion of iterative magnitude pruning, Frankle and Carbin 2019,
    https://arxiv.org/abs/1803.03635.

    Args:
        order: 1 for the absolute value (L1), 2 for the square (L2). Defaults
            to 1.

    Raises:
        ValueError: If `order` is neither.
    """

    name = "magnitude"

    def __init__(self, order=1):
        checks.number("order", order, "1 or 2", lambda v: v in (1, 2))
        self.order = order

    def score_weight(self, key, values):
        # In place: large models have no memory to spare between two rounds.
        if self.order == 1:
            return np.abs(values, out=values)
        return np.square(values, dtype=np.promote_types(values.dtype, "f4"))

    def get_config(self):
        return {"order": self.order}
