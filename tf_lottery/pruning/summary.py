"""A table of what is pruned in a model, and why the rest is not."""

import dataclasses
from typing import TYPE_CHECKING
from typing import Any

import keras
import numpy as np

from tf_lottery import constraints
from tf_lottery import paths
from tf_lottery import weights as weights_lib
from tf_lottery.utils import checks
from tf_lottery.utils import types

if TYPE_CHECKING:
    import rich.table


@dataclasses.dataclass(frozen=True)
class Row:
    """One weight in a summary.

    Attributes:
        key: String, the weight key.
        shape: Tuple of integers.
        kept: Integer, the number of weights that are kept.
        size: Integer, the number of weights.
        note: String, `"held"`, or why the weight is not pruned.
        live: Integer, the number of kept weights that lie on a path from an
            input to an output; `None` if not known, without a mask, or of a
            bias, which makes no path.
    """

    key: str
    shape: tuple[int, ...]
    kept: int
    size: int
    note: str
    live: int | None = None

    @property
    def density(self) -> float:
        """Float, the fraction that is kept."""
        return self.kept / self.size if self.size else 1.0

    @property
    def effective(self) -> float | None:
        """Float, the fraction that is kept and on a path, or `None`."""
        if self.live is None:
            return None
        return self.live / self.size if self.size else 1.0


@dataclasses.dataclass(frozen=True)
class Summary:
    """What is pruned in a model; print it, or render it with rich.

    Attributes:
        name: String, the model's name.
        rows: Tuple of `Row`, one for each weight.
        reason: String, why the effective density is not known; `""` if it
            is.
    """

    name: str
    rows: tuple[Row, ...]
    reason: str = ""

    @property
    def density(self) -> float:
        """Float, the fraction kept of the weights that hold a mask."""
        return self._fraction("kept")

    @property
    def effective(self) -> float | None:
        """Float, as `density`, of what is on a path; `None` if not known.

        See `tf_lottery.paths`.
        """
        return None if self.reason else self._fraction("live")

    def _fraction(self, count):
        held = [
            row for row in self.rows
            if row.note == "held" and getattr(row, count) is not None
        ]
        size = sum(row.size for row in held)
        return sum(getattr(row, count) for row in held) / size if size else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Returns the summary as plain values."""
        return {
            "name": self.name,
            "density": self.density,
            "effective": self.effective,
            "reason": self.reason,
            "rows": [
                {
                    **dataclasses.asdict(row),
                    "density": row.density,
                    "effective": row.effective,
                }
                for row in self.rows
            ],
        }

    def render(self) -> "rich.table.Table":
        """Returns a `rich.table.Table`."""
        import rich.box

        from tf_lottery.utils import tables

        table = tables.Table(
            "weight",
            numbers=("shape", "kept", "of", "density", "effective"),
            title=f"Pruning of '{self.name}'",
            box=rich.box.HEAVY_HEAD,
        )
        table.add_column("")
        for row in self.rows:
            table.add_row(
                row.key,
                "x".join(map(str, row.shape)),
                f"{row.kept:,}",
                f"{row.size:,}",
                f"{row.density:.1%}",
                "" if row.note != "held" else _percent(row.effective, 1),
                row.note,
            )
        table.caption = (
            f"density of the held weights: {self.density:.2%}, "
            f"on paths from input to output: {_percent(self.effective, 2)}"
            + (f"\n{self.reason}" if self.reason else "")
        )
        return table

    def __str__(self):
        from tf_lottery.utils import tables

        return tables.text(self.render())

    __repr__ = __str__


def summary(
    model: keras.Model,
    exclude: types.Names = (),
    include: types.Names = (),
    inputs: types.Arrays = None,
) -> Summary:
    """Returns a table of every weight: shape, density, and why not pruned.

    Beside the density stands the effective density, of the weights that lie
    on a path from an input to an output of the model (`tf_lottery.paths`).

    Args:
        model: A built `keras.Model`.
        exclude: Layer names or patterns that are left alone, named as the
            reason. Defaults to none.
        include: Embeddings and depthwise kernels that can be pruned.
            Defaults to none.
        inputs: Batch in the structure the model takes, to follow paths where
            the model leaves sizes open, see `tf_lottery.paths`. Defaults to
            `None`.

    Returns:
        A `Summary`.

    Raises:
        ValueError: If the model is not built or a pattern matches no layer.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((8,)), keras.layers.Dense(5, name="fc")])
    >>> model.compile("adam", "mse")
    >>> _ = tfl.prune(model, sparsity=0.75)
    >>> [(row.key, row.density, row.note)
    ...  for row in tfl.summary(model).rows]
    [('fc/kernel', 0.25, 'held'), ('fc/bias', 1.0, 'bias or vector')]
    """
    checks.data("inputs", inputs)
    weights = weights_lib.inspect(model, exclude, include)
    live, reason = {}, ""
    if any(constraints.keep_of(weight.variable) for weight in weights):
        try:
            live = paths.effective_masks(model, inputs=inputs)
        except ValueError as error:
            reason = str(error)
    rows = tuple(_row(weight, live.get(weight.key)) for weight in weights)
    return Summary(model.name, rows, reason)


def _row(weight, live):
    mask = constraints.mask_of(weight.variable)
    shape = tuple(weight.variable.shape)
    size = int(np.prod(shape))
    kept = size if mask is None else int(np.count_nonzero(mask))
    note = weight.reason or "not pruned yet"
    if mask is not None:
        note = "held"
    live = None if live is None else int(np.count_nonzero(live))
    return Row(weight.key, shape, kept, size, note, live)


def _percent(fraction, digits):
    return "n/a" if fraction is None else f"{fraction:.{digits}%}"
