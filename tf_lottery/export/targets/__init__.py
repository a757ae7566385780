"""Targets: what files are made for."""

from tf_lottery.export.targets import micro as micro
from tf_lottery.export.targets.arm import Arm as Arm
from tf_lottery.export.targets.auto import Auto as Auto
from tf_lottery.export.targets.cpu import CPU as CPU
from tf_lottery.export.targets.flash import Flash as Flash
from tf_lottery.export.targets.micro import Micro as Micro
from tf_lottery.export.targets.size import Size as Size
from tf_lottery.export.targets.target import Target as Target

_FOUND = {
    found.name: found
    for found in (Auto(), Size(), Flash(), CPU(), Arm(), Micro())
}
TARGETS = tuple(_FOUND)


def get(target: str | Target) -> Target:
    """Returns the `Target` of a name.

    Args:
        target: String, one of `TARGETS`, or a `Target`.

    Raises:
        ValueError: If there is no such target.

    Example:

    >>> tfl.export.targets.get("micro").dtypes
    ('float32', 'int8')
    """
    if isinstance(target, Target):
        return target
    if not isinstance(target, str) or target not in _FOUND:
        raise ValueError(
            f"Argument `target` must be one of {list(TARGETS)}. "
            f"Received: target={target!r}"
        )
    return _FOUND[target]
