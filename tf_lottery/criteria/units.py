"""Criteria of whole channels and units, which look at their groups."""

import keras
import numpy as np
from keras import ops

from tf_lottery import graph as graph_lib
from tf_lottery.criteria.criterion import Context
from tf_lottery.criteria.criterion import Criterion
from tf_lottery.criteria.criterion import Scorer
from tf_lottery.utils import types


class UnitCriterion(Criterion):
    """A criterion that scores channels and units, not single weights.

    `tf_lottery.structured.plan` takes the scores of units as they are. Where
    weights are scored, each has the score of the unit that it makes: use
    `pattern="channel"`.

    Subclasses implement `score_slices(binding, masks)`.
    """

    def score_slices(
        self, binding: graph_lib.Binding, masks: types.Masks
    ) -> np.ndarray | None:
        """Returns what one axis of one weight says of its units.

        Args:
            binding: `tf_lottery.graph.Binding`.
            masks: Dict from weight key to boolean array.

        Returns:
            Array along the axis, or `None` where it says nothing.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement `score_slices`."
        )

    def score_units(
        self, graph: graph_lib.Graph, masks: types.Masks
    ) -> np.ndarray:
        return mean(
            graph, [(b, self.score_slices(b, masks)) for b in graph.bindings]
        )

    def prepare(
        self, model: keras.Model, variables: types.Variables, context: Context
    ) -> Scorer:
        traced = graph_lib.trace(model)
        makers = {
            b.key: b for b in reversed(traced.bindings) if b.kind != "in"
        }

        def slices(key, units, masks):
            if key not in makers:
                return np.full((), np.nan)
            found = self.score_slices(makers[key], masks)
            return units[makers[key].ids] if found is None else found

        def scores(masks):
            units = self.score_units(traced, masks)
            found = {key: slices(key, units, masks) for key in variables}
            unknown = [k for k, v in found.items() if np.isnan(v).any()]
            if unknown:
                raise ValueError(
                    f"Criterion '{self.name}' has no score for units of "
                    f"these weights: {unknown}. Leave their layers out "
                    "(`exclude=`) or use another criterion."
                )
            return {
                key: _spread(value, makers[key].axis, masks[key].shape)
                for key, value in found.items()
            }

        return scores


class FPGM(UnitCriterion):
    """Filters far from all others are kept, those near the median go.

    A unit scores the sum of the distances of its slice to all other slices
    of the kernel that makes it.

    Reference: He et al. 2019, https://arxiv.org/abs/1811.00250, equations 4
    and 6.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((1,)), keras.layers.Dense(3, name="fc")])
    >>> model.set_weights([np.array([[1.0, 2.0, 5.0]]), np.zeros(3)])
    >>> tfl.criteria.score(model, "fpgm")["fc/kernel"].round(3).tolist()
    [[5.0, 4.0, 7.0]]
    """

    name = "fpgm"

    def score_slices(
        self, binding: graph_lib.Binding, masks: types.Masks
    ) -> np.ndarray | None:
        if binding.kind not in ("out", "zero") or is_bias(binding):
            return None
        value = ops.convert_to_numpy(binding.variable).astype("float64")
        value = np.where(masks.get(binding.key, True), value, 0)
        rows = np.moveaxis(value, binding.axis, 0)
        return _distances(rows.reshape(len(rows), -1)).sum(axis=1)


class BatchNormScale(UnitCriterion):
    """Channels that batch normalisation scales by much are kept.

    A unit scores the absolute scale (gamma); one without batch normalisation
    behind it has no score and stays.

    Reference: Liu et al. 2017, https://arxiv.org/abs/1708.06519.

    Raises:
        ValueError: When called, if no unit that could go has such a scale.
    """

    name = "bn_scale"

    def score_slices(
        self, binding: graph_lib.Binding, masks: types.Masks
    ) -> np.ndarray | None:
        layer = binding.layer
        if (
            isinstance(layer, keras.layers.BatchNormalization)
            and binding.variable is layer.gamma
        ):
            return np.abs(ops.convert_to_numpy(layer.gamma).astype("float64"))
        return None

    def score_units(
        self, graph: graph_lib.Graph, masks: types.Masks
    ) -> np.ndarray:
        scores = super().score_units(graph, masks)
        if np.isnan(scores[1:]).all():
            raise ValueError(
                "Criterion 'bn_scale' needs a `BatchNormalization` with a "
                "scale behind some prunable unit. Received: model "
                f"'{graph.model.name}', which has none."
            )
        return scores


def is_bias(binding):
    """Whether a weight is a bias or a vector, which kernels' scores omit."""
    return len(binding.variable.shape) < 2 or binding.variable.name == "bias"


def mean(graph, members):
    """Returns the mean over the members of each class of their scores.

    Members are pairs of a binding and scores along its axis, or `None`; means
    are NaN where there is no score and infinite where one is not finite.
    """
    total, count = np.zeros(graph.size), np.zeros(graph.size)
    for binding, scores in members:
        if scores is not None and np.any(binding.ids):
            total += np.bincount(binding.ids, scores, graph.size)
            count += np.bincount(binding.ids, minlength=graph.size) > 0
    total[np.isnan(total)] = np.inf
    with np.errstate(invalid="ignore"):
        return total / np.where(count > 0, count, np.nan)


def _distances(rows):
    """The Euclidean distance of every pair of rows, of shape `(n, n)`."""
    # Around their mean, so that little is lost in the difference of squares.
    rows = rows - rows.mean(axis=0)
    squares = np.square(rows).sum(axis=1)
    found = squares[:, None] + squares[None, :] - 2 * (rows @ rows.T)
    np.fill_diagonal(found, 0)
    return np.sqrt(np.maximum(found, 0))


def _spread(values, axis, shape):
    """An array along an axis as one of a weight's shape."""
    values = values.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return np.broadcast_to(values, shape)
