"""The structure of a model: its channel units and what they bind."""

import collections
import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from tf_lottery.graph import parts


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """The channel units of a model and everything that must go with them.

    Attributes:
        model: The `keras.Model` that was traced.
        view: `tf_lottery.graph.functional.View` of it, to rebuild from.
        bindings: List of `Binding`, one per weight and axis.
        configs: List of `ConfigEdit`.
        corrections: List of `Scale`.
        producers: List of `Producer`.
        frozen: List of `Frozen`.
        cleared: Boolean array over ids, the classes that are removed exactly
            only where all that makes them is zero, too: a mean square counts
            them.
        size: Integer, ids are below it.
    """

    model: keras.Model
    view: object
    bindings: list[parts.Binding]
    configs: list[parts.ConfigEdit]
    corrections: list[parts.Scale]
    producers: list[parts.Producer]
    frozen: list[parts.Frozen]
    cleared: np.ndarray
    size: int

    @functools.cached_property
    def ids(self):
        """Integer array of the ids of all classes, sorted."""
        made = [producer.ids for producer in self.producers]
        found = np.unique(np.concatenate([np.zeros(1, int), *made]))
        return found[found != 0]

    @functools.cached_property
    def groups(self):
        """List of `Group`, in the order of the model."""
        owners = {}
        for index, producer in enumerate(self.producers):
            ids = dict.fromkeys(producer.ids[producer.ids != 0].tolist())
            # A dict keeps the order of the units.
            part = {"ids": {}, "producers": {}}
            touched = [owners[i] for i in ids if i in owners]
            for other in {id(p): p for p in touched}.values():
                part["ids"] |= other["ids"]
                part["producers"] |= other["producers"]
            part["ids"] |= ids
            part["producers"][index] = producer
            owners |= dict.fromkeys(part["ids"], part)
        found = list({id(p): p for p in owners.values()}.values())
        found.sort(key=lambda part: min(part["producers"]))
        return [_group(part) for part in found]

    @property
    def units(self) -> int:
        """Integer, how many classes there are."""
        return len(self.ids)

    def kept(self, removed: Iterable[int] = ()) -> np.ndarray:
        """Returns the boolean array over ids that keeps all but some.

        Args:
            removed: Iterable of class ids. Defaults to none.

        Returns:
            Boolean array of length `size`, `True` = kept.

        Raises:
            ValueError: If an id is not a class.
        """
        kept = np.ones(self.size, bool)
        removed = np.array(list(removed), int)
        unknown = removed[~np.isin(removed, self.ids)]
        if len(unknown):
            raise ValueError(
                "Only classes can be removed. Received ids: "
                f"{unknown[:5].tolist()}. Expected: those in `graph.ids`."
            )
        kept[removed] = False
        return kept

    def slices(
        self, kept: np.ndarray | dict[int, bool]
    ) -> dict[str, list[tuple[int, np.ndarray]]]:
        """Returns which slices of every weight are kept.

        Args:
            kept: Boolean array over ids, or dict from class id to boolean
                (classes that are absent are kept).

        Returns:
            Dict from weight key to list of `(axis, mask)`, the mask a boolean
            array along that axis; weights that stay whole are absent.
        """
        kept = self._checked(kept)
        slices = collections.defaultdict(list)
        for binding in self.bindings:
            mask = kept[binding.ids]
            if not mask.all():
                slices[binding.key].append((binding.axis, mask))
        return dict(slices)

    def edits(
        self, kept: np.ndarray | dict[int, bool]
    ) -> dict[Any, dict[tuple, Any]]:
        """Returns the configuration entries that change.

        Args:
            kept: See `slices`.

        Returns:
            Dict from layer or operation to dict from entry (a tuple, see
            `ConfigEdit`) to its new value, for
            `tf_lottery.graph.renewing.edited`.
        """
        kept = self._checked(kept)
        edits = collections.defaultdict(dict)
        for edit in self.configs:
            if not kept[edit.ids].all():
                edits[edit.operation][edit.entry] = edit.value(kept)
        return dict(edits)

    def scales(
        self, kept: np.ndarray | dict[int, bool]
    ) -> dict[str, float]:
        """Returns the factors that keep the model exact.

        Attention divides by the root of its key dimensions, so the query's
        kernel and bias are multiplied by `sqrt(kept / all)` of them. A mean
        square over fewer channels is larger, so the scale behind it is
        multiplied likewise, and its epsilon by `all / kept`.

        Args:
            kept: See `slices`.

        Returns:
            Dict from weight key to float, without those that are 1.
        """
        kept = self._checked(kept)
        factors = {s.key: s.factor(kept) for s in self.corrections}
        return {key: f for key, f in factors.items() if f != 1.0}

    @property
    def shifts(self) -> dict[str, float]:
        """Dict from weight key to `Scale.shift`."""
        return {s.key: s.shift for s in self.corrections}

    def _checked(self, kept: np.ndarray | dict[int, bool]) -> np.ndarray:
        if isinstance(kept, dict):
            return self.kept(i for i, keep in kept.items() if not keep)
        kept = np.asarray(kept)
        if kept.shape != (self.size,) or kept.dtype != bool or not kept[0]:
            raise ValueError(
                "Argument `kept` must be a dict from class id to boolean, or "
                f"a boolean array of length {self.size} with `kept[0]` true. "
                f"Received: {kept.dtype} of shape {kept.shape}"
            )
        return kept


def _group(part):
    producers = [found for _, found in sorted(part["producers"].items())]
    classes = np.array(list(part["ids"]))
    first = ([p for p in producers if p.role != "copies"] or producers)[0]
    role = "" if first.role == "units" else f":{first.role}"
    return parts.Group(first.path + role, classes, producers)
