"""Ends a round when its masks have stopped changing."""

import collections

import keras

from tf_lottery import criteria
from tf_lottery import masks as masks_lib
from tf_lottery import schedules
from tf_lottery.patterns import Pattern
from tf_lottery.pruning import prunable
from tf_lottery.pruning import rules
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types


@docs.filled
class EarlyBird(keras.callbacks.Callback):
    """Stops training when the masks that pruning would take are stable.

    At the end of every epoch the masks are drawn that pruning at `rate` would
    give now. Their distance to those of the epoch before is the fraction of
    weights that one keeps and the other does not. When the largest of the
    last `window` distances is below `threshold`, training stops.

    In `IterativeMagnitudePruning(round_callbacks=lambda: [EarlyBird(...)])`
    it ends the round, and the weights are pruned early.

    Reference: You et al. 2020, "Drawing Early-Bird Tickets: Towards More
    Efficient Training of Deep Networks", https://arxiv.org/abs/1909.11957,
    which prunes channels by the scale of BatchNorm, with a threshold of 0.1
    and a window of 5.

    Args:
        rate: Float in (0, 1), the fraction of the surviving weights to
            remove, or a dict from layer name or pattern to it.
        threshold: Float in (0, 1). Defaults to 0.1.
        window: Integer, the number of distances. Defaults to 5.
        criterion: See `tf_lottery.criteria.get`. Defaults to `"magnitude"`.
        scope: See `tf_lottery.prune`. Defaults to `"global"`.
        pattern: See `tf_lottery.prune`. Defaults to `"channel"`.
        {{collapse}}
        {{layers}}
        data: What criteria look at that need data, see `tf_lottery.prune`.
            Defaults to `None`.

    Attributes:
        distances: List of floats, one for each epoch but the first.

    Raises:
        ValueError: For an invalid argument.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(1e-4), "mse")
    >>> stop = tfl.callbacks.EarlyBird(rate=0.5, window=2)
    >>> x = np.ones((16, 4))
    >>> history = model.fit(x, x[:, :1], epochs=10, callbacks=[stop],
    ...                     verbose=0)
    >>> len(history.epoch)
    3
    """

    def __init__(
        self,
        rate: types.Fraction,
        threshold: float = 0.1,
        window: int = 5,
        criterion: criteria.Identifier = "magnitude",
        scope: types.Scope = "global",
        pattern: str | Pattern = "channel",
        exclude: types.Names = (),
        include: types.Names = (),
        collapse: types.Collapse = "keep-one",
        data: types.Data | None = None,
    ) -> None:
        super().__init__()
        schedules.validate_rate(rate)
        checks.fraction("threshold", threshold)
        checks.whole("window", window)
        self.rule = rules.Rule(scope, pattern, collapse, exclude, include)
        self.rate = rate
        self.threshold = threshold
        self.window = window
        self.criterion = criteria.get(criterion)
        self.criterion.check_data(data)
        criteria.make_context(data)
        self.data = data
        self.distances = []

    def on_train_begin(self, logs: types.Logs = None) -> None:
        self._weights: prunable.Prunable | None = None
        self._recent = collections.deque(maxlen=self.window)
        self._last = None
        self.distances = []

    def on_epoch_end(self, epoch: int, logs: types.Logs = None) -> None:
        if self._weights is None:
            # Now at the latest, the model is built.
            self._weights = prunable.Prunable(self.model, self.rule)
            self._rates = self._weights.rates(self.rate)
        masks, last = self._draw(), self._last
        self._last = masks
        if last is None:
            return
        self._recent.append(masks_lib.distance(masks, last))
        self.distances.append(self._recent[-1])
        full = len(self._recent) == self.window
        if full and max(self._recent) < self.threshold:
            self.model.stop_training = True

    def _draw(self):
        weights = self._weights
        held = weights.masks()
        context = criteria.make_context(self.data, masks=held)
        scores = self.criterion(self.model, weights.variables, context)
        masks = weights.next_masks(scores, held, self._rates)
        # What the last masks were told of need not be told again.
        weights.report(masks, held if self._last is None else self._last)
        return masks
