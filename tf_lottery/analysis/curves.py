"""Curves: what tickets and their controls reach against density."""

import dataclasses
import math
import os
import statistics
from collections.abc import Iterable

from tf_lottery.analysis import bands
from tf_lottery.analysis import identity
from tf_lottery.analysis import run_files
from tf_lottery.report import charts
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types
from tf_lottery.verdicts import comparisons

TICKETS = "tickets"
_NO_METRICS = ("trial", "round", "density", "number", "seconds", "steps")
_EARLY = ("early_stop_step", "early_stop_test_accuracy")
_LABELS = {
    "test_accuracy": "test accuracy at the end (%)",
    "val_accuracy": "validation accuracy at the end (%)",
    "early_stop_test_accuracy": "test accuracy at early stop (%)",
    "early_stop_step": "early-stop step",
    "effective_density": "density on paths (%)",
}


@dataclasses.dataclass(frozen=True)
class Curve:
    """One metric of one series, a value for each round.

    Attributes:
        rounds: Tuple of integers.
        densities: Tuple of floats, the mean over the trainings of a round.
        means: Tuple of floats.
        lows: Tuple of floats, the least value of a round.
        highs: Tuple of floats, the greatest value of a round.
        counts: Tuple of integers, how many trainings a value is of.
    """

    rounds: tuple[int, ...]
    densities: tuple[float, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    counts: tuple[int, ...]

    def at(self, density: float, tolerance: float = 0.05) -> float | None:
        """Returns the mean at a density, `None` if no round comes near it.

        Args:
            density: Float.
            tolerance: Float, how far off the round may be, as a fraction of
                the density. Defaults to 0.05.
        """
        if not self.densities:
            return None
        index = min(
            range(len(self.densities)),
            key=lambda i: abs(self.densities[i] - density),
        )
        near = abs(self.densities[index] - density) <= tolerance * density
        return self.means[index] if near else None


@docs.filled
def curves(
    directories: types.Path | Iterable[types.Path]
) -> dict[str, dict[str, Curve]]:
    """Reads runs and puts what they reached against density.

    The trainings of a round, over all trials and directories, make one point
    with the mean and a band from the least to the greatest, as in the paper.
    The early-stop step is that of the smallest validation loss; a round has
    none where this is the last evaluation of any of its trainings. Tickets of
    shorter rounds that were not trained at full length are left out. A run, a
    copy of it, or a trial of the same seed, that is given twice counts once.

    Reference: Frankle and Carbin 2019, figures 3 and 4,
    https://arxiv.org/abs/1803.03635.

    Args:
        directories: Path of a run's directory, or a list of them; see
            `tf-lottery run` and `IterativeMagnitudePruning(directory=...)`.

    Returns:
        Dict from the name of a series, `"tickets"` or that of a control, to
        a dict from metric (`"test_accuracy"`, `"early_stop_step"`, ...) to
        `Curve`.

    Raises:
        FileNotFoundError: If a directory holds no results.
        ValueError: If files are damaged, or the directories followed
            different protocols.

    Example:

    {{run}}
    ...     found = curves(path)
    ...     directory.close()
    >>> found["tickets"]["accuracy"].means
    (0.75,)
    """
    if isinstance(directories, (str, os.PathLike)):
        directories = [directories]
    if not isinstance(directories, (list, tuple)) or not directories:
        checks.refuse("directories", directories, "a path, or a list of paths")
    return of_runs([run_files.read(path) for path in directories])


def of_runs(runs):
    """Returns `curves` of runs that were read."""
    return {name: _metrics(rows) for name, rows in _trainings(runs).items()}


def chart(runs, metric):
    """Returns all series of a metric as a Vega-Lite specification."""
    found = of_runs(runs)
    known = sorted({name for series in found.values() for name in series})
    if metric not in known:
        raise ValueError(
            f"There is no metric {metric!r} in these runs. "
            f"Expected one of: {known}"
        )
    dense = found[TICKETS].get(metric)
    return draw(
        metric, records(runs, metric),
        ("dense", scale_of(metric) * dense.means[0]) if dense else None,
    )


def records(runs, metric):
    """Returns a metric of all series as the records of lines."""
    return [
        record for name, rows in _trainings(runs).items()
        for record in bands.records(rows, bands.Column(
            comparisons.label(name), metric, scale_of(metric)
        ))
    ]


def draw(metric, records, reference=None):
    """Returns the records of a metric as a chart."""
    title = label(metric)
    return charts.lines(
        title[:1].upper() + title[1:], "density (%)", title, records,
        "density", reference,
    )


def label(metric):
    """Returns the title of a metric's axis."""
    return _LABELS.get(metric, metric.replace("_", " "))


def scale_of(metric):
    """Returns by what a metric is multiplied where people read it."""
    return 100 if metric.endswith(("accuracy", "density")) else 1


def column(metric, name, series=TICKETS):
    """Returns the `bands.Column` of a metric, of a control in `by_control`."""
    scale = scale_of(metric)
    form = "{:,.0f}" if scale == 1 else "{:.2f}"
    key = metric if series == TICKETS else f"{series}/{metric}"
    return bands.Column(name, key, scale, form)


def by_control(rows):
    """Returns rows of controls whose values have the control's name too."""
    return [
        {
            "round": row["round"],
            "density": row["density"],
            **{f"{row['control']}/{name}": row[name] for name in row},
        }
        for row in rows
    ]


def measured(rows):
    """Returns rows without the early stop of rounds where a training lacks one.
    """
    unknown = {
        (row.get("control"), row["round"]) for row in rows
        if row["early_stop_censored"]
    }
    return [
        row | {name: None for name in _EARLY if name in row}
        if (row.get("control"), row["round"]) in unknown else row
        for row in rows
    ]


def _trainings(runs):
    """The rows of each series, with a name of its own for every trial."""
    for run in runs:
        identity.check_alike(runs[0], run)
    rows = [
        {**row, "trial": f"{number}-{row['trial']}"}
        for number, run in enumerate(identity.distinct(runs, identity.of_seed))
        for row in (*run.whole_rows, *run.controls)
    ]
    series = {TICKETS: []}
    for row in measured(rows):
        series.setdefault(row.get("control", TICKETS), []).append(row)
    return series


def _metrics(rows):
    rounds = bands.by_round(rows)
    for number, found in rounds.items():
        _check_densities(number, [row["density"] for row in found])
    names = dict.fromkeys(name for row in rows for name in row)
    return {
        name: curve for name in names
        if name not in _NO_METRICS
        and (curve := _curve(rounds.items(), name)).rounds
    }


def _check_densities(number, densities):
    if not math.isclose(min(densities), max(densities), rel_tol=0.05):
        raise ValueError(
            f"Round {number} has different densities: the runs followed "
            "different protocols and make no common curve. Received: "
            f"densities from {min(densities):.4g} to {max(densities):.4g}"
        )


def _curve(rounds, name):
    points = []
    for number, rows in rounds:
        values = [
            row[name] for row in rows
            if isinstance(row.get(name), (int, float))
            and not isinstance(row[name], bool)
        ]
        if values:
            density = statistics.fmean(row["density"] for row in rows)
            points.append(
                (number, density, statistics.fmean(values), min(values),
                 max(values), len(values))
            )
    return Curve(*(zip(*points) if points else [()] * 6))
