"""A plan of which units to keep: data, apart from any model."""

import dataclasses
import json
from typing import Any

import keras
import numpy as np

from tf_lottery import graph as graph_lib
from tf_lottery import internals
from tf_lottery import weights as weights_lib
from tf_lottery.layers import MeanSquareNormalization
from tf_lottery.structured import plan_fields
from tf_lottery.structured import slices

FORMAT_VERSION = 1
# What text of any content may raise.
_WRONG = (KeyError, TypeError, AttributeError, ValueError, RecursionError)


@dataclasses.dataclass(frozen=True)
class PlannedGroup:
    """Units that go together, and which of them are kept.

    Attributes:
        name: String, path of the first layer that makes the units.
        producers: List of strings, all layers that make them.
        members: List of `[weight key, axis, kind]`: the axes that are cut.
        size: Integer, the number of units before.
        kept: List of integers, positions of the kept units, ascending.
    """

    name: str
    producers: list[str]
    members: list[list]
    size: int
    kept: list[int]


@dataclasses.dataclass(frozen=True, repr=False)
class Plan:
    """Which units of a model are kept; made by `structured.plan`.

    A plan names weights by their keys, so it applies to every model of the
    same architecture: another seed, another checkpoint, another process.

    Attributes:
        groups: List of `PlannedGroup`.
        frozen: List of dicts with the path, role, number of units and reason
            of what cannot be removed.
        before: Dict of `"units"`, `"params"`, `"macs"`, `"bytes"` (parameters
            at four bytes each) of the model.
        after: The same once the plan is carried out.
        arguments: Dict, how the plan was made; `"rewritten"` lists the layer
            normalisations that `structured.centre` replaced.
    """

    groups: list[PlannedGroup]
    frozen: list[dict[str, Any]]
    before: dict[str, int]
    after: dict[str, int]
    arguments: dict[str, Any]

    def __repr__(self):
        # Errors show what was received.
        units = sum(group.size for group in self.groups)
        return f"<Plan: {self.removed} of {units} units removed>"

    def __str__(self):
        return self.report()

    @property
    def removed(self) -> int:
        """Integer, how many units the plan removes."""
        return sum(group.size - len(group.kept) for group in self.groups)

    def to_json(self, indent: int | None = None) -> str:
        """Returns the plan as a JSON string.

        Args:
            indent: See `json.dumps`. Defaults to `None`: one line.
        """
        fields = {"format": "tf_lottery.plan", "version": FORMAT_VERSION}
        fields |= dataclasses.asdict(self)
        return json.dumps(fields, indent=indent)

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Reads a plan that `to_json` wrote.

        Args:
            text: String.

        Every field is checked, except the model: `shrink` and `kept` check
        that the plan fits one.

        Raises:
            ValueError: If it is no plan, its fields do not fit together, or
                a newer tf_lottery wrote it.
        """
        try:
            fields = json.loads(text)
            kind, version = fields.pop("format"), fields.pop("version")
            if (kind, version) == ("tf_lottery.plan", FORMAT_VERSION):
                plan_fields.check(fields)
                groups = [PlannedGroup(**g) for g in fields.pop("groups")]
                return cls(groups=groups, **fields)
        except _WRONG as error:
            raise ValueError(
                f"The text is no plan of tf_lottery. Received: {text[:80]!r} "
                f"({error!r}). Expected what `Plan.to_json` returns."
            ) from None
        raise ValueError(
            "The text is no plan that this tf_lottery reads. Received: "
            f"format={kind!r}, version={version!r}. Expected: "
            f"'tf_lottery.plan', {FORMAT_VERSION}."
        )

    def kept(self, graph: graph_lib.Graph) -> np.ndarray:
        """Returns the classes of a graph that the plan keeps.

        Args:
            graph: `tf_lottery.graph.Graph` of a model of the architecture
                that the plan was made for.

        Returns:
            Boolean array over the ids of the graph.

        Raises:
            ValueError: If the model is of another architecture; the message
                lists the differences.
        """
        own = {group.name: group for group in self.groups}
        found = {g.name: g for g in graph.groups}
        wrong = []
        for name in sorted(own.keys() | found.keys()):
            planned, here = own.get(name), _of(graph, found.get(name))
            if planned is None or here is None or (
                (planned.size, planned.members) != (here.size, here.members)
            ):
                wrong.append(
                    f"  {name}: {_described(planned)} in the plan, "
                    f"{_described(here)} in the model"
                )
        if wrong:
            raise ValueError(
                f"The plan does not fit model '{graph.model.name}': it was "
                "made for another architecture. Differences:\n"
                + "\n".join(wrong[:20])
            )
        kept = np.ones(graph.size, bool)
        for name, group in own.items():
            kept[found[name].classes] = False
            kept[found[name].classes[np.array(group.kept, int)]] = True
        return kept

    def masks(self, model: keras.Model) -> dict[str, np.ndarray]:
        """Returns the masks under which a model is what `shrink` makes of it.

        All weights of a unit that goes are pruned: those that make it,
        normalise it and read it. Held by `tf_lottery.hold`, they let a model
        train on as if it were small already.

        Args:
            model: A built `keras.Model` of the plan's architecture.

        Returns:
            Dict from weight key to boolean array, `True` = kept; weights
            that stay whole are absent.

        Raises:
            ValueError: If the model is of another architecture.

        Example:

        >>> model = keras.Sequential([
        ...     keras.Input((1,)), keras.layers.Dense(2, name="fc"),
        ...     keras.layers.Dense(1, name="logits")])
        >>> masks = tfl.structured.plan(model, ratio=0.5).masks(model)
        >>> [(key, int(mask.sum())) for key, mask in sorted(masks.items())]
        [('fc/bias', 1), ('fc/kernel', 1), ('logits/kernel', 1)]
        """
        graph = graph_lib.trace(model)
        cut, masks = slices.Cut.of(graph, self.kept(graph)), {}
        for key, variable in variables_of(graph).items():
            if cut.cuts(key):
                masks[key] = np.zeros(tuple(variable.shape), bool)
                cut.put(key, masks[key], True)
        return masks

    def report(self) -> str:
        """Returns a table of groups, kept units, what is frozen, and costs.

        Returns:
            String of several lines.
        """
        lines = [f"{'group':<40} {'units':>6} {'kept':>6}  made by"]
        for group in self.groups:
            lines.append(
                f"{group.name:<40} {group.size:>6} {len(group.kept):>6}  "
                + ", ".join(group.producers)
            )
            lines += [
                f"    {key} axis {axis} ({kind})"
                for key, axis, kind in group.members
            ]
        if self.frozen:
            lines += ["", "not removable:"]
        for entry in self.frozen:
            role = "" if entry["role"] == "units" else f" ({entry['role']})"
            lines.append(
                f"  {entry['path']}{role}: {entry['units']} units: "
                f"{entry['reason']}"
            )
        if "rewritten" in self.arguments:
            names = ", ".join(self.arguments["rewritten"])
            lines += ["", f"normalisations without their mean: {names}"]
        return "\n".join([*lines, "", *self._costs()])

    def _costs(self):
        lines = []
        for what, before in self.before.items():
            after = self.after[what]
            share = f" ({after / before:.1%})" if before else ""
            lines.append(f"{what:<8}{before:>16,} -> {after:>14,}{share}")
        return lines


def plan_of(graph, kept, before, after, arguments, frozen=()):
    """Returns the `Plan` that keeps some classes of a graph.

    Arguments say how it was made; what is frozen adds to what the graph froze.
    """
    groups = []
    for group in graph.groups:
        positions = np.flatnonzero(kept[group.classes]).tolist()
        groups.append(dataclasses.replace(_of(graph, group), kept=positions))
    reasons = [dataclasses.asdict(entry) for entry in graph.frozen]
    rewritten = [
        path for path, layer in weights_lib.layers(graph.model).items()
        if isinstance(layer, MeanSquareNormalization)
    ]
    if rewritten:
        arguments = arguments | {"rewritten": rewritten}
    return Plan(groups, [*reasons, *frozen], before, after, arguments)


def _of(graph, group):
    """The `PlannedGroup` of a group of a graph, with all units kept."""
    if group is None:
        return None
    members = [
        [binding.key, int(binding.axis), binding.kind]
        for binding in bindings_of(graph, group)
    ]
    producers = list(dict.fromkeys(p.path for p in group.producers))
    size = len(group.classes)
    return PlannedGroup(
        group.name, producers, members, size, list(range(size))
    )


def variables_of(graph):
    """Returns the variables, by key, of units that can go and take a mask."""
    found, owners = {}, weights_lib.owners(graph.model)
    for binding in graph.bindings:
        variable, layer = owners[binding.key]
        is_state = internals.layers.is_state(layer, variable)
        if np.any(binding.ids) and not is_state:
            found[binding.key] = variable
    return found


def bindings_of(graph, group):
    """Returns the bindings of a graph that hold a class of a group."""
    own = np.zeros(graph.size, bool)
    own[group.classes] = True
    return [b for b in graph.bindings if own[b.ids].any()]


def _described(group):
    if group is None:
        return "absent"
    return f"{group.size} units in {len(group.members)} axes of weights"
