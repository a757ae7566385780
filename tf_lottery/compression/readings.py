"""Readings: losses with one part of a model changed at a time."""

import dataclasses
import io
import json
import math
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal

import numpy as np

from tf_lottery.report import charts
from tf_lottery.search import allocation
from tf_lottery.utils import checks

if TYPE_CHECKING:
    import rich.table

KINDS = ("weights", "channels")
# Sparsities of a part that an allocation chooses from.
_LEVELS = 33
# In place of an infinite rise of the loss.
_MOST = 1e30


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a model reaches with one part of it pruned, or rounded.

    Attributes:
        kind: String, `"weights"` or `"channels"` that are pruned, or
            `"bits"` of weights that are rounded.
        name: String, the weight key, or the name of the group of channels as
            in `structured.Plan`.
        size: Integer, how many weights or channels there are.
        sparsity: Float, the fraction asked for.
        removed: Float, the fraction that is gone, of the bits where it is
            these.
        loss: Float, infinity where it is not finite.
        accuracy: Float, or `None` where the labels are no classes.
        bits: Integer, what weights are rounded to, or `None`.
    """

    kind: str
    name: str
    size: int
    sparsity: float
    removed: float
    loss: float
    accuracy: float | None
    bits: int | None = None


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """The loss against sparsity, width and bits of each part of a model.

    Print it, render it with rich, or draw it (`tfl.analysis.save_plot`).

    Attributes:
        name: String, the model's name.
        loss: Float, of the model as it is.
        accuracy: Float of the model as it is, or `None`.
        examples: Integer, how many examples these are of.
        readings: Tuple of `Reading`, in the order of the model.
        skipped: Dict from the name of what was not measured to the reason.
    """

    name: str
    loss: float
    accuracy: float | None
    examples: int
    readings: tuple[Reading, ...]
    skipped: dict[str, str]

    def largest(
        self,
        increase: float,
        kind: Literal["weights", "channels"] = "weights",
    ) -> dict[str, float]:
        """Returns how far each part can be pruned alone for a little loss.

        Args:
            increase: Float, by how much the loss may be higher.
            kind: String, `"weights"` or `"channels"`. Defaults to
                `"weights"`, whose result `tf_lottery.prune` takes as its
                `sparsity`.

        Returns:
            Dict from name to the largest sparsity that was measured up to
            which the loss is no higher; 0 where there is none.
        """
        checks.not_negative("increase", increase)
        checks.choice("kind", kind, KINDS)
        found = {}
        for name, readings in self._parts(kind).items():
            within = 0.0
            for reading in sorted(readings, key=lambda r: r.sparsity):
                if reading.loss > self.loss + increase:
                    break
                within = reading.sparsity
            found[name] = within
        return found

    def fewest_bits(self, increase: float) -> dict[str, int | None]:
        """Returns how few bits each weight alone takes for a little loss.

        Args:
            increase: Float, by how much the loss may be higher.

        Returns:
            Dict from weight key to the smallest width that was measured down
            to which the loss is no higher; `None` where there is none.
        """
        checks.not_negative("increase", increase)
        found = {}
        for name, readings in self._parts("bits").items():
            found[name] = None
            for reading in sorted(readings, key=lambda r: r.removed):
                if reading.loss > self.loss + increase:
                    break
                found[name] = reading.bits
        return found

    def allocate(
        self,
        sparsity: float,
        kind: Literal["weights", "channels"] = "weights",
    ) -> dict[str, float]:
        """Returns sparsities of all parts that add up to the least loss.

        What the loss rises by with one part pruned is taken to add up, and
        to lie on a line between the sparsities that were measured.

        Reference: SPDY, Frantar and Alistarh 2022, algorithm 1,
        https://arxiv.org/abs/2201.13096.

        Args:
            sparsity: Float in (0, 1), the fraction of all that is to go,
                weights or channels. No part goes further than was measured.
            kind: String. `"weights"` gives what `tf_lottery.prune` takes as
                its `sparsity`, `"channels"` what `structured.plan` takes as
                its `ratio`. Defaults to `"weights"`.

        Returns:
            Dict from name to sparsity.

        Raises:
            ValueError: If so much was not measured.

        Example:

        >>> from tf_lottery.compression import Reading
        >>> table = tfl.compression.Sensitivity("model", 1.0, None, 10, tuple(
        ...     Reading("weights", name, 100, 0.8, 0.8, loss, None)
        ...     for name, loss in (("fc", 1.1), ("out", 2.0))), {})
        >>> table.allocate(0.5)
        {'fc': 0.8, 'out': 0.2}
        """
        checks.number(
            "sparsity", sparsity, "a number in (0, 1)", lambda v: 0 < v < 1
        )
        checks.choice("kind", kind, KINDS)
        parts = {
            name: sorted(readings, key=lambda r: r.removed)
            for name, readings in self._parts(kind).items()
        }
        sizes = [readings[0].size for readings in parts.values()]
        most = sum(n * p[-1].removed for n, p in zip(sizes, parts.values()))
        if not sizes or most < sparsity * sum(sizes):
            checks.refuse(
                "sparsity", sparsity, "less than what was measured of all "
                f"{kind}, {most / max(sum(sizes), 1):.3g}"
            )
        grids, errors = [], []
        for readings in parts.values():
            grid = np.linspace(0, readings[-1].removed, _LEVELS)
            rises = np.maximum.accumulate([0, *(
                min(r.loss - self.loss, _MOST) for r in readings
            )])
            grids.append(grid)
            errors.append(np.interp(
                grid, [0, *(r.removed for r in readings)], rises
            ))
        levels = allocation.allocate(
            errors, [n * (1 - grid) for n, grid in zip(sizes, grids)],
            (1 - sparsity) * sum(sizes),
        )
        return {
            name: round(float(grid[level]), 6)
            for name, grid, level in zip(parts, grids, levels)
        }

    def to_json(self, indent: int | None = None) -> str:
        """Returns all of it as a JSON string; a loss of infinity is `null`.

        Args:
            indent: See `json.dumps`. Defaults to `None`: one line.
        """
        checks.optional(checks.whole, "indent", indent, 0)
        fields = dataclasses.asdict(self)
        for reading in fields["readings"]:
            if math.isinf(reading["loss"]):
                reading["loss"] = None
        return json.dumps(fields, indent=indent)

    def chart(self) -> dict[str, Any]:
        """Returns the losses as a Vega-Lite chart, a line for each part."""
        finite = [r for r in self.readings if math.isfinite(r.loss)]
        return charts.lines(
            "Sensitivity", "fraction removed", "loss",
            [
                {"series": r.name, "x": r.removed, "y": r.loss,
                 "choice": r.kind}
                for r in finite
            ],
            reference=("as it is", self.loss),
            choice=(
                "parts", [*KINDS, "bits"], finite[0].kind
            ) if finite else None,
        )

    def render(self) -> "rich.table.Table":
        """Returns a `rich.table.Table` of what the loss is higher by."""
        from tf_lottery.utils import tables

        asked = sorted({r.sparsity for r in self.readings if not r.bits})
        widths = sorted({r.bits for r in self.readings if r.bits})[::-1]
        table = tables.Table(
            "", numbers=(
                "of", *(f"{s:.0%}" for s in asked),
                *(f"{bits} bits" for bits in widths),
            ),
            title=f"Sensitivity of '{self.name}'",
        )
        rounded = self._parts("bits")
        for kind in KINDS:
            for name, readings in self._parts(kind).items():
                losses = {r.sparsity: r.loss for r in readings}
                if kind == "weights":
                    losses |= {r.bits: r.loss for r in rounded.get(name, ())}
                table.add_row(
                    name, f"{readings[0].size:,} {kind}", *(
                        f"{losses[s] - self.loss:+.4f}" if s in losses else ""
                        for s in (*asked, *widths)
                    ),
                )
        reached = "" if self.accuracy is None else (
            f", accuracy {self.accuracy:.2%}"
        )
        table.caption = (
            "What the loss is higher by with this fraction removed, or "
            "rounded to these bits. As it is: "
            f"loss {self.loss:.4f}{reached}, of {self.examples:,} examples."
        )
        return table

    def __str__(self):
        from rich import console

        text = io.StringIO()
        console.Console(file=text, width=100).print(self.render())
        return text.getvalue()

    __repr__ = __str__

    def _parts(self, kind):
        found = {}
        for reading in self.readings:
            if reading.kind == kind:
                found.setdefault(reading.name, []).append(reading)
        return found
