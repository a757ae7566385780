"""The base class of patterns, and the one that keeps nothing together."""

import abc
import dataclasses
from collections.abc import Iterable
from collections.abc import Mapping

import numpy as np

from tf_lottery.patterns import layouts as layouts_lib
from tf_lottery.patterns import selection


class Pattern(abc.ABC):
    """Base of all patterns.

    Attributes:
        name: String, what kind of pattern it is.
        forms: Tuple of strings, how it can be written.
    """

    name: str
    forms: tuple[str, ...]

    @property
    @abc.abstractmethod
    def spec(self) -> str:
        """The string that `get_pattern()` makes an equal pattern of."""

    @classmethod
    @abc.abstractmethod
    def parse(cls, spec: str) -> "Pattern | None":
        """Returns the pattern a string means; `None` if of another kind."""

    def select(
        self,
        scores: Mapping[str, np.ndarray],
        masks: Mapping[str, np.ndarray],
        keep: int,
        allow_collapse: bool = False,
        layouts: Mapping[str, layouts_lib.Layout] | None = None,
    ) -> dict[str, np.ndarray]:
        """Keeps the best `keep` survivors, as near as the pattern allows.

        Args:
            scores: Dict of key to finite array, ranked together.
            masks: Dict of key to boolean array, same keys and shapes.
            keep: Integer, number of weights to keep.
            allow_collapse: Boolean, whether a key may lose all its weights.
                Defaults to `False`.
            layouts: Dict of key to `tf_lottery.masks.Layout`. Defaults to
                `None`: see `tf_lottery.patterns.layouts.default`.

        Returns:
            Dict of new boolean arrays, subsets of `masks`.

        Raises:
            ValueError: If that few cannot be kept.
        """
        return self._select(scores, masks, keep, allow_collapse, layouts)

    def fewest(
        self,
        scores: Mapping[str, np.ndarray],
        masks: Mapping[str, np.ndarray],
        layouts: Mapping[str, layouts_lib.Layout] | None = None,
        allow_collapse: bool = False,
    ) -> int:
        """Returns the least `keep` that `select()` takes.

        Args:
            scores: See `select`.
            masks: See `select`.
            layouts: See `select`.
            allow_collapse: See `select`.
        """
        return self._fewest(scores, masks, allow_collapse, layouts)

    def _select(self, scores, masks, keep, allow_collapse, layouts):
        raise NotImplementedError(f"{type(self).__name__} must select.")

    def _fewest(self, scores, masks, allow_collapse, layouts):
        raise NotImplementedError(f"{type(self).__name__} must count.")

    def one_step(
        self,
        keep: int,
        masks: Mapping[str, np.ndarray],
        layouts: Mapping[str, layouts_lib.Layout] | None = None,
    ) -> int:
        """Returns how many weights pruning in a single step has to keep.

        This is `keep` itself, unless the pattern fixes the density.

        Args:
            keep: Integer, the number wished for.
            masks: See `select`.
            layouts: See `select`.

        Raises:
            ValueError: If the pattern has another density.
        """
        return keep

    def __str__(self):
        return self.spec


@dataclasses.dataclass(frozen=True)
class Unstructured(Pattern):
    """Every weight is kept or pruned on its own; counts are exact."""

    name = "unstructured"
    forms = ("unstructured",)

    @property
    def spec(self) -> str:
        """`"unstructured"`."""
        return self.name

    @classmethod
    def parse(cls, spec: str) -> "Unstructured | None":
        """See `Pattern`."""
        return cls() if spec == cls.name else None

    def _select(self, scores, masks, keep, allow_collapse, layouts):
        kept = selection.keep_best(scores, masks, keep)
        alive = [key for key in scores if masks[key].any()]
        if allow_collapse or all(kept[key].any() for key in alive):
            return kept
        check_room(keep, len(alive), alive, "weight")
        best = {key: selection.best(scores[key], masks[key]) for key in alive}
        for key in scores:
            kept[key][...] = masks[key]
        for key, index in best.items():
            kept[key].flat[index] = False
        selection.keep_best(scores, kept, keep - len(best), out=kept)
        for key, index in best.items():
            kept[key].flat[index] = True
        return kept

    def _fewest(self, scores, masks, allow_collapse, layouts):
        if allow_collapse:
            return 0
        return sum(bool(masks[key].any()) for key in scores)


def check_room(keep, least, keys, what):
    """Raises if `keep` is less than it takes to leave something of each key."""
    if keep < least:
        raise selection.SelectionError(
            f"Argument `keep` must be at least {least}, one {what} for each "
            f"of {brief(keys)}, unless `allow_collapse=True`. "
            f"Received: keep={keep}"
        )


def brief(keys: Iterable[str], most: int = 8) -> str:
    """Returns the first of many keys as one string."""
    keys = list(keys)
    names = ", ".join(map(repr, keys[:most]))
    more = len(keys) - most
    return f"{names} and {more} more" if more > 0 else names
