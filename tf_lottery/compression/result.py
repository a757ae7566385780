"""Result of `compress`: what was chosen, from what, and why."""

import dataclasses
import io
import json
from typing import Any

import keras

from tf_lottery import files
from tf_lottery.compression.candidates import Candidate
from tf_lottery.export import metrics
from tf_lottery.report import charts
from tf_lottery.report import notebook
from tf_lottery.report import pages
from tf_lottery.report import tables
from tf_lottery.utils import types
from tf_lottery.verdicts import significance

_BLOCKING = 5


@dataclasses.dataclass(eq=False, repr=False)
class CompressionResult:
    """The file that `compress` chose, and those it chose from.

    Print it, or write its `report`.

    Attributes:
        model: The `keras.Model` of the file chosen, before it was quantised;
            the masks of pruned weights are held if it is compiled, while
            those that were rounded leave their few values if it is trained.
        name: String, the name of the model compressed.
        cost: What counts for the target, with `name` and `text(value)`.
        metric_name: String.
        reference: Float, the metric of the model as it was.
        examples: Integer, of the validation data.
        max_drop: Float, or `None` with a budget.
        budget: Float, or `None` with a `max_drop`.
        number: Integer, of the candidate chosen.
        candidates: Tuple of `Candidate`, the largest first; number 0 is the
            model as it was.
        failed: Dict from the number of a candidate whose file failed its
            checks, and was left out, to how.
        skipped: Dict from the name of what was left alone to the reason.
        rest: Float, what a file costs besides what can be pruned.
        least: Dict from weight key to what it costs at least.
        groups: Tuple of strings, the groups of channels.
        place: The directory, with `path`.
    """

    model: keras.Model
    name: str
    cost: Any
    metric_name: str
    reference: float
    examples: int
    max_drop: float | None
    budget: float | None
    number: int
    candidates: tuple[Candidate, ...]
    failed: dict[int, str]
    skipped: dict[str, str]
    rest: float
    least: dict[str, float]
    groups: tuple[str, ...]
    place: Any

    @property
    def chosen(self) -> Candidate:
        """The `Candidate` chosen."""
        return next(c for c in self.candidates if c.number == self.number)

    @property
    def file(self) -> str:
        """String, the path of the file chosen."""
        return self.chosen.file

    @property
    def met(self) -> bool:
        """Boolean, whether it is within what was asked for."""
        return self._fits(self.chosen)

    def pareto(self) -> list[Candidate]:
        """Returns the candidates that no other is better than, both ways."""
        return [
            c for c in self.candidates if not any(
                (o.cost, o.drop) != (c.cost, c.drop)
                and o.cost <= c.cost and o.drop <= c.drop
                for o in self.candidates
            )
        ]

    def decisions(self) -> list[str]:
        """Returns a sentence for each part: what became of it, and why."""
        return [
            f"{name}: {what}" for name, what in (
                *self._removed(),
                *((name, self._whole) for name in self.whole),
                *self._left_alone(),
            )
        ]

    @property
    def whole(self) -> list[str]:
        """List of strings, the parts that nothing is removed of."""
        return [
            name for name, share in self.chosen.removed.items()
            if not share and name not in self.chosen.bits
        ]

    def caveats(self) -> list[str]:
        """Returns what to know before it is believed, a sentence each."""
        found = []
        if not self.met:
            found.append(self._blocked())
        between = [
            c for c in self.candidates
            if c.cost > self.chosen.cost and not self._fits(c)
        ]
        if self.max_drop is not None and self.met and between:
            found.append(
                f"Metric '{self.metric_name}' is not monotone: "
                f"{len(between)} larger files lose more than the one chosen. "
                "Its lead may be chance; more validation examples would tell."
            )
        needed = self.examples_needed
        if needed and needed > self.examples:
            found.append(
                f"{self.examples:,} validation examples cannot show a drop of "
                f"{self.max_drop}: at {self._value(self.reference)} that takes "
                f"{needed:,} (one-sided, 5 %)."
            )
        return found + [
            f"File {number} failed its checks and was left out: {why}."
            for number, why in sorted(self.failed.items())
        ]

    @property
    def examples_needed(self) -> int | None:
        """Integer, of how many examples on `max_drop` can be shown."""
        if self.max_drop and self.metric_name == "accuracy":
            return significance.images_needed(self.reference, self.max_drop)
        return None

    def sentence(self) -> str:
        """Returns what was reached, in words."""
        chosen, whole = self.chosen, self.candidates[0]
        text = (
            f"{self.cost.text(whole.cost)} -> {self.cost.text(chosen.cost)} "
            f"({whole.cost / max(chosen.cost, 1e-30):.2f}x), "
            f"{self.metric_name} {self._value(self.reference)} -> "
            f"{self._value(chosen.metric)}{self._interval(chosen)}, "
            f"where {self._asked()}. Chosen among {len(self.candidates)} "
            f"files on the {self.examples:,} validation examples themselves; "
            "measure it on others."
        )
        smaller = [c for c in self.pareto() if c.cost < chosen.cost]
        if smaller:
            best = max(smaller, key=lambda c: c.cost)
            text += (
                f" The next smaller one takes {self.cost.text(best.cost)} at "
                f"{self._value(best.metric)}."
            )
        return text

    def to_json(self, indent: int | None = None) -> str:
        """Returns all but the model as a JSON string.

        Args:
            indent: See `json.dumps`. Defaults to `None`: one line.
        """
        found = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("model", "cost", "place", "candidates")
        }
        return json.dumps(found | {
            "cost": self.cost.name, "target": self.cost.target.name,
            "met": self.met, "file": self.file, "sentence": self.sentence(),
            "caveats": self.caveats(), "decisions": self.decisions(),
            "pareto": [c.number for c in self.pareto()],
            "candidates": [dataclasses.asdict(c) for c in self.candidates],
        }, indent=indent)

    def report(self, path: types.Path) -> None:
        """Writes a self-contained HTML page.

        Args:
            path: Path of the page.

        Raises:
            ImportError: If the extra `plot` is not installed.
            OSError: If it cannot be written.
        """
        files.write_text(path, pages.render(
            "compress.html", result=self, charts=[self.chart()],
            table=self._table(),
            parts=tables.Table(
                ["part", "what became of it"],
                [*self._removed(), *self._left_alone()], (0, 1),
            ),
        ))

    def chart(self) -> dict[str, Any]:
        """Returns metric against cost as a Vega-Lite chart."""
        return charts.lines(
            f"{self.metric_name} against {self.cost.name}", self.cost.name,
            self.metric_name,
            [
                {"series": series, "x": c.cost, "y": c.metric}
                for series, found in (
                    ("files", self.candidates), ("chosen", [self.chosen])
                )
                for c in found
            ],
            reference=("as it was", self.reference),
        )

    def render(self) -> Any:
        """Returns a `rich` group: the candidates, and what was reached."""
        import rich.console

        from tf_lottery.utils import tables as printed

        table, shown = self._table(), printed.Table(
            title=f"Compression of '{self.name}'"
        )
        for index, head in enumerate(table.heads):
            shown.add_column(head, justify="right" if index else "left")
        for index, row in enumerate(table.rows):
            shown.add_row(
                *row, style="bold" if index in table.marked else None
            )
        return rich.console.Group(
            shown, self.sentence(), *self.caveats(), self.file
        )

    def __str__(self):
        import rich.console

        text = io.StringIO()
        rich.console.Console(file=text, width=100).print(self.render())
        return text.getvalue()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return notebook.show(
            f"Compression of '{self.name}'", self._table(),
            "\n".join([self.sentence(), *self.caveats()]),
        )

    def _removed(self):
        bits = self.chosen.bits
        return [
            [name, ", ".join([f"{share:.1%} of its "
             f"{'channels' if name in self.groups else 'weights'} removed"]
             * bool(share) + [f"{bits.get(name)} bits"] * (name in bits))]
            for name, share in self.chosen.removed.items()
            if share or name in bits
        ]

    @property
    def _whole(self):
        return "whole" + (
            ", for elsewhere the same saving changes the outputs less"
        ) * bool(self.number)

    def _left_alone(self):
        return [
            [name, f"left alone, {why}"] for name, why in self.skipped.items()
        ]

    def _asked(self):
        if self.budget is None:
            return f"{self.max_drop:g} may be lost"
        return f"it may take {self.cost.text(self.budget)}"

    def _fits(self, candidate):
        if self.budget is not None:
            return candidate.cost <= self.budget
        return candidate.drop <= self.max_drop

    def _blocked(self):
        if self.budget is None:
            whole = self.candidates[0]
            why = "" if whole.drop <= self.max_drop else (
                f" The data type alone loses {whole.drop:.4g}: choose "
                "another `quantize`."
            )
            return (
                f"No file is within a drop of {self.max_drop}. The nearest "
                f"one loses {self.chosen.drop:.4g}.{why}"
            )
        most = sorted(self.least.items(), key=lambda item: -item[1])
        parts = [f"{key} {self._number(n)}" for key, n in most[:_BLOCKING]]
        # Around fewer channels there is less of it than in the whole file.
        rest = min(self.rest, self.chosen.cost - sum(self.least.values()))
        return (
            f"The budget of {self.cost.text(self.budget)} is not met. The "
            f"nearest file takes {self.cost.text(self.chosen.cost)}."
            + (f" In its way, by the tables: {self._number(max(rest, 0))} "
               "that no pruning touches, and at least "
               f"{', '.join(parts)}.") * bool(parts)
        )

    def _table(self):
        heads = [
            "file", self.cost.name, self.metric_name, "95 % interval",
            "weights", "bytes", "gzip", "MACs", "ms", "cycles", "",
        ]
        best = self.pareto()
        rows = [
            [
                str(c.number), self._number(c.cost),
                self._value(c.metric), self._interval(c).strip(" ()"),
                f"{c.weights:,}", f"{c.nbytes:,}", f"{c.compressed:,}",
                f"{c.macs:,}",
                "" if c.latency_ms is None else f"{c.latency_ms:.3f}",
                "" if c.cycles is None else f"{c.cycles:,}",
                "chosen" if c is self.chosen else
                "" if c in best else "dominated",
            ]
            for c in self.candidates
        ]
        columns = list(zip(*rows))
        shown = [
            i for i, column in enumerate(columns)
            if any(column) and column not in columns[1:i]
        ]
        return tables.Table(
            [heads[i] for i in shown],
            [[row[i] for i in shown] for row in rows], (0, len(shown) - 1),
            marked=tuple(
                i for i, c in enumerate(self.candidates) if c is self.chosen
            ),
        )

    def _number(self, cost):
        return f"{cost:.4g}" if self.cost.is_timed else f"{cost:,.0f}"

    def _value(self, value):
        return metrics.text(self.metric_name, value)

    def _interval(self, candidate):
        if candidate.low is None:
            return ""
        low, high = map(self._value, (candidate.low, candidate.high))
        return f" ({low} to {high})"
