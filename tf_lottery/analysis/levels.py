"""Levels: the error barrier between successive rounds of pruning."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_lottery import schedules
from tf_lottery.analysis import connectivity
from tf_lottery.analysis import sources
from tf_lottery.runs import results as results_lib
from tf_lottery.utils import checks
from tf_lottery.utils import configurations
from tf_lottery.utils import types


class ErrorBarrier:
    """Measures the error barrier between two trainings of a model.

    As `barrier` of `IterativeMagnitudePruning` it says whether rounds still
    find tickets: two successive rounds are linearly connected, with no barrier
    between what they trained to, if and only if their networks match. The
    barrier is the highest error on the line between the two less the mean of
    both ends, see `linear_connectivity`.

    Reference: Paul et al. 2023, "Unmasking the Lottery Ticket Hypothesis",
    https://arxiv.org/abs/2210.03044.

    Args:
        data: See `linear_connectivity`, labels that are classes; of several
            data the largest barrier counts.
        points: Integer, evenly spaced points, ends included. Defaults to 11.
        batch_size: Integer, for data that are arrays. Defaults to 512.
        recalibrate: Data, or an array of inputs, to estimate the statistics
            of batch normalisation on; `None` to interpolate them. Defaults
            to `"auto"`: `data["train"]`, if the model has any.

    Raises:
        ValueError: If an argument is invalid; when it measures, if labels
            are no classes.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(2)])
    >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
    >>> x, y = np.eye(4, dtype="float32"), np.array([0, 1, 0, 1])
    >>> imp = tfl.IterativeMagnitudePruning(
    ...     rounds=1, epochs_per_round=1, monitor="loss", verbose=0,
    ...     barrier=tfl.analysis.ErrorBarrier((x, y)))
    >>> _ = model.fit(x, y, epochs=imp.epochs, callbacks=[imp], verbose=0)
    >>> sorted(imp.results[1].metrics)[0]
    'barrier'
    """

    def __init__(
        self,
        data: types.Data | Mapping[str, types.Data],
        points: int = 11,
        batch_size: int = 512,
        recalibrate: types.Data | np.ndarray | str | None = "auto",
    ) -> None:
        checks.whole("points", points, 2)
        checks.whole("batch_size", batch_size)
        connectivity.check_recalibrate(recalibrate)
        self.data, self.points = connectivity.named(data), points
        for part in self.data.values():
            checks.data("data", part)
        self.batch_size, self.recalibrate = batch_size, recalibrate

    def __call__(
        self, model: keras.Model, a: sources.Weights, b: sources.Weights
    ) -> float:
        """Returns the barrier, at least 0.

        Args:
            model: A built `keras.Model`; it is left as it is.
            a: Weights after the first training.
            b: Weights after the second training.
        """
        barriers = connectivity.linear_connectivity(
            model, a, b, self.data, self.points, self.batch_size,
            self.recalibrate,
        ).barriers
        if not barriers:
            raise ValueError(
                "Argument `data` must have labels that are classes, so that "
                f"there are errors to count. Received: data={self.data!r}"
            )
        return max(barriers.values())


class BarrierRate:
    """Rates of pruning that follow the error barriers between rounds.

    As `rate` of `IterativeMagnitudePruning` it lets one round remove as much
    as several: twice as many as the round before if no barrier has risen
    between the two last trainings, half as many if one has. The densities
    remain those of a run of `rate`, some of whose rounds are left out.

    Reference: Paul et al. 2023, "Unmasking the Lottery Ticket Hypothesis",
    section 3, https://arxiv.org/abs/2210.03044, where too high a rate leaves
    the region that is linearly connected, and so finds no ticket. To follow
    the barrier is ours.

    Args:
        rate: See `IterativeMagnitudePruning`, what one step removes. Defaults
            to 0.2.
        most: Integer, the steps of `rate` that one round may remove. Defaults
            to 4: 59 % at a rate of 0.2.
        max_barrier: Float, up to which an error barrier counts as none.
            Defaults to 0.0025, half of what ends a run.

    Raises:
        ValueError: If an argument is invalid; when it is called, if rounds
            have no barrier.

    Example:

    >>> x, y = np.eye(4, dtype="float32"), np.array([0, 1, 0, 1])
    >>> imp = tfl.IterativeMagnitudePruning(
    ...     rounds=8, target_density=0.1, rate=tfl.analysis.BarrierRate(0.2),
    ...     barrier=tfl.analysis.ErrorBarrier((x, y)))
    """

    def __init__(
        self,
        rate: types.Fraction = 0.2,
        most: int = 4,
        max_barrier: float = 0.0025,
    ) -> None:
        schedules.validate_rate(rate)
        checks.whole("most", most)
        checks.not_negative("max_barrier", max_barrier)
        self.rate, self.most = rate, most
        self.max_barrier = max_barrier

    def __call__(
        self, results: Sequence[results_lib.RoundResult]
    ) -> types.Fraction:
        """Returns the rate of the next round.

        Args:
            results: List of `RoundResult`, of the rounds so far.
        """
        steps = 1
        for result in results[1:]:
            if "barrier" not in result.metrics:
                raise ValueError(
                    "`BarrierRate` follows the error barriers between rounds; "
                    "pass `barrier=tf_lottery.analysis.ErrorBarrier(data)`, "
                    "too. Received: metrics of round "
                    f"{result.round}: {sorted(result.metrics)}"
                )
            flat = result.metrics["barrier"] <= self.max_barrier
            steps = min(2 * steps, self.most) if flat else max(steps // 2, 1)
        if isinstance(self.rate, Mapping):
            return {
                name: 1 - (1 - rate) ** steps
                for name, rate in self.rate.items()
            }
        return 1 - (1 - self.rate) ** steps

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments as a dict of plain values."""
        return configurations.of_arguments(self)
