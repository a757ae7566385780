"""Records of rounds, and the rules by which they are compared."""

import csv
import dataclasses
import io
import math
import warnings
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_lottery import schedules
from tf_lottery.utils import checks
from tf_lottery.verdicts import definitions

_COLUMNS = (
    "round", "density", "effective_density", "steps", "early_stop_step",
    "seconds",
)


@dataclasses.dataclass(frozen=True)
class RoundResult:
    """The record of one round.

    Attributes:
        round: Integer, 0 is dense training.
        density: Float, the fraction of prunable weights kept.
        densities: Dict from weight key to its density.
        metrics: Dict of floats, the logs of the round's last epoch.
        steps: Integer, the training step the round ended at, counted from
            initialisation.
        early_stop_step: Integer, the step of the smallest validation loss
            among the ends of epochs, or `None` without validation.
        seconds: Float, the time the round took, pruning included.
        effective_density: Float, the fraction of prunable weights that lie
            on a path from input to output, or `None` where it is not known.
    """

    round: int
    density: float
    densities: dict[str, float]
    metrics: dict[str, float]
    steps: int
    early_stop_step: int | None
    seconds: float
    effective_density: float | None = None

    @property
    def sparsity(self) -> float:
        """Float, the fraction of prunable weights removed."""
        return 1.0 - self.density

    def describe(self, monitor: "Monitor", dense: "RoundResult") -> str:
        """Returns the record as a line to read, next to the dense round."""
        name = monitor.name
        early = effective = ""
        if self.effective_density is not None:
            effective = f" (effective {self.effective_density:.1%})"
        if self.early_stop_step is not None:
            early = f", early stop at step {self.early_stop_step}"
        barrier = self.metrics.get("barrier")
        if barrier is not None:
            early += f", barrier {100 * barrier:.2f} points"
        return (
            f"density {self.density:.1%}{effective}, "
            f"{name} {self.metrics[name]:.4f} "
            f"(dense {dense.metrics[name]:.4f}){early}, "
            f"{self.seconds:.1f} s"
        )

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RoundResult":
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class Monitor:
    """The metric by which rounds are compared.

    In mode `"auto"` losses and errors are better if smaller, others if larger.
    """

    name: str
    mode: str = "auto"

    def __post_init__(self):
        checks.text("monitor", self.name)
        checks.choice("mode", self.mode, ("auto", "min", "max"))

    def worse_by(self, value: float, reference: float) -> float:
        """Returns how much worse a value is; negative where it is better."""
        if math.isnan(value):
            return math.inf
        return value - reference if self.smaller else reference - value

    @property
    def smaller(self) -> bool:
        if self.mode != "auto":
            return self.mode == "min"
        name = self.name.lower()
        return any(word in name for word in ("loss", "error", "mse", "mae"))

    def check(self, logs: Mapping[str, Any]) -> None:
        """Raises a `ValueError` that lists the logs if the name is absent."""
        if self.name not in logs:
            raise ValueError(
                "Argument `monitor` must name one of the logs of the round's "
                f"last epoch. Received: monitor={self.name!r}. "
                f"Expected one of: {sorted(logs)}. Metrics are named in "
                "`model.compile(metrics=...)`; names with 'val_' need "
                "`validation_data` in `fit`."
            )

    def check_early(
        self, logs: Mapping[str, Any], validation_may_come: bool
    ) -> None:
        """Tells at the first epoch of a typo, or warns where it may be none."""
        bare = self.name.removeprefix("val_")
        waits = self.name.startswith("val_") and bare in logs
        if not (waits and validation_may_come):
            self.check(logs)
        elif self.name not in logs:
            warnings.warn(
                f"Rounds are compared by '{self.name}', and the first epoch "
                "had no validation. Unless `validation_freq` is larger than "
                "1, pass `validation_data` to `fit`, or another `monitor`: "
                "without it, training will stop with an error after the "
                "dense round.",
                stacklevel=2,
            )


@dataclasses.dataclass(frozen=True)
class StopRule:
    """When a run has no further round: all are done, or one measure says so.

    The density is low enough, the metric worse than the dense round's by more
    than the tolerance, or the error barrier between successive rounds too
    high.
    """

    monitor: Monitor
    rounds: int
    target_density: float | None = None
    tolerance: float | None = None
    max_barrier: float = 0.0

    def __post_init__(self):
        checks.not_negative("max_barrier", self.max_barrier)
        if self.target_density is not None:
            schedules.validate_rate(self.target_density, "target_density")
        checks.optional(checks.not_negative, "tolerance", self.tolerance)

    def is_met(self, results: Sequence[RoundResult]) -> bool:
        """Returns whether the last of some results was the last round."""
        dense, last = results[0], results[-1]
        if last.round >= self.rounds:
            return True
        if last.metrics.get("barrier", 0.0) > self.max_barrier:
            return True
        if self.target_density and last.density <= self.target_density:
            return True
        name = self.monitor.name
        return self.tolerance is not None and self.monitor.worse_by(
            last.metrics[name], dense.metrics[name]
        ) > self.tolerance


def candidate(
    results: Sequence[RoundResult], monitor: Monitor
) -> RoundResult | None:
    """Returns the sparsest result that matches the dense round, or `None`.

    That is `verdicts.definitions.final`; a winner is a question of trials.
    """
    if not results:
        return None
    dense = results[0]
    reference = dense.metrics[monitor.name]
    level = definitions.Measured(0.0, dense.steps)
    found = [
        result
        for result in results[1:]
        if result.density < dense.density
        and definitions.final(level, definitions.Measured(
            -monitor.worse_by(result.metrics[monitor.name], reference),
            result.steps,
        ))
    ]
    return min(found, key=lambda result: result.density, default=None)


def shortest(value: float) -> float:
    """Returns a float32 as the float of the same digits.

    >>> shortest(float(np.float32(0.98))), shortest(1 / 3)
    (0.98, 0.3333333333333333)
    """
    with np.errstate(over="ignore"):
        single = np.float32(value)
    # NumPy would compare the two in float32.
    if value != float(single) or float(value).is_integer():
        return value
    return float(str(single))


def to_csv(results):
    """Returns results as the text of a CSV table, a row for each round."""
    metrics = sorted({name for result in results for name in result.metrics})
    keys = sorted({key for result in results for key in result.densities})
    return rows_to_csv([_row(result, metrics, keys) for result in results])


def rows_to_csv(rows, names=None):
    """Returns dicts as the text of a CSV table; `names` are its columns."""
    text = io.StringIO()
    if names is None:
        names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {
            name: shortest(value) if isinstance(value, float) else value
            for name, value in row.items()
        }
        for row in rows
    )
    return text.getvalue()


def _row(result, metrics, keys):
    row = {name: getattr(result, name) for name in _COLUMNS}
    # The logs say the density as well.
    others = {
        name: result.metrics.get(name) for name in metrics if name not in row
    }
    densities = {f"density/{key}": result.densities.get(key) for key in keys}
    return row | others | densities
