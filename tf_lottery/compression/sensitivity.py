"""Sensitivity: the loss of a model with one part of it pruned at a time."""

import contextlib
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal

import keras
import numpy as np
from keras import ops

from tf_lottery import criteria
from tf_lottery import structured
from tf_lottery import weights as weights_lib
from tf_lottery.analysis import evaluating
from tf_lottery.copies import making
from tf_lottery.graph import tracing
from tf_lottery.patterns import Pattern
from tf_lottery.pruning import allocation
from tf_lottery.pruning import prunable
from tf_lottery.pruning import rules
from tf_lottery.report import charts
from tf_lottery.structured import randomising
from tf_lottery.utils import checks
from tf_lottery.utils import docs
from tf_lottery.utils import types

if TYPE_CHECKING:
    import rich.table

KINDS = ("weights", "channels")


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a model reaches with one part of it pruned to one sparsity.

    Attributes:
        kind: String, `"weights"` or `"channels"`.
        name: String, the weight key, or the name of the group of channels as
            in `structured.Plan`.
        size: Integer, how many weights or channels there are.
        sparsity: Float, the fraction asked for.
        removed: Float, the fraction that is gone.
        loss: Float, infinity where it is not finite.
        accuracy: Float, or `None` where the labels are no classes.
    """

    kind: str
    name: str
    size: int
    sparsity: float
    removed: float
    loss: float
    accuracy: float | None


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """The loss against the sparsity of every weight and group of channels.

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
            choice=("parts", list(KINDS), finite[0].kind) if finite else None,
        )

    def render(self) -> "rich.table.Table":
        """Returns a `rich.table.Table` of what the loss is higher by."""
        from tf_lottery.utils import tables

        asked = sorted({r.sparsity for r in self.readings})
        table = tables.Table(
            "", numbers=("of", *(f"{s:.0%}" for s in asked)),
            title=f"Sensitivity of '{self.name}'",
        )
        for kind in KINDS:
            for name, readings in self._parts(kind).items():
                losses = {r.sparsity: r.loss for r in readings}
                table.add_row(
                    name, f"{readings[0].size:,} {kind}",
                    *(f"{losses[s] - self.loss:+.4f}" for s in asked),
                )
        reached = "" if self.accuracy is None else (
            f", accuracy {self.accuracy:.2%}"
        )
        table.caption = (
            "What the loss is higher by with this fraction removed. As it is: "
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


@docs.filled
def sensitivity(
    model: keras.Model,
    data: types.Data,
    sparsities: Sequence[float] = (0.25, 0.5, 0.75, 0.9),
    criterion: criteria.Identifier = "magnitude",
    pattern: str | Pattern = "unstructured",
    channels: bool = True,
    loss: types.Loss | None = None,
    exclude: types.Names = (),
    include: types.Names = (),
    batch_size: int = 512,
) -> Sensitivity:
    """Measures what each part of a model costs to prune, all else as it is.

    Every weight is pruned by itself to every sparsity, and every group of
    channels, without training, and the loss is measured. That takes one
    evaluation each: use as many examples as the accuracy asked for needs. A
    group of channels is removed by zeroing what reads it, which computes the
    same as `structured.shrink`.

    Parts that are pruned together may cost more, or less, than their sum.

    Reference: Li et al. 2017, section 3.2, https://arxiv.org/abs/1608.08710;
    Han et al. 2015, section 4.1, https://arxiv.org/abs/1506.02626.

    Args:
        model: A built `keras.Model`. It is left as it was.
        data: Arrays `(x, y)`, a batched `tf.data.Dataset` or a
            `keras.utils.PyDataset`, to measure the loss on, and for criteria
            that look at data.
        sparsities: List of floats in (0, 1). Defaults to 0.25, 0.5, 0.75 and
            0.9.
        criterion: See `tf_lottery.criteria.get`. One that moves the weights
            that stay, such as `"obc"`, moves them here. Defaults to
            `"magnitude"`.
        pattern: What of a weight is kept or removed together, see
            `tf_lottery.prune`. No more is removed than it allows, such as
            half by `"2:4"`. Defaults to `"unstructured"`.
        channels: Boolean, whether groups of channels are measured too.
            Defaults to `True`.
        loss: Loss function or its name. Defaults to `None`: the one the
            model was compiled with.
        {{layers}}
        batch_size: Integer, for data that are arrays. Defaults to 512.

    Returns:
        A `tf_lottery.compression.Sensitivity`.

    Raises:
        ValueError: If an argument is invalid, there is nothing to prune,
            the model's channels cannot be traced, or its loss is not finite.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((2,)), keras.layers.Dense(2, name="fc"),
    ...     keras.layers.Dense(1, name="out")])
    >>> model.set_weights([np.eye(2), np.zeros(2),
    ...                    np.array([[2.0], [1.0]]), np.zeros(1)])
    >>> x, y = np.array([[1.0, 1.0]]), np.array([[3.0]])
    >>> found = tfl.sensitivity(model, (x, y), [0.5], loss="mse")
    >>> [(r.name, r.loss) for r in found.readings]
    [('fc/kernel', 0.0), ('out/kernel', 1.0), ('fc', 1.0)]
    >>> found.largest(increase=0.1)
    {'fc/kernel': 0.5, 'out/kernel': 0.0}
    """
    sparsities = _checked(sparsities)
    checks.data("data", data)
    checks.flag("channels", channels)
    evaluate = evaluating.Evaluator(model, loss, batch_size, "sensitivity")
    dense = evaluate(data)
    if dense.loss is None or not math.isfinite(dense.loss):
        raise ValueError(
            "Sensitivity needs a loss, and a finite one. Received: loss "
            f"{dense.loss} of model '{model.name}'. Compile the model, or "
            "pass `loss=`; check its weights and the data for NaN."
        )
    weights = prunable.Prunable(
        model, rules.Rule("layer", pattern, "keep-one", exclude, include)
    )
    rule = criteria.get(criterion)
    skipped = {w.key: w.reason for w in weights.weights if w.reason}
    parts = [_weights(weights, sparsities, rule, data, loss)]
    if channels:
        graph = tracing.trace(model)
        skipped |= {f.path: f.reason for f in graph.frozen}
        parts.append(_channels(graph, sparsities, rule, data, loss, exclude))
    readings = []
    for part in parts:
        for kind, name, sparsity, kept, change in part:
            with change:
                now = evaluate(data)
            finite = math.isfinite(now.loss)
            readings.append(Reading(
                kind, name, kept.size, sparsity,
                1 - np.count_nonzero(kept) / kept.size,
                now.loss if finite else math.inf, now.accuracy,
            ))
    return Sensitivity(
        model.name, dense.loss, dense.accuracy, dense.examples,
        tuple(readings), skipped,
    )


def _checked(sparsities):
    if not isinstance(sparsities, (list, tuple)) or not sparsities:
        checks.refuse("sparsities", sparsities, "a list of floats in (0, 1)")
    for sparsity in sparsities:
        checks.number(
            "sparsities", sparsity, "numbers in (0, 1)", lambda v: 0 < v < 1
        )
    return sorted({float(sparsity) for sparsity in sparsities})


def _weights(weights, sparsities, rule, data, loss):
    """Yields kind, name, sparsity, mask and a context with it pruned."""
    before = weights.masks()
    context = criteria.make_context(data, loss, None, before)
    scores = rule(weights.model, weights.variables, context)
    for key, variable in weights.variables.items():
        for sparsity in sparsities:
            _, keep = weights.allocate(
                {key: sparsity}, before, allocation.at_most
            )
            masks = weights.select_feasible(scores, keep, before, [[key]])
            values = rule.update(
                weights.model, {key: variable}, {key: masks[key]},
                dataclasses.replace(context, masks={key: before[key]}),
            )
            value = values.get(key, ops.convert_to_numpy(variable))
            yield "weights", key, sparsity, masks[key], _changed(
                [variable], variable.assign, np.where(masks[key], value, 0)
            )


def _channels(graph, sparsities, rule, data, loss, exclude):
    """Yields the same of each group of channels."""
    plans = {
        sparsity: structured.plan(
            graph.model, ratio=sparsity, criterion=rule, exclude=exclude,
            data=data, loss=loss,
        ).kept(graph)
        for sparsity in sparsities
    }
    variables = weights_lib.variables(graph.model)
    twin = making.Twin(graph.model, variables, {})
    for group in graph.groups:
        for sparsity, plan in plans.items():
            kept = np.ones(graph.size, bool)
            kept[group.classes] = plan[group.classes]
            yield "channels", group.name, sparsity, kept[group.classes], (
                _changed(variables.values(), randomising.zero_readers,
                         twin, graph, kept)
            )


@contextlib.contextmanager
def _changed(variables, change, *arguments):
    """A context in which a change of variables lasts."""
    before = [(v, ops.convert_to_numpy(v).copy()) for v in variables]
    try:
        change(*arguments)
        yield
    finally:
        for variable, value in before:
            variable.assign(value)
