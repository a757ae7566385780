"""Random scores: the baseline that every criterion has to beat."""

import zlib

import numpy as np

from tf_lottery import graph as graph_lib
from tf_lottery.criteria.criterion import WeightCriterion
from tf_lottery.utils import checks
from tf_lottery.utils import types


class Random(WeightCriterion):
    """Independent uniform scores, of weights or of whole units.

    Args:
        seed: Integer. The scores of a weight depend on it and on the weight's
            key only, those of units on the name of their group. Defaults to
            0.
    """

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        checks.seed("seed", seed)
        self.seed = seed

    def score_weight(self, key: str, values: np.ndarray) -> np.ndarray:
        return self._generator(key).random(values.shape, "float32")

    def score_units(
        self, graph: graph_lib.Graph, masks: types.Masks
    ) -> np.ndarray:
        scores = np.full(graph.size, np.nan)
        for group in graph.groups:
            generator = self._generator(group.name)
            scores[group.classes] = generator.random(len(group.classes))
        return scores

    def _generator(self, name):
        return np.random.default_rng((self.seed, zlib.crc32(name.encode())))
