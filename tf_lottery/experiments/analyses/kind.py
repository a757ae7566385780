"""Kind: how an analysis measures the tickets of a run and shows them."""

import functools
import importlib
from collections.abc import Sequence

from tf_lottery.analysis import bands
from tf_lottery.analysis import caveats
from tf_lottery.analysis import findings
from tf_lottery.experiments.analyses import trainings
from tf_lottery.report import charts

LAYERS = 7


class Kind:
    """One kind of analysis of one run.

    The module of a kind has its name and its subclass, `Analysis`. Measured
    are rounds from `least` on; where that takes long, only a `few` if none are
    chosen, and so many `samples` of each part of the data. The measurements
    depend on the options that it `uses`.
    """

    name = title = summary = ""
    least = 0
    uses: tuple[str, ...] = ()
    samples: int | None = None
    few = False
    columns: Sequence[bands.Column] = ()
    compared: Sequence[dict] = ()

    def __init__(self, session):
        self.session, self.options = session, session.options
        self.subject = session.subject

    def find(self):
        rows = [
            {name: v for name, v in row.items() if not isinstance(v, list)}
            for row in self.rows
        ]
        return findings.Finding(
            self.name, self.title, self.summary, rows,
            *bands.table(self.shown, list(self.columns)), self.charts(),
            list(self.compared), [note for note in self._notes() if note],
            self.settings,
        )

    @property
    def rounds(self):
        """List of the rounds that are measured if none are chosen."""
        subject = self.subject
        if self.few:
            return [0, *subject.chosen_rounds][self.least:]
        return subject.rounds[self.least:]

    @functools.cached_property
    def settings(self):
        """Dict of plain values that the measurements depend on."""
        found = {name: getattr(self.options, name) for name in self.uses}
        if "samples" in found:
            found["samples"] = found["samples"] or self.samples
        return found

    @functools.cached_property
    def items(self):
        return self.session.items(self.rounds, self.least)

    @functools.cached_property
    def rows(self):
        """List of dicts, every measurement; their lists are for charts."""
        return self.session.measure(self)

    @property
    def shown(self):
        """List of dicts, the rows of the table and of charts."""
        return self.rows

    def trainings(self, item):
        """Returns the `trainings.Training`s that an item is measured on."""
        return [trainings.Training(*item)]

    def seconds(self):
        """Returns the time that an item takes besides its trainings."""
        return 0.0

    def about(self, item):
        """Returns the columns that every row of an item begins with."""
        trial, number = item
        return {
            "trial": trial, "round": number,
            "density": self.subject.density(*item),
        }

    def measure(self, item):
        """Measures one pair of trial and round; returns a list of dicts."""
        raise NotImplementedError

    def charts(self):
        """Returns a dict from name to chart; the first name is `""`."""
        raise NotImplementedError

    def notes(self):
        """Returns sentences to know before believing it; some may be empty."""
        return []

    def chart(self, title, *columns, rows=None, label=None, reference=None):
        """Returns columns of `rows`, or of those shown, against density."""
        rows = self.shown if rows is None else rows
        return charts.lines(
            title, "density (%)", label or title,
            [r for column in columns for r in bands.records(rows, column)],
            "density", reference,
        )

    def first(self, part):
        """Returns the first examples of a part of the data as `(x, y)`."""
        data, number = self.subject.data, self.settings["samples"]
        return tuple(getattr(data, f"{a}_{part}")[:number] for a in "xy")

    def _notes(self):
        yield self.session.trained_again()
        yield from self.notes()
        subject = self.subject
        ends = {trial: r[-1].round for trial, r in subject.results.items()}
        yield from caveats.of_protocol(
            subject.run.config, ends, subject.published
        )
        if self.session.left_out:
            rounds = ", ".join(map(str, self.session.left_out))
            yield (
                f"Rounds {rounds} are left out: the budget of "
                f"{self.options.budget} has no time for them."
            )


def get(name):
    """Returns the subclass of `Kind` of a name."""
    return importlib.import_module(f"{__package__}.{name}").Analysis


def layers(rows):
    """Returns the names of the layers that rows are of, without `"all"`."""
    return [
        name for name in dict.fromkeys(row["layer"] for row in rows)
        if name != "all"
    ]


def layer_columns(rows, scale=1):
    """Returns a `bands.Column` of each layer, of as many as a chart shows."""
    return [bands.Column(key, key, scale) for key in layers(rows)[:LAYERS]]
