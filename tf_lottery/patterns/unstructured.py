"""Every weight on its own."""

import dataclasses

from tf_lottery import selection
from tf_lottery.patterns import pattern


@dataclasses.dataclass(frozen=True)
class Unstructured(pattern.Pattern):
    """Every weight is kept or pruned on its own; counts are exact."""

    name = "unstructured"
    forms = ("unstructured",)

    @property
    def spec(self):
        """`"unstructured"`."""
        return self.name

    @classmethod
    def parse(cls, spec):
        """See `Pattern`."""
        return cls() if spec == cls.name else None

    def select(self, scores, masks, keep, allow_collapse=False, layouts=None):
        """Keeps exactly the `keep` best survivors; see `Pattern`."""
        kept = selection.keep_best(scores, masks, keep)
        alive = [key for key in scores if masks[key].any()]
        if allow_collapse or all(kept[key].any() for key in alive):
            return kept
        pattern.check_room(keep, len(alive), alive, "weight")
        best = {key: selection.best(scores[key], masks[key]) for key in alive}
        for key in scores:
            kept[key][...] = masks[key]
        for key, index in best.items():
            kept[key].flat[index] = False
        selection.keep_best(scores, kept, keep - len(best), out=kept)
        for key, index in best.items():
            kept[key].flat[index] = True
        return kept

    def fewest(self, scores, masks, layouts=None, allow_collapse=False):
        """Returns the number of keys that have survivors, or 0."""
        if allow_collapse:
            return 0
        return sum(bool(masks[key].any()) for key in scores)
