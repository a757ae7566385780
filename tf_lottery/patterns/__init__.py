"""Patterns: which weights are kept or pruned together.

A pattern is written as a string, which a ticket stores:

- `"unstructured"`: every weight on its own.
- `"block"`, `"block:1x16"`, `"block:2x2:max"`: blocks of outputs x inputs.
- `"2:4"`, `"1:4:output"`: so many of every group of weights.
- `"channel"`, `"channel:l2"`: whole output units.
"""

from tf_lottery.patterns.block import Block as Block
from tf_lottery.patterns.channel import Channel as Channel
from tf_lottery.patterns.n_m import NM as NM
from tf_lottery.patterns.pattern import Pattern as Pattern
from tf_lottery.patterns.pattern import Unstructured as Unstructured

_PATTERNS = (Unstructured, Block, NM, Channel)


def get_pattern(identifier: str | Pattern) -> Pattern:
    """Returns the pattern named by `identifier`, or `identifier` itself.

    Args:
        identifier: String such as `"unstructured"`, `"block:1x4"`, `"2:4"`
            or `"channel"`, or a `Pattern`.

    Raises:
        ValueError: If there is no such pattern.

    Example:

    >>> get_pattern("block:2x8:max")
    Block(inputs=8, outputs=2, pool='max')
    >>> get_pattern("2:4").spec
    '2:4'
    """
    if isinstance(identifier, Pattern):
        return identifier
    if isinstance(identifier, str):
        for pattern in _PATTERNS:
            found = pattern.parse(identifier)
            if found is not None:
                return found
    names = ", ".join(
        repr(form) for pattern in _PATTERNS for form in pattern.forms
    )
    raise ValueError(
        f"Argument `pattern` must be one of {names}, or an instance of a "
        f"pattern. Received: pattern={identifier!r}"
    )
