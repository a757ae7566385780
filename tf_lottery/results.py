"""What each round of a run came to."""

import csv
import dataclasses
import io
import math

import numpy as np

from tf_lottery.verdicts import definitions


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
    densities: dict
    metrics: dict
    steps: int
    early_stop_step: int | None
    seconds: float
    effective_density: float | None = None

    @property
    def sparsity(self):
        """Float, the fraction of prunable weights removed."""
        return 1.0 - self.density

    def to_dict(self):
        """Returns the record as a dict of plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values):
        """Makes a record of what `to_dict` returned."""
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class Monitor:
    """The metric by which rounds are compared.

    Args:
        name: String, a key of the logs.
        mode: `"max"`, `"min"`, or `"auto"`, which takes losses and errors as
            smaller is better and everything else as larger is better.
    """

    name: str
    mode: str = "auto"

    def __post_init__(self):
        if self.mode not in ("auto", "min", "max"):
            raise ValueError(
                "Argument `mode` must be 'auto', 'min' or 'max'. "
                f"Received: mode={self.mode!r}"
            )

    def worse_by(self, value, reference):
        """Returns how much worse a value is; negative where it is better."""
        if math.isnan(value):
            return math.inf
        return value - reference if self.smaller else reference - value

    @property
    def smaller(self):
        """Boolean, whether smaller is better."""
        if self.mode != "auto":
            return self.mode == "min"
        name = self.name.lower()
        return any(word in name for word in ("loss", "error", "mse", "mae"))

    def check(self, logs):
        """Raises a `ValueError` that lists the logs if the name is absent."""
        if self.name not in logs:
            raise ValueError(
                "Argument `monitor` must name one of the logs of the round's "
                f"last epoch. Received: monitor={self.name!r}. "
                f"Expected one of: {sorted(logs)}. Metrics are named in "
                "`model.compile(metrics=...)`; names with 'val_' need "
                "`validation_data` in `fit`."
            )


def candidate(results, monitor):
    """Returns the sparsest result that matches the dense round, or `None`.

    It ends with a metric no lower in at most as many steps, which is
    `verdicts.definitions.final`. Whether it is a winning ticket, one trial
    does not say.

    Args:
        results: List of `RoundResult`, round 0 first.
        monitor: `Monitor`.
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

    Keras measures in float32; as a Python float, its 0.98 would be written
    0.9800000190734863.

    Example:

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
    """Returns dicts as the text of a CSV table.

    Args:
        rows: Sequence of dicts.
        names: Columns, in order. Defaults to the keys as they come.
    """
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
    row = {
        "round": result.round,
        "density": result.density,
        "effective_density": result.effective_density,
        "steps": result.steps,
        "early_stop_step": result.early_stop_step,
        "seconds": result.seconds,
    }
    # The logs say the density as well.
    others = {
        name: result.metrics.get(name) for name in metrics if name not in row
    }
    densities = {f"density/{key}": result.densities.get(key) for key in keys}
    return row | others | densities
