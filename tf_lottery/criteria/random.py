"""Random scores: the baseline that every criterion has to beat."""

import zlib

import numpy as np

from tf_lottery import checks
from tf_lottery.criteria.criterion import WeightCriterion


class Random(WeightCriterion):
    """Independent uniform scores.

    Args:
        seed: Integer. The scores of a weight depend on it and on the weight's
            key only. Defaults to 0.
    """

    name = "random"

    def __init__(self, seed=0):
        checks.seed("seed", seed)
        self.seed = seed

    def score_weight(self, key, values):
        stream = (self.seed, zlib.crc32(key.encode()))
        return np.random.default_rng(stream).random(values.shape, "float32")

    def get_config(self):
        return {"seed": self.seed}
