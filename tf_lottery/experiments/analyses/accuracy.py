"""Accuracy and early-stop step against density."""

import dataclasses
import functools

from tf_lottery.analysis import claims
from tf_lottery.analysis.curves import TICKETS
from tf_lottery.analysis.curves import by_control
from tf_lottery.analysis.curves import chart
from tf_lottery.analysis.curves import column
from tf_lottery.analysis.curves import measured
from tf_lottery.analysis.curves import of_runs
from tf_lottery.experiments.analyses import kind
from tf_lottery.verdicts import comparisons

_HEADS = {
    "test_accuracy": "test %",
    "early_stop_test_accuracy": "test % at early stop",
    "early_stop_step": "early-stop step",
}


class Analysis(kind.Kind):
    """The curves of a run."""

    name = "accuracy"
    title = "Accuracy and early stop"
    summary = (
        "What tickets and their controls reach: test accuracy at the end and "
        "at early stop, the step of the smallest validation loss. Means over "
        "trainings; in brackets, and as bands, the least and the greatest."
    )

    @functools.cached_property
    def run(self):
        """The run in the rounds chosen, and the dense one to compare with."""
        run, chosen = self.subject.run, {number for _, number in self.items}
        return dataclasses.replace(run, **{
            name: [
                row for row in getattr(run, name)
                if row["round"] in {0, *chosen}
            ]
            for name in ("rows", "controls")
        })

    @property
    def rows(self):
        return [
            {"series": row.get("control", TICKETS), **row}
            for row in [*self.run.rows, *self.run.controls]
        ]

    @property
    def shown(self):
        run = self.run
        return measured(run.rows) + by_control(measured(run.controls))

    @property
    def columns(self):
        found = of_runs([self.run])
        return [column(name, _HEADS[name]) for name in self._metrics()] + [
            column(metric, f"{comparisons.label(name)}: {_HEADS[metric]}",
                   name)
            for name in found if name != TICKETS
            for metric in ("test_accuracy", "early_stop_step")
            if metric in found[name]
        ]

    @property
    def compared(self):
        published = self.subject.published
        return published and claims.compare(published, of_runs([self.run]))

    def charts(self):
        return {
            name.replace("_", "-") if name != "test_accuracy" else "":
                chart([self.run], name)
            for name in self._metrics()
        }

    def _metrics(self):
        return [name for name in _HEADS if name in of_runs([self.run])[TICKETS]]
