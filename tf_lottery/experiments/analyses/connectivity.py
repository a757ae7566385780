"""Connectivity: the error between two trainings of a ticket."""

import itertools
import statistics

from tf_lottery.analysis import bands
from tf_lottery.analysis import connectivity as connectivity_lib
from tf_lottery.experiments.analyses import kind
from tf_lottery.experiments.analyses import trainings
from tf_lottery.report import charts

_PARTS = ("test", "train")
_SHOWN = 6


class Analysis(kind.Kind):
    """The error barriers of a run's tickets."""

    name = "connectivity"
    title = "Linear mode connectivity"
    summary = (
        "Two trainings of a ticket in different orders of the data, and the "
        "straight line between the weights that they come to. The barrier is "
        "the highest error on it less the mean of both ends; below 2 points "
        "the ticket is called stable. Statistics of batch normalisation are "
        "estimated anew at every point."
    )
    columns = [
        bands.Column(f"{what} barrier{unit}, {part}", f"{part}_{key}", scale)
        for what, key, unit, scale in (
            ("error", "barrier", " (points)", 100),
            ("loss", "loss_barrier", "", 1),
        )
        for part in _PARTS
    ] + [bands.Column("error % at the ends, test", "test_error", 100)]

    uses = ("points", "samples", "seed", "orders")
    samples, few = 10_000, True

    def trainings(self, item):
        return [
            trainings.Training(*item, order=order)
            for order in self.options.data_orders
        ]

    def measure(self, item):
        pairs = itertools.combinations(self.trainings(item), 2)
        return [self._barrier(item, *pair) for pair in pairs]

    def _barrier(self, item, one, other):
        found = connectivity_lib.linear_connectivity(
            self.subject.bench(item[0]).model,
            *map(self.session.trainings.weights, (one, other)),
            {part: self.first(part) for part in _PARTS},
            points=self.options.points,
        )
        row = {
            "orders": f"{one.order}-{other.order}",
            "line": list(found.errors["test"]), "stable": found.stable,
        }
        for part in _PARTS:
            ends = found.errors[part][0], found.errors[part][-1]
            row[f"{part}_error"] = statistics.fmean(ends)
            row[f"{part}_barrier"] = found.barriers[part]
            row[f"{part}_loss_barrier"] = found.loss_barriers[part]
        return row

    def charts(self):
        return {
            "": self.chart(
                "Error barrier (points)",
                *(bands.Column(part, f"{part}_barrier", 100)
                  for part in _PARTS),
                reference=("stable below", 100 * connectivity_lib.STABLE),
            ),
            "lines": self._lines(),
        }

    def _lines(self):
        """The error along the way in a few rounds, of each trial."""
        chosen = list(bands.by_round(self.rows))[:_SHOWN]
        return charts.lines(
            "Test error (%) on the line between two trainings",
            "fraction of the way",
            "test error (%)",
            [
                {
                    "series": f"round {row['round']}",
                    "trial": f"{row['trial']}.{row['orders']}",
                    "x": i / (self.options.points - 1),
                    "y": 100 * error,
                }
                for row in self.rows if row["round"] in chosen
                for i, error in enumerate(row["line"])
            ],
        )

    def notes(self):
        yield (
            f"Errors are of the first {self.settings['samples']:,} examples "
            "of each part, where it has as many, augmentation left out."
        )
        yield (
            f"{self.options.orders} data orders for each ticket, each with "
            "each; the paper (https://arxiv.org/abs/1912.05671) has three."
        )
