"""Connectivity: the error between two trainings of a ticket."""

import statistics

from tf_lottery.analysis import bands
from tf_lottery.analysis import connectivity as connectivity_lib
from tf_lottery.experiments.analyses import kind as kind_lib
from tf_lottery.experiments.analyses import stability
from tf_lottery.experiments.analyses import trainings
from tf_lottery.report import charts

_SAMPLES = 10_000
_SHOWN = 6
_SUMMARY = (
    "Two trainings of a ticket in different orders of the data, and the "
    "straight line between the weights that they come to. The barrier is the "
    "highest error on it less the mean of both ends; below 2 points the "
    "ticket is called stable. Statistics of batch normalisation are estimated "
    "anew at every point."
)


def find(session):
    """Returns the error barriers of a run's tickets."""
    subject, options = session.subject, session.options
    settings = {
        "points": options.points,
        "samples": options.samples or _SAMPLES,
        "seed": options.seed,
    }

    def needs(item):
        return _pair(item, options.seed), 0.0

    def measure(item):
        return [_measured(session, item, settings)]

    default = [0, *stability.default_rounds(subject)]
    measured = session.measure(
        "connectivity", session.items(default), settings, needs, measure
    )
    rows = [
        {key: value for key, value in row.items() if key != "line"}
        for row in measured
    ]
    columns = [
        bands.Column(f"{what} barrier{unit}, {part}", f"{part}_{key}", scale)
        for what, key, unit, scale in (
            ("error", "barrier", " (points)", 100),
            ("loss", "loss_barrier", "", 1),
        )
        for part in ("test", "train")
    ]
    columns.append(
        bands.Column("error % at the ends, test", "test_error", 100)
    )
    return kind_lib.finding(
        session, KIND, _SUMMARY, rows, bands.table(rows, columns),
        {
            "": bands.chart(
                "Error barrier (points)", "error barrier (points)", rows,
                [bands.Column("test", "test_barrier", 100),
                 bands.Column("train", "train_barrier", 100)],
                reference=("stable below", 100 * connectivity_lib.STABLE),
            ),
            "lines": _lines(measured, options.points),
        },
        notes=[
            session.trained_again(),
            f"Errors are of the first {settings['samples']:,} examples of "
            "each part, where it has as many, augmentation left out.",
            "One pair of data orders for each ticket; the paper "
            "(https://arxiv.org/abs/1912.05671) has three of three.",
        ],
        settings=settings,
    )


def _pair(item, seed):
    return [
        trainings.Training(*item, order=order) for order in (0, 1 + seed)
    ]


def _measured(session, item, settings):
    a, b = map(session.trainings.weights, _pair(item, settings["seed"]))
    data, number = session.subject.data, settings["samples"]
    model = session.subject.bench(item[0]).model
    found = connectivity_lib.linear_connectivity(
        model, a, b,
        {
            "test": (data.x_test[:number], data.y_test[:number]),
            "train": (data.x_train[:number], data.y_train[:number]),
        },
        points=settings["points"],
    )
    row = {
        "trial": item[0],
        "round": item[1],
        "density": session.subject.density(*item),
        "line": list(found.errors["test"]),
        "stable": found.stable,
    }
    for part in ("test", "train"):
        ends = found.errors[part][0], found.errors[part][-1]
        row[f"{part}_error"] = statistics.fmean(ends)
        row[f"{part}_barrier"] = found.barriers[part]
        row[f"{part}_loss_barrier"] = found.loss_barriers[part]
    return row


def _lines(rows, points):
    """The error along the way in a few rounds, of each trial."""
    chosen = list(bands.by_round(rows))[:_SHOWN]
    return charts.lines(
        "Test error (%) on the line between two trainings",
        "fraction of the way",
        "test error (%)",
        [
            {
                "series": f"round {row['round']}",
                "trial": str(row["trial"]),
                "x": i / (points - 1),
                "y": 100 * error,
            }
            for row in rows if row["round"] in chosen
            for i, error in enumerate(row["line"])
        ],
    )


KIND = kind_lib.Kind(
    "connectivity",
    "Linear mode connectivity",
    find,
)
