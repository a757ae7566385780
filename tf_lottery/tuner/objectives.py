"""Objectives of a search."""

import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

from tf_lottery import export
from tf_lottery.runs import results as results_lib
from tf_lottery.tuner.library import keras_tuner
from tf_lottery.utils import types

# What suits an objective, unless the user has said how to export.
_TARGETS = {"bytes": "flash", "latency": "auto"}
# What is measured, and the meaning of the number after the '@'.
FORMS = {
    "density": None,
    "accuracy": "density",
    "bytes": "accuracy",
    "latency": "accuracy",
}
_EXPECTED = (
    "Expected: 'density', the smallest density of a candidate ticket; "
    "'accuracy@0.1', the monitored metric at a density of 0.1; 'bytes@0.97' "
    "or 'latency@0.97', those of the exported file where the metric is 0.97."
)


class TicketObjective(keras_tuner.Objective):
    """An objective that is measured on the rounds of a trial.

    Its name is a key of what `TicketHyperModel.fit` returns, so that every
    tuner of keras-tuner takes it.

    Args:
        kind: String, one of `FORMS`.
        bound: Float, the number after the '@', or `None`.
        monitor: `tf_lottery.runs.results.Monitor`, the metric of the rounds.
    """

    def __init__(
        self,
        kind: str,
        bound: float | None,
        monitor: results_lib.Monitor,
    ) -> None:
        self.kind, self.bound, self.monitor = kind, bound, monitor
        rises = kind == "accuracy" and not monitor.smaller
        name = kind if bound is None else f"{kind}@{bound:g}"
        super().__init__(name, "max" if rises else "min")

    @property
    def density(self) -> float | None:
        """Float, the density at which a trial is measured, or `None`."""
        return self.bound if self.kind == "accuracy" else None

    @property
    def is_exported(self) -> bool:
        """Boolean, whether the model has to be exported to measure it."""
        return self.kind in ("bytes", "latency")

    def choose(
        self, rounds: Sequence[results_lib.RoundResult]
    ) -> results_lib.RoundResult | None:
        """Returns the round that the objective is about.

        Args:
            rounds: List of `tf_lottery.runs.results.RoundResult`.

        Returns:
            One of them; `None` if there is none yet. A later choice is of a
            later round. Without a candidate ticket it is the dense round.
        """
        if self.kind == "density":
            return results_lib.candidate(rounds, self.monitor) or rounds[0]
        if self.kind == "accuracy":
            # A density such as 0.8 ** 2 may miss its bound by one weight.
            limit = self.bound * (1 + 1e-3)
            return next((r for r in rounds if r.density <= limit), None)
        good = [
            r for r in rounds
            if self.monitor.worse_by(
                r.metrics[self.monitor.name], self.bound
            ) <= 0
        ]
        return min(good, key=lambda r: r.density, default=None)

    def explain(self, rounds: Sequence[results_lib.RoundResult]) -> str:
        """Returns why there is no choice, as a sentence."""
        name = self.monitor.name
        if self.kind == "accuracy":
            return (
                f"Density {self.bound:g} was not reached: round "
                f"{rounds[-1].round} ended at {rounds[-1].density:.4g}. Allow "
                "more rounds or a larger rate."
            )
        values = [r.metrics[name] for r in rounds]
        best = min(values) if self.monitor.smaller else max(values)
        return (
            f"No round reached {name} {self.bound:g}; the best is {best:.4g}."
        )

    def describe(self) -> dict[str, Any]:
        """Returns it as a dict of plain values."""
        return {
            "objective": self.name,
            "monitor": self.monitor.name,
            "mode": self.monitor.mode,
        }


def get(
    identifier: str | TicketObjective,
    monitor: str = "val_accuracy",
    mode: types.Mode = "auto",
) -> TicketObjective:
    """Returns an objective.

    Args:
        identifier: `"density"`, the smallest density of a candidate ticket (1
            where there is none); `"accuracy@0.1"`, the monitored metric of
            the first round at or below that density; `"bytes@0.97"` or
            `"latency@0.97"`, the bytes or milliseconds of the exported file
            of the sparsest round whose metric is at least as good; or a
            `TicketObjective`.
        monitor: String, the log by which rounds are compared. Defaults to
            `"val_accuracy"`.
        mode: `"auto"`, `"min"` or `"max"`, what is better. Defaults to
            `"auto"`.

    Raises:
        ValueError: If there is no such objective.

    Example:

    >>> objective = tfl.tuner.objective("accuracy@0.1")
    >>> objective.name, objective.direction
    ('accuracy@0.1', 'max')
    """
    if isinstance(identifier, TicketObjective):
        return identifier
    metric = results_lib.Monitor(monitor, mode)
    kind, at, number = str(identifier).partition("@")
    if kind not in FORMS or bool(at) != bool(FORMS[kind]):
        raise _unknown(identifier)
    if not at:
        return TicketObjective(kind, None, metric)
    try:
        bound = float(number)
    except ValueError:
        raise _unknown(identifier) from None
    if kind == "accuracy" and not 0 < bound < 1:
        raise _unknown(identifier)
    return TicketObjective(kind, bound, metric)


def _unknown(identifier):
    return ValueError(
        "Argument `objective` must name what is optimised. Received: "
        f"objective={identifier!r}. {_EXPECTED}"
    )


def measure(model, kind, arguments=None):
    """Exports a model; returns what its file takes, `bytes` and `compressed`.

    The `latency`, in milliseconds, is measured if it is asked for.
    """
    arguments = {
        "target": _TARGETS[kind],
        "seconds": 0.5 if kind == "latency" else 0,
        **(arguments or {}),
    }
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "model.tflite")
        report = export.tflite(model, path, **arguments)
    found = {
        "bytes": float(report.nbytes),
        "compressed": float(report.compressed),
    }
    if kind == "latency":
        found["latency"] = 1e3 * report.shipped.timing.median
    return found
