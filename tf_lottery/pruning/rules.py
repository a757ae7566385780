"""The rule by which weights are chosen."""

import dataclasses
from typing import Any

from tf_lottery import distributions
from tf_lottery import masks as masks_lib
from tf_lottery import schedules
from tf_lottery.utils import checks
from tf_lottery.utils import types


@dataclasses.dataclass(frozen=True)
class Rule:
    """What is ranked together, what goes together, and what is left alone.

    `tf_lottery.prune` and every callback that prunes take its fields as
    arguments, and mean the same by them.

    Attributes:
        scope: String, one of `tf_lottery.distributions.SCOPES`.
        pattern: A pattern of `tf_lottery.patterns`; its name is taken, too.
        collapse: String, one of `tf_lottery.schedules.COLLAPSE`.
        exclude: Layer names or patterns that are left alone.
        include: Embeddings and depthwise kernels that are pruned too.

    Raises:
        ValueError: If a field is none of these.
    """

    scope: str = "global"
    pattern: Any = "unstructured"
    collapse: str = "keep-one"
    exclude: types.Names = ()
    include: types.Names = ()

    def __post_init__(self):
        distributions.check_scope(self.scope)
        pattern = masks_lib.get_pattern(self.pattern)
        object.__setattr__(self, "pattern", pattern)
        checks.choice("collapse", self.collapse, schedules.COLLAPSE)
        checks.names("exclude", self.exclude)
        checks.names("include", self.include)

    @property
    def allows_collapse(self) -> bool:
        """Boolean, whether a layer may lose everything, and masks stay so."""
        return self.collapse != "keep-one"

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain values."""
        return {
            "scope": self.scope,
            "pattern": self.pattern.spec,
            "collapse": self.collapse,
            "exclude": list(self.exclude),
            "include": list(self.include),
        }
