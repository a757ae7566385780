"""Rates of pruning by layer, and moments in training.

Plain values: rates by layer-path pattern, and the one notation for time.
"""

import dataclasses
import difflib
import fnmatch
import re
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from tf_lottery.utils import checks

# What is done where a layer would lose everything, see `pruning.collapse`.
COLLAPSE = ("keep-one", "warn", "error")
_NOTATIONS = (
    "0 (initialization), '500it' (iterations), '2ep' (epochs), '2ep50it', or "
    "a float in (0, 1), a fraction of the round"
)


def validate_rate(
    rate: float | Mapping[str, float],
    name: str = "rate",
    allow_zero: bool = False,
) -> None:
    """Checks that a rate, or every rate of a dict, is in (0, 1).

    Args:
        rate: Float, or dict of layer-path pattern to float.
        name: String, the argument's name in the error. Defaults to `"rate"`.
        allow_zero: Boolean, whether 0 will do as well. Defaults to `False`.

    Raises:
        ValueError: If it is not.
    """
    rates = rate.values() if isinstance(rate, Mapping) else [rate]
    if isinstance(rate, Mapping):
        checks.mapping(name, rate, "layer name or pattern to number")
        if not rate:
            checks.refuse(name, rate, "a number, or a dict that is not empty")
    for value in rates:
        fits = checks.is_number(value) and 0 <= value < 1
        if not fits or not (value or allow_zero):
            raise ValueError(
                f"Argument `{name}` must be in {'[' if allow_zero else '('}"
                "0, 1), or a dict of layer path to such a number. "
                f"Received: {name}={rate!r}"
            )


def matches(pattern: str, key: str) -> bool:
    """Returns whether a layer-path pattern means this weight.

    Args:
        pattern: String, with the wildcards `*`, `?` and `[...]`. It is
            compared with the whole key, the path of the layer, and the name
            of the layer. Upper and lower case differ.
        key: String, a weight key such as `"block/conv/kernel"`.

    Example:

    >>> [matches(p, "block/conv/kernel") for p in ("conv", "block/*", "fc")]
    [True, True, False]
    """
    return any(
        name == pattern or fnmatch.fnmatchcase(name, pattern)
        for name in _names(key)
    )


def match(
    patterns: float | Mapping[str, Any],
    keys: Iterable[str],
    default: float | None = 0.0,
    name: str = "rate",
) -> dict[str, Any]:
    """Gives every weight the value of the pattern that means it.

    An exact key, path or name beats a pattern with wildcards; among several
    of a kind, the last one in the dict wins.

    Args:
        patterns: Float, the same for all, or dict of layer-path pattern (see
            `matches()`) to float.
        keys: Iterable of strings, the weight keys.
        default: Float for keys that no pattern means. Defaults to `0.0`.
        name: String, the argument's name in errors. Defaults to `"rate"`.

    Returns:
        Dict of key to float, for all keys.

    Raises:
        ValueError: If a pattern means none of the keys.

    Example:

    >>> match({"logits": 0.1, "*": 0.2}, ["fc/kernel", "logits/kernel"])
    {'fc/kernel': 0.2, 'logits/kernel': 0.1}
    """
    if not isinstance(patterns, Mapping):
        patterns = {"*": patterns}
    keys = list(keys)
    check_patterns(patterns, keys, name)
    values = {}
    for key in keys:
        fitting = [p for p in patterns if matches(p, key)]
        exact = [p for p in fitting if p in _names(key)]
        winners = exact or fitting
        values[key] = patterns[winners[-1]] if winners else default
    return values


def check_patterns(
    patterns: Iterable[str], keys: Iterable[str], name: str = "patterns"
) -> None:
    """Checks that every pattern means at least one weight.

    Args:
        patterns: Iterable of strings, see `matches()`.
        keys: Iterable of strings, the weight keys.
        name: String, the argument's name in the error. Defaults to
            `"patterns"`.

    Raises:
        ValueError: If a pattern means none; the valid names are listed.
    """
    keys = list(keys)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise ValueError(
                f"Argument `{name}` must name layers by strings. Received: "
                f"{pattern!r}"
            )
        if not any(matches(pattern, key) for key in keys):
            raise ValueError(
                f"Argument `{name}` names {pattern!r}, which is no prunable "
                f"layer.{_suggestion(pattern, keys)} The layers are "
                f"{list(dict.fromkeys(map(_layer, keys)))}"
            )


@dataclasses.dataclass(frozen=True)
class Point:
    """A moment in a round of training.

    Args:
        epochs: Integer. Defaults to `0`.
        steps: Integer, iterations after `epochs`. Defaults to `0`.
        fraction: Float in (0, 1), instead of the other two: that part of all
            steps of the round. Defaults to `None`.

    Example:

    >>> Point.parse("2ep50it").to_step(steps_per_epoch=100, epochs=5)
    250
    """

    epochs: int = 0
    steps: int = 0
    fraction: float | None = None

    def __post_init__(self):
        checks.whole("epochs", self.epochs, 0)
        checks.whole("steps", self.steps, 0)
        checks.optional(checks.fraction, "fraction", self.fraction)

    @classmethod
    def parse(
        cls, value: "str | int | float | Point", name: str = "rewind_to"
    ) -> "Point":
        """Reads the notation for time.

        Args:
            value: `0`, `"500it"`, `"2ep"`, `"2ep50it"`, a float in (0, 1),
                or a `Point`.
            name: String, the argument's name in the error. Defaults to
                `"rewind_to"`.

        Raises:
            ValueError: If `value` is anything else.
        """
        if isinstance(value, cls):
            return value
        if checks.is_number(value) and value == 0:
            return cls()
        if checks.is_number(value) and 0 < value < 1:
            return cls(fraction=float(value))
        if isinstance(value, str) and value:
            found = re.fullmatch(r"(?:([0-9]+)ep)?(?:([0-9]+)it)?", value)
            if found:
                epochs, steps = (int(part or 0) for part in found.groups())
                return cls(epochs, steps)
        raise ValueError(
            f"Argument `{name}` must be {_NOTATIONS}. Received: "
            f"{name}={value!r}"
        )

    def to_step(
        self,
        steps_per_epoch: int | None,
        epochs: int,
        name: str = "rewind_to",
    ) -> int:
        """Returns the number of training steps before this moment.

        Args:
            steps_per_epoch: Integer, or `None` if it is not known.
            epochs: Integer, number of epochs in the round.
            name: String, the argument's name in errors. Defaults to
                `"rewind_to"`.

        Raises:
            ValueError: If the moment is not before the end of the round, or
                cannot be found without `steps_per_epoch`.
        """
        checks.whole("epochs", epochs)
        if steps_per_epoch is not None:
            checks.whole("steps_per_epoch", steps_per_epoch)
        else:
            if self.epochs or self.fraction is not None:
                raise ValueError(
                    f"Argument `{name}` must be in iterations, such as "
                    "'500it', as long as the number of steps in an epoch is "
                    f"not known. Received: {name}={self.to_json()!r}"
                )
            return self.steps
        total = steps_per_epoch * epochs
        step = self.epochs * steps_per_epoch + self.steps
        if self.fraction is not None:
            step = round(self.fraction * total)
        if step >= total:
            raise ValueError(
                f"Argument `{name}` lies at step {step}, at or beyond the "
                f"end of the round of {total} steps. Received: "
                f"{name}={self.to_json()!r}"
            )
        return step

    def to_json(self) -> str | int | float:
        """Returns the notation that `parse()` reads."""
        if self.fraction is not None:
            return self.fraction
        epochs = f"{self.epochs}ep" if self.epochs else ""
        steps = f"{self.steps}it" if self.steps else ""
        return epochs + steps or 0

    def __str__(self):
        return str(self.to_json())


def _layer(key):
    return key.rpartition("/")[0] or key


def _names(key):
    """Whole key, path of the layer, and name of the layer."""
    path = _layer(key)
    return key, path, path.rpartition("/")[2]


def _suggestion(pattern, keys):
    names = dict.fromkeys(name for key in keys for name in _names(key))
    close = difflib.get_close_matches(pattern, names, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
