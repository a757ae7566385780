"""Random scores: the baseline that every criterion has to beat."""

import zlib

import numpy as np

from tf_lottery.criteria.criterion import Criterion


class Random(Criterion):
    """Independent uniform scores.

    Args:
        seed: Integer. The scores of a weight depend on it and on the weight's
            key only. Defaults to 0.
    """

    name = "random"

    def __init__(self, seed=0):
        self.seed = seed

    def __call__(self, model, variables):
        return {
            key: np.random.default_rng(
                (self.seed, zlib.crc32(key.encode()))
            ).random(tuple(variable.shape), "float32")
            for key, variable in variables.items()
        }

    def get_config(self):
        return {"seed": self.seed}
