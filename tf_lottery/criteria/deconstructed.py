"""Mask criteria of "Deconstructing Lottery Tickets": initial against final.

Each scores a weight by its initial value w_i, which the snapshot holds, and
its final value w_f, which the model holds: Zhou et al. 2019,
https://arxiv.org/abs/1905.01067, section 2 and figure 3. The paper ranks each
layer by itself (`scope="layer"`).
"""

import keras
import numpy as np
from keras import ops

from tf_lottery.criteria.criterion import Context
from tf_lottery.criteria.criterion import Criterion
from tf_lottery.criteria.criterion import Scorer
from tf_lottery.utils import types


class _InitialAndFinal(Criterion):
    """Scores from a weight's initial and final values.

    Subclasses implement `score_pair(initial, final)` on flat float64 arrays
    of the weights of one layer that are not pruned yet.
    """

    needs_snapshot = True

    def score_pair(self, initial: np.ndarray, final: np.ndarray) -> np.ndarray:
        raise NotImplementedError(
            f"{type(self).__name__} must implement `score_pair`."
        )

    def prepare(
        self, model: keras.Model, variables: types.Variables, context: Context
    ) -> Scorer:
        snapshot = {}
        if self.needs_snapshot:
            snapshot = _checked(context.snapshot, variables, self.name)

        return lambda masks: {
            key: self._score(snapshot.get(key), variable, masks[key])
            for key, variable in variables.items()
        }

    def _score(self, initial, variable, mask):
        final = _float64(variable)[mask]
        if initial is not None:
            initial = _float64(initial)[mask]
        scores = np.zeros(mask.shape)
        scores[mask] = self.score_pair(initial, final)
        return scores


class LargeFinal(_InitialAndFinal):
    """Keeps what ends large, |w_f|: the same as `"magnitude"`.

    Reference: Zhou et al. 2019, https://arxiv.org/abs/1905.01067, figure 3.
    """

    name = "large_final"
    needs_snapshot = False

    def score_pair(self, initial: np.ndarray, final: np.ndarray) -> np.ndarray:
        return np.abs(final)


class SmallFinal(_InitialAndFinal):
    """Keeps what ends small, -|w_f|: a control that should fail.

    Reference: Zhou et al. 2019, https://arxiv.org/abs/1905.01067, figure 3.
    """

    name = "small_final"
    needs_snapshot = False

    def score_pair(self, initial: np.ndarray, final: np.ndarray) -> np.ndarray:
        return -np.abs(final)


class LargeInit(_InitialAndFinal):
    """Keeps what began large, |w_i|. Needs a snapshot of the start.

    Reference: Zhou et al. 2019, https://arxiv.org/abs/1905.01067, figure 3.
    """

    name = "large_init"

    def score_pair(self, initial: np.ndarray, final: np.ndarray) -> np.ndarray:
        return np.abs(initial)


class SmallInit(_InitialAndFinal):
    """Keeps what began small, -|w_i|. Needs a snapshot of the start.

    Reference: Zhou et al. 2019, https://arxiv.org/abs/1905.01067, figure 3.
    """

    name = "small_init"

    def score_pair(self, initial: np.ndarray, final: np.ndarray) -> np.ndarray:
        return -np.abs(initial)


class LargeInitLargeFinal(_InitialAndFinal):
    """Keeps what began and ended large, min(alpha |w_f|, |w_i|).

    The paper adjusts alpha until both limits cut off the same percentile. So
    |w_f| stands here for the initial magnitude of the same rank in its layer,
    which gives that mask at every sparsity. Needs a snapshot of the start.

    Reference: Zhou et al. 2019, https://arxiv.org/abs/1905.01067, figure 3;
    the percentiles, not a common factor, are what the authors' code aligns.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((3,)), keras.layers.Dense(1, name="fc")])
    >>> model.set_weights([np.array([[10.0], [20.0], [-90.0]]), np.zeros(1)])
    >>> start = {"fc/kernel": np.array([[1.0], [3.0], [-2.0]])}
    >>> scores = tfl.criteria.score(
    ...     model, "large_init_large_final", snapshot=start)
    >>> scores["fc/kernel"].ravel().tolist()
    [1.0, 2.0, 2.0]
    """

    name = "large_init_large_final"

    def score_pair(self, initial: np.ndarray, final: np.ndarray) -> np.ndarray:
        return np.minimum(*_aligned(initial, final))


class SmallInitSmallFinal(_InitialAndFinal):
    """Keeps what began and ended small, -max(alpha |w_f|, |w_i|).

    Alpha as in `LargeInitLargeFinal`. Needs a snapshot of the start.

    Reference: Zhou et al. 2019, https://arxiv.org/abs/1905.01067, figure 3.
    """

    name = "small_init_small_final"

    def score_pair(self, initial: np.ndarray, final: np.ndarray) -> np.ndarray:
        return -np.maximum(*_aligned(initial, final))


class MagnitudeIncrease(_InitialAndFinal):
    """Keeps what grew most, |w_f| - |w_i|. Needs a snapshot of the start.

    Reference: Zhou et al. 2019, https://arxiv.org/abs/1905.01067, figure 3.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((2,)), keras.layers.Dense(1, name="fc")])
    >>> model.set_weights([np.array([[-3.0], [2.0]]), np.zeros(1)])
    >>> start = {"fc/kernel": np.array([[1.0], [5.0]])}
    >>> scores = tfl.criteria.score(
    ...     model, "magnitude_increase", snapshot=start)
    >>> scores["fc/kernel"].ravel().tolist()
    [2.0, -3.0]
    """

    name = "magnitude_increase"

    def score_pair(self, initial: np.ndarray, final: np.ndarray) -> np.ndarray:
        return np.abs(final) - np.abs(initial)


class Movement(_InitialAndFinal):
    """Keeps what moved furthest, |w_f - w_i|. Needs a snapshot of the start.

    Not to be confused with movement pruning (Sanh et al. 2020), which learns
    scores while it fine-tunes.

    Reference: Zhou et al. 2019, https://arxiv.org/abs/1905.01067, figure 3.
    """

    name = "movement"

    def score_pair(self, initial: np.ndarray, final: np.ndarray) -> np.ndarray:
        return np.abs(final - initial)


ALL_DECONSTRUCTED = (
    LargeFinal,
    SmallFinal,
    LargeInit,
    SmallInit,
    LargeInitLargeFinal,
    SmallInitSmallFinal,
    MagnitudeIncrease,
    Movement,
)


def _aligned(initial, final):
    """Initial magnitudes, and those of the same ranks as the final ones."""
    initial, final = np.abs(initial), np.abs(final)
    aligned = np.empty_like(initial)
    aligned[np.argsort(final, kind="stable")] = np.sort(initial)
    return aligned, initial


def _checked(snapshot, variables, name):
    if snapshot is None:
        raise ValueError(
            f"Criterion {name!r} compares the weights with earlier ones. Give "
            "them as argument `snapshot`: that of a ticket, or a dict from "
            "weight key to array, such as `{key: v.numpy() for key, v in "
            "tf_lottery.weights.variables(model).items()}` before training. "
            "Received: snapshot=None"
        )
    problems = [
        f"  {key!r}: expected shape {tuple(variable.shape)}, received "
        + (f"{np.shape(snapshot[key])}" if key in snapshot else "nothing")
        for key, variable in variables.items()
        if key not in snapshot
        or np.shape(snapshot[key]) != tuple(variable.shape)
    ]
    if problems:
        problems = "\n".join(problems)
        raise ValueError(
            f"Criterion {name!r} needs the earlier values of every weight it "
            f"scores, but argument `snapshot` does not fit:\n{problems}\n"
            f"Received: snapshot with the keys {sorted(snapshot)}"
        )
    return {key: snapshot[key] for key in variables}


def _float64(values):
    return ops.convert_to_numpy(values).astype("float64")
